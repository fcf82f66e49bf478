package qupath.lib.gui.viewer.overlays;

import java.awt.image.BufferedImage;
import java.util.Map;
import qupath.lib.gui.viewer.QuPathViewer;
import qupath.lib.regions.ImageRegion;

public class BufferedImageOverlay extends AbstractOverlay {
    private final Map<ImageRegion, BufferedImage> regions;

    public BufferedImageOverlay(QuPathViewer viewer, Map<ImageRegion, BufferedImage> map) {
        regions = map;
    }

    public Map<ImageRegion, BufferedImage> getRegionMap() {
        return regions;
    }
}
