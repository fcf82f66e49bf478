package qupath.lib.objects

import groovy.transform.CompileStatic
import qupath.lib.objects.classes.PathClass
import qupath.lib.roi.interfaces.ROI

@CompileStatic
class PathObjects {
    static PathObject createAnnotationObject(ROI roi, PathClass pathClass) { new PathObject('annotation', roi, pathClass) }
    static PathObject createDetectionObject(ROI roi, PathClass pathClass) { new PathObject('detection', roi, pathClass) }
    static PathObject createTileObject(ROI roi, PathClass pathClass) { new PathObject('tile', roi, pathClass) }
}
