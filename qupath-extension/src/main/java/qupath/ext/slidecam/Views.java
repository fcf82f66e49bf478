package qupath.ext.slidecam;

import com.google.gson.JsonObject;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.util.Collection;
import java.util.Map;
import java.util.Properties;
import javafx.application.Platform;
import javax.imageio.ImageIO;
import qupath.lib.color.ColorMaps;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.gui.tools.MeasurementMapper;
import qupath.lib.gui.viewer.OverlayOptions;
import qupath.lib.gui.viewer.QuPathViewer;
import qupath.lib.gui.viewer.overlays.BufferedImageOverlay;
import qupath.lib.images.ImageData;
import qupath.lib.objects.PathObject;
import qupath.lib.regions.ImageRegion;

/**
 * What is seen in QuPath's window and saved nowhere: measurement maps, overlays, and how detections
 * are drawn. Always in the viewer of the image that is meant, which need not be the active one.
 */
final class Views {

    /** How detections are drawn belongs to all viewers, and is given back once. */
    private static final String BEFORE = "slidecam.display.before";
    private static final double SEE_THROUGH = 0.6;

    private Views() {
    }

    /** A measurement map of ours, so that we know which one we may take away. */
    static class OurMap extends MeasurementMapper {
        OurMap(ColorMaps.ColorMap colors, String measurement, Collection<PathObject> tiles) {
            super(colors, measurement, tiles);
        }
    }

    /** An overlay of ours. */
    static class OurOverlay extends BufferedImageOverlay {
        OurOverlay(QuPathViewer viewer, Map<ImageRegion, BufferedImage> regions) {
            super(viewer, regions);
        }
    }

    /** The viewer that shows an image; null where none does, and without a window. */
    static QuPathViewer of(ImageData<?> imageData) {
        QuPathGUI window = QuPathGUI.getInstance();
        if (window == null || imageData == null)
            return null;
        return window.getAllViewers().stream().filter(viewer -> viewer.getImageData() == imageData)
                .findFirst().orElse(null);
    }

    /** Show tiles filled: by a measurement from 0 to 1, or null for the colours of their classes. */
    static void fill(QuPathViewer viewer, String measurement, Collection<PathObject> tiles) {
        fill(viewer, measurement == null ? null : map(measurement, tiles), SEE_THROUGH);
    }

    /** Show tiles filled by a map of ours, or null for the colours of their classes. */
    static void fill(QuPathViewer viewer, MeasurementMapper map, double opacity) {
        later(() -> {
            OverlayOptions options = viewer.getOverlayOptions();
            remember(options);
            options.setFillDetections(true);
            options.setOpacity((float) opacity);
            if (map != null || ours(options.getMeasurementMapper()))
                options.setMeasurementMapper(map);
            viewer.repaint();
        });
    }

    /** A map from 0 to 1 in QuPath's own colours. */
    static MeasurementMapper map(String measurement, Collection<PathObject> tiles) {
        MeasurementMapper map = new OurMap(colors(), measurement, tiles);
        map.setDisplayMinValue(0);
        map.setDisplayMaxValue(1);
        return map;
    }

    /** The colours of our maps. */
    static ColorMaps.ColorMap colors() {
        return ColorMaps.getColorMaps().getOrDefault("Inferno", ColorMaps.getDefaultColorMap());
    }

    /** The picture of a heatmap, from its file; read beside the window. */
    static BufferedImage picture(Results results, JsonObject heatmap) throws IOException {
        BufferedImage picture = ImageIO.read(results.file(Heed.text(heatmap, "file")).toFile());
        if (picture == null)
            throw new IOException("The heatmap is no picture. Classify the slide again: "
                    + results.file(Heed.text(heatmap, "file")));
        return picture;
    }

    /** Lay a heatmap over its place, instead of earlier ones of ours. */
    static void lay(QuPathViewer viewer, JsonObject heatmap, BufferedImage picture, double opacity) {
        ImageRegion region = ImageRegion.createInstance((int) Heed.whole(heatmap, "x"),
                (int) Heed.whole(heatmap, "y"), (int) Heed.whole(heatmap, "width"),
                (int) Heed.whole(heatmap, "height"), 0, 0);
        later(() -> {
            BufferedImageOverlay overlay = new OurOverlay(viewer, Map.of(region, picture));
            overlay.setOpacity(opacity);
            viewer.getCustomOverlayLayers().removeIf(Views::ours);
            viewer.getCustomOverlayLayers().add(overlay);
            remember(viewer.getOverlayOptions());
            viewer.getOverlayOptions().setShowPixelClassification(true);
            viewer.repaint();
        });
    }

    /** Take our map and our overlays away, and draw detections as before. */
    static void clear(QuPathViewer viewer) {
        later(() -> {
            viewer.getCustomOverlayLayers().removeIf(Views::ours);
            OverlayOptions options = viewer.getOverlayOptions();
            if (ours(options.getMeasurementMapper()))
                options.resetMeasurementMapper();
            giveBack(options);
            viewer.repaint();
        });
    }

    /** Keep how things are drawn, the first time that we change it. */
    private static void remember(OverlayOptions options) {
        System.getProperties().putIfAbsent(BEFORE, options.getFillDetections() + " "
                + options.getOpacity() + " " + options.getShowPixelClassification());
    }

    private static void giveBack(OverlayOptions options) {
        Properties properties = System.getProperties();
        Object before = properties.remove(BEFORE);
        if (before == null)
            return;
        String[] parts = before.toString().split(" ");
        options.setFillDetections(Boolean.parseBoolean(parts[0]));
        options.setOpacity(Float.parseFloat(parts[1]));
        options.setShowPixelClassification(Boolean.parseBoolean(parts[2]));
    }

    private static void later(Runnable work) {
        if (Platform.isFxApplicationThread())
            work.run();
        else
            Platform.runLater(work);
    }

    /** By name: scripts may load these classes anew. */
    private static boolean ours(Object thing) {
        return thing != null && thing.getClass().getName().startsWith(Views.class.getName() + "$");
    }
}
