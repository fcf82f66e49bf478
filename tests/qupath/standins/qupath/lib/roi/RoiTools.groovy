package qupath.lib.roi

import groovy.transform.CompileStatic
import org.locationtech.jts.geom.Geometry
import org.locationtech.jts.operation.union.UnaryUnionOp
import qupath.lib.roi.interfaces.ROI

@CompileStatic
class RoiTools {
    static ROI union(Collection<? extends ROI> rois) {
        new ROI(UnaryUnionOp.union(rois.collect { ROI each -> each.getGeometry() } as Collection<Geometry>))
    }

    static List<ROI> splitROI(ROI roi) {
        Geometry whole = roi.getGeometry()
        (0..<whole.getNumGeometries()).collect { Integer i -> new ROI(whole.getGeometryN(i)) }
    }
}
