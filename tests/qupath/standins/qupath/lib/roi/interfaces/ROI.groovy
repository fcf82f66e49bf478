package qupath.lib.roi.interfaces

import groovy.transform.CompileStatic
import org.locationtech.jts.geom.Coordinate
import org.locationtech.jts.geom.Geometry
import org.locationtech.jts.geom.GeometryFactory

@CompileStatic
class ROI {
    private final Geometry geometry

    ROI(Geometry geometry) { this.geometry = geometry }

    Geometry getGeometry() { geometry }
    boolean isArea() { geometry.getDimension() == 2 }
    double getArea() { geometry.getArea() }
    double getCentroidX() { geometry.getCentroid().getX() }
    double getCentroidY() { geometry.getCentroid().getY() }
    boolean contains(double x, double y) { geometry.contains(new GeometryFactory().createPoint(new Coordinate(x, y))) }
}
