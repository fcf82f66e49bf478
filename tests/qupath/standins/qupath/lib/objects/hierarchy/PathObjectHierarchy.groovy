package qupath.lib.objects.hierarchy

import groovy.transform.CompileStatic
import qupath.lib.objects.PathObject
import qupath.lib.objects.TMACoreObject

@CompileStatic
class PathObjectHierarchy {
    public final List<PathObject> objects = []
    public final List<TMACoreObject> cores = []
    private final SelectionModel selection = new SelectionModel()

    boolean addObjects(Collection<? extends PathObject> pathObjects) { objects.addAll(pathObjects) }

    void removeObjects(Collection<? extends PathObject> pathObjects, boolean keepChildren) {
        assert keepChildren: 'what lies inside is not ours'
        Set<PathObject> gone = Collections.newSetFromMap(new IdentityHashMap<PathObject, Boolean>())
        gone.addAll(pathObjects)
        objects.removeIf { PathObject each -> each in gone }
    }

    Collection<PathObject> getTileObjects() { some { PathObject each -> each.isTile() } }
    Collection<PathObject> getAnnotationObjects() { some { PathObject each -> each.isAnnotation() } }

    /** A collection that is no list: QuPath promises no more. */
    private Collection<PathObject> some(Closure<Boolean> wanted) {
        Collections.unmodifiableSet(new LinkedHashSet<>(objects.findAll(wanted)))
    }

    SelectionModel getSelectionModel() { selection }

    @CompileStatic
    static class SelectionModel {
        public final Set<PathObject> selected = new LinkedHashSet<>()

        Set<PathObject> getSelectedObjects() { Collections.unmodifiableSet(selected) }
    }
}
