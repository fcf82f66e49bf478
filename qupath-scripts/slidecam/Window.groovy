package slidecam

import java.awt.image.BufferedImage
import javafx.application.Platform
import qupath.lib.color.ColorMaps
import qupath.lib.gui.tools.MeasurementMapper
import qupath.lib.gui.viewer.overlays.BufferedImageOverlay
import qupath.lib.regions.ImageRegion

/** What is seen in QuPath's window and saved nowhere: measurement maps and overlays. Only loaded where there is one. */
class Window {

    /** A measurement map of ours, so that we know which one we may take away. */
    static class OurMap extends MeasurementMapper {
        OurMap(colors, String measurement, Collection tiles) { super(colors, measurement, tiles) }
    }

    /** An overlay of ours. */
    static class OurOverlay extends BufferedImageOverlay {
        OurOverlay(viewer, Map<ImageRegion, BufferedImage> regions) { super(viewer, regions) }
    }

    /** Colour tiles by a measurement, from 0 to 1. */
    static void map(viewer, String measurement, Collection tiles) {
        def colors = ColorMaps.getColorMaps()['Inferno'] ?: ColorMaps.getDefaultColorMap()
        def mapper = new OurMap(colors, measurement, tiles)
        mapper.setDisplayMinValue(0)
        mapper.setDisplayMaxValue(1)
        Platform.runLater { viewer.getOverlayOptions().setMeasurementMapper(mapper) }
    }

    /** Lay a picture over a region in the place of earlier ones of ours. */
    static void lay(viewer, BufferedImage picture, ImageRegion region, double opacity) {
        Platform.runLater {
            def overlay = new OurOverlay(viewer, [(region): picture])
            overlay.setOpacity(opacity)
            viewer.getCustomOverlayLayers().removeIf { ours(it) }
            viewer.getCustomOverlayLayers().add(overlay)
            viewer.getOverlayOptions().setShowPixelClassification(true)
            viewer.repaint()
        }
    }

    /** Take away our map and our overlays. */
    static void clear(viewer) {
        Platform.runLater {
            viewer.getCustomOverlayLayers().removeIf { ours(it) }
            if (ours(viewer.getOverlayOptions().getMeasurementMapper()))
                viewer.getOverlayOptions().resetMeasurementMapper()
            viewer.repaint()
        }
    }

    /** By name: each script loads these classes anew. */
    private static boolean ours(thing) { thing != null && thing.getClass().getName().startsWith('slidecam.Window$') }
}
