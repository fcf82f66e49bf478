package qupath.ext.slidecam;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import qupath.lib.images.ImageData;
import qupath.lib.objects.PathObject;
import qupath.lib.objects.PathObjects;
import qupath.lib.objects.classes.PathClass;
import qupath.lib.objects.hierarchy.PathObjectHierarchy;
import qupath.lib.roi.RoiTools;
import qupath.lib.roi.interfaces.ROI;

/** Tiles above a threshold, merged into annotations: one for each connected region of a class. */
final class Regions {

    private static final double ALMOST = 0.999;

    private Regions() {
    }

    /** Merge, in the place of regions that were merged before; return how many tiles and regions. */
    static int[] merge(ImageData<?> imageData, Map<String, String> measurements, List<String> classes,
            double threshold, double smallest) {
        PathObjectHierarchy hierarchy = imageData.getHierarchy();
        Map<PathClass, List<PathObject>> likely = new LinkedHashMap<>();
        int tiles = 0;
        for (PathObject tile : Results.tilesOn(hierarchy)) {
            PathClass called = tile.getPathClass();
            String name = called == null ? "" : called.toString();
            if (name.isEmpty() || !classes.isEmpty() && !classes.contains(name))
                continue;
            if (tile.getMeasurementList().get(measurements.get(name)) >= threshold) {
                likely.computeIfAbsent(called, key -> new ArrayList<>()).add(tile);
                tiles++;
            }
        }
        List<PathObject> regions = new ArrayList<>();
        likely.forEach((called, of) -> regions.addAll(regions(called, of, threshold, smallest)));
        hierarchy.removeObjects(Results.regionsOn(hierarchy), true);
        hierarchy.addObjects(regions);
        return new int[] {tiles, regions.size()};
    }

    private static List<PathObject> regions(PathClass called, List<PathObject> tiles,
            double threshold, double smallest) {
        double tile = tiles.stream().mapToDouble(each -> each.getROI().getArea()).min().orElse(0);
        ROI whole = RoiTools.union(tiles.stream().map(PathObject::getROI).toList());
        List<PathObject> regions = new ArrayList<>();
        for (ROI roi : RoiTools.splitROI(whole)) {
            if (roi.getArea() < smallest * tile * ALMOST)
                continue;
            PathObject region = PathObjects.createAnnotationObject(roi, called);
            region.getMetadata().put(Results.MARK, "tiles from " + threshold);
            region.setLocked(true);
            regions.add(region);
        }
        return regions;
    }
}
