package qupath.lib.roi.interfaces;

import org.locationtech.jts.geom.Geometry;

public interface ROI {
    Geometry getGeometry();

    boolean isArea();

    double getArea();

    double getCentroidX();

    double getCentroidY();

    double getBoundsX();

    double getBoundsY();

    double getBoundsWidth();

    double getBoundsHeight();

    int getZ();

    int getT();

    boolean contains(double x, double y);
}
