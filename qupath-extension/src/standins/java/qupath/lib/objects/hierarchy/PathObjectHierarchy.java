package qupath.lib.objects.hierarchy;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import qupath.lib.objects.PathObject;
import qupath.lib.objects.TMACoreObject;
import qupath.lib.objects.hierarchy.events.PathObjectSelectionModel;

public final class PathObjectHierarchy {
    public final List<PathObject> objects = new ArrayList<>();
    public final List<TMACoreObject> cores = new ArrayList<>();
    private final PathObjectSelectionModel selection = new PathObjectSelectionModel();

    public synchronized boolean addObjects(Collection<? extends PathObject> pathObjects) {
        return objects.addAll(pathObjects);
    }

    public synchronized void removeObjects(Collection<? extends PathObject> pathObjects,
            boolean keepChildren) {
        if (!keepChildren)
            throw new AssertionError("what lies inside is not ours");
        Set<PathObject> gone = Collections.newSetFromMap(new IdentityHashMap<>());
        gone.addAll(pathObjects);
        objects.removeIf(gone::contains);
    }

    public Collection<PathObject> getTileObjects() {
        return some(PathObject::isTile);
    }

    public Collection<PathObject> getAnnotationObjects() {
        return some(PathObject::isAnnotation);
    }

    /** A collection that is no list: QuPath promises no more. */
    private synchronized Collection<PathObject> some(Predicate<PathObject> wanted) {
        return Collections.unmodifiableSet(
                new LinkedHashSet<>(objects.stream().filter(wanted).toList()));
    }

    public PathObjectSelectionModel getSelectionModel() {
        return selection;
    }
}
