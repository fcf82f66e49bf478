package qupath.lib.gui.viewer

import groovy.transform.CompileStatic
import qupath.lib.gui.tools.MeasurementMapper

@CompileStatic
class OverlayOptions {
    private MeasurementMapper mapper
    private boolean pixels = false

    void setMeasurementMapper(MeasurementMapper mapper) { this.mapper = mapper }
    MeasurementMapper getMeasurementMapper() { mapper }
    void resetMeasurementMapper() { mapper = null }
    void setShowPixelClassification(boolean show) { pixels = show }
    boolean getShowPixelClassification() { pixels }
}
