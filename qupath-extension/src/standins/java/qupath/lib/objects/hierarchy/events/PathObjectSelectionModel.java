package qupath.lib.objects.hierarchy.events;

import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.Set;
import qupath.lib.objects.PathObject;

public class PathObjectSelectionModel {
    public final Set<PathObject> selected = new LinkedHashSet<>();

    public Set<PathObject> getSelectedObjects() {
        return Collections.unmodifiableSet(selected);
    }
}
