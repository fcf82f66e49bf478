package qupath.lib.roi;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.operation.union.UnaryUnionOp;
import qupath.lib.regions.ImagePlane;
import qupath.lib.roi.interfaces.ROI;

public class RoiTools {
    public static ROI union(Collection<? extends ROI> rois) {
        List<Geometry> geometries = new ArrayList<>();
        rois.forEach(roi -> geometries.add(roi.getGeometry()));
        return new StandInROI(UnaryUnionOp.union(geometries), ImagePlane.getDefaultPlane());
    }

    public static List<ROI> splitROI(ROI roi) {
        Geometry whole = roi.getGeometry();
        List<ROI> parts = new ArrayList<>();
        for (int i = 0; i < whole.getNumGeometries(); i++)
            parts.add(new StandInROI(whole.getGeometryN(i), ImagePlane.getDefaultPlane()));
        return parts;
    }
}
