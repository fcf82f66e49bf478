package qupath.lib.roi;

import java.util.ArrayList;
import java.util.List;
import org.locationtech.jts.geom.Coordinate;
import org.locationtech.jts.geom.GeometryFactory;
import qupath.lib.regions.ImagePlane;
import qupath.lib.roi.interfaces.ROI;

public class ROIs {
    public static ROI createRectangleROI(double x, double y, double width, double height,
            ImagePlane plane) {
        return polygon(List.of(List.of(x, y), List.of(x + width, y),
                List.of(x + width, y + height), List.of(x, y + height)), plane);
    }

    /** However a polygon was drawn. Not a method of QuPath. */
    public static ROI polygon(List<List<Double>> corners, ImagePlane plane) {
        List<Coordinate> ring = new ArrayList<>();
        for (List<Double> corner : corners)
            ring.add(new Coordinate(corner.get(0), corner.get(1)));
        ring.add(ring.get(0).copy());
        return new StandInROI(
                new GeometryFactory().createPolygon(ring.toArray(Coordinate[]::new)), plane);
    }

    /** A point that was drawn. Not a method of QuPath. */
    public static ROI point(double x, double y) {
        return new StandInROI(new GeometryFactory().createPoint(new Coordinate(x, y)),
                ImagePlane.getDefaultPlane());
    }
}
