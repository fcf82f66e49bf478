package qupath.lib.objects;

import qupath.lib.objects.classes.PathClass;
import qupath.lib.roi.interfaces.ROI;

public class PathObjects {
    private static final class Plain extends PathObject {
        Plain(String kind, ROI roi, PathClass pathClass) {
            super(kind, roi, pathClass);
        }
    }

    public static PathObject createAnnotationObject(ROI roi, PathClass pathClass) {
        return new Plain("annotation", roi, pathClass);
    }

    public static PathObject createDetectionObject(ROI roi, PathClass pathClass) {
        return new Plain("detection", roi, pathClass);
    }

    public static PathObject createTileObject(ROI roi, PathClass pathClass) {
        return new Plain("tile", roi, pathClass);
    }
}
