package qupath.lib.scripting

import groovy.transform.CompileStatic
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServer
import qupath.lib.io.GsonTools
import qupath.lib.objects.PathObject
import qupath.lib.objects.TMACoreObject
import qupath.lib.objects.hierarchy.PathObjectHierarchy
import qupath.lib.projects.Project

@CompileStatic
class QP {
    /** What the test has opened. */
    public static ImageData current
    public static Project project

    static ImageData getCurrentImageData() { current }
    static ImageServer getCurrentServer() { current?.getServer() }
    static PathObjectHierarchy getCurrentHierarchy() { current?.getHierarchy() }
    static Project getProject() { project }
    static Collection<PathObject> getSelectedObjects() { current?.getHierarchy()?.getSelectionModel()?.getSelectedObjects() }
    static Collection<PathObject> getAnnotationObjects() { current == null ? [] : current.getHierarchy().getAnnotationObjects() }
    static List<TMACoreObject> getTMACoreList() { current == null ? [] : current.getHierarchy().cores }

    static void exportObjectsToGeoJson(Collection<? extends PathObject> pathObjects, String path, String option, String... additionalOptions) throws IOException {
        assert option == 'FEATURE_COLLECTION'
        new File(path).setText(GsonTools.getInstance().toJson(GsonTools.collection(pathObjects)), 'UTF-8')
    }
}
