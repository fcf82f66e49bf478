package qupath.lib.images

import groovy.transform.CompileStatic
import groovy.transform.stc.POJO
import qupath.lib.images.servers.ImageServer
import qupath.lib.objects.hierarchy.PathObjectHierarchy

/** No Groovy object, which has properties of its own. */
@CompileStatic
@POJO
class ImageData {
    private final ImageServer server
    private final PathObjectHierarchy hierarchy = new PathObjectHierarchy()
    public final Map<String, Object> kept = [:]

    ImageData(ImageServer server) { this.server = server }

    ImageServer getServer() { server }
    PathObjectHierarchy getHierarchy() { hierarchy }
    Object getProperty(String key) { kept[key] }
    Object setProperty(String key, Object value) { kept.put(key, value) }
    Object removeProperty(String key) { kept.remove(key) }
}
