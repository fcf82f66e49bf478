package qupath.lib.gui.viewer

import groovy.transform.CompileStatic
import qupath.lib.gui.viewer.overlays.BufferedImageOverlay

@CompileStatic
class QuPathViewer {
    private final OverlayOptions options = new OverlayOptions()
    private final List<BufferedImageOverlay> layers = []

    OverlayOptions getOverlayOptions() { options }
    List<BufferedImageOverlay> getCustomOverlayLayers() { layers }
    void repaint() { }
}
