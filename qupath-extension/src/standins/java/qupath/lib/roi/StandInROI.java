package qupath.lib.roi;

import org.locationtech.jts.geom.Coordinate;
import org.locationtech.jts.geom.Envelope;
import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.geom.GeometryFactory;
import qupath.lib.regions.ImagePlane;
import qupath.lib.roi.interfaces.ROI;

/** A geometry on a plane. Not a class of QuPath. */
record StandInROI(Geometry geometry, ImagePlane plane) implements ROI {
    private Envelope box() {
        return geometry.getEnvelopeInternal();
    }

    @Override
    public Geometry getGeometry() {
        return geometry;
    }

    @Override
    public boolean isArea() {
        return geometry.getDimension() == 2;
    }

    @Override
    public double getArea() {
        return geometry.getArea();
    }

    @Override
    public double getCentroidX() {
        return geometry.getCentroid().getX();
    }

    @Override
    public double getCentroidY() {
        return geometry.getCentroid().getY();
    }

    @Override
    public double getBoundsX() {
        return box().getMinX();
    }

    @Override
    public double getBoundsY() {
        return box().getMinY();
    }

    @Override
    public double getBoundsWidth() {
        return box().getWidth();
    }

    @Override
    public double getBoundsHeight() {
        return box().getHeight();
    }

    @Override
    public int getZ() {
        return plane.getZ();
    }

    @Override
    public int getT() {
        return plane.getT();
    }

    @Override
    public boolean contains(double x, double y) {
        return geometry.contains(new GeometryFactory().createPoint(new Coordinate(x, y)));
    }
}
