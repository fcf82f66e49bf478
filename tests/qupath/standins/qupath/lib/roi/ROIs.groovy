package qupath.lib.roi

import groovy.transform.CompileStatic
import org.locationtech.jts.geom.Coordinate
import org.locationtech.jts.geom.GeometryFactory
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.interfaces.ROI

@CompileStatic
class ROIs {
    static ROI createRectangleROI(double x, double y, double width, double height, ImagePlane plane) {
        polygon([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    }

    /** A stand-in for however a polygon was drawn. */
    static ROI polygon(List<List<Double>> corners) {
        List<Coordinate> ring = (corners + [corners[0]]).collect { List<Double> corner -> new Coordinate(corner[0], corner[1]) }
        new ROI(new GeometryFactory().createPolygon(ring as Coordinate[]))
    }

    static ROI point(double x, double y) { new ROI(new GeometryFactory().createPoint(new Coordinate(x, y))) }
}
