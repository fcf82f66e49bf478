package qupath.lib.gui.viewer;

import qupath.lib.gui.tools.MeasurementMapper;

/** All viewers share one; detections are not filled and names are shown, as QuPath begins. */
public class OverlayOptions {
    public static OverlayOptions SHARED = new OverlayOptions();

    private MeasurementMapper mapper;
    private boolean pixels = true;
    private boolean fill;
    private boolean names = true;
    private float opacity = 1;

    public void setMeasurementMapper(MeasurementMapper mapper) {
        this.mapper = mapper;
    }

    public MeasurementMapper getMeasurementMapper() {
        return mapper;
    }

    public void resetMeasurementMapper() {
        mapper = null;
    }

    public void setShowPixelClassification(boolean show) {
        pixels = show;
    }

    public boolean getShowPixelClassification() {
        return pixels;
    }

    public void setFillDetections(boolean fill) {
        this.fill = fill;
    }

    public boolean getFillDetections() {
        return fill;
    }

    public void setShowNames(boolean show) {
        names = show;
    }

    public boolean getShowNames() {
        return names;
    }

    public void setOpacity(float opacity) {
        this.opacity = opacity;
    }

    public float getOpacity() {
        return opacity;
    }
}
