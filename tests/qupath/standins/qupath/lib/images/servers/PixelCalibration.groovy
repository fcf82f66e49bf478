package qupath.lib.images.servers

import groovy.transform.CompileStatic

@CompileStatic
class PixelCalibration {
    private final Double mpp

    PixelCalibration(Double mpp) { this.mpp = mpp }

    boolean hasPixelSizeMicrons() { mpp != null }
    Number getPixelWidth() { mpp }
    double getAveragedPixelSizeMicrons() { mpp == null ? Double.NaN : mpp }
}
