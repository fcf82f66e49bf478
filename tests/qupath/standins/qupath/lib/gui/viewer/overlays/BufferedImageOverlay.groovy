package qupath.lib.gui.viewer.overlays

import groovy.transform.CompileStatic
import java.awt.image.BufferedImage
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.regions.ImageRegion

@CompileStatic
class BufferedImageOverlay {
    private final Map<ImageRegion, BufferedImage> regions
    private double opacity = 1

    BufferedImageOverlay(QuPathViewer viewer, Map<ImageRegion, BufferedImage> map) { regions = map }

    Map<ImageRegion, BufferedImage> getRegionMap() { regions }
    double getOpacity() { opacity }
    void setOpacity(double opacity) { this.opacity = opacity }
}
