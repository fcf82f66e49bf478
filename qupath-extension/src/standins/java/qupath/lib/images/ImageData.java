package qupath.lib.images;

import java.util.LinkedHashMap;
import java.util.Map;
import qupath.lib.images.servers.ImageServer;
import qupath.lib.objects.hierarchy.PathObjectHierarchy;
import qupath.lib.plugins.workflow.Workflow;

public class ImageData<T> {
    public final Map<String, Object> kept = new LinkedHashMap<>();
    private final ImageServer<T> server;
    private final PathObjectHierarchy hierarchy = new PathObjectHierarchy();
    private final Workflow history = new Workflow();

    public ImageData(ImageServer<T> server) {
        this.server = server;
    }

    public ImageServer<T> getServer() {
        return server;
    }

    public PathObjectHierarchy getHierarchy() {
        return hierarchy;
    }

    public Workflow getHistoryWorkflow() {
        return history;
    }

    public Object getProperty(String key) {
        return kept.get(key);
    }

    public Object setProperty(String key, Object value) {
        return kept.put(key, value);
    }

    public Object removeProperty(String key) {
        return kept.remove(key);
    }
}
