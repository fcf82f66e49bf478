package qupath.lib.images.servers;

public class PixelCalibration {
    private final Double mpp;

    public PixelCalibration(Double mpp) {
        this.mpp = mpp;
    }

    public boolean hasPixelSizeMicrons() {
        return mpp != null;
    }

    public double getAveragedPixelSizeMicrons() {
        return mpp == null ? Double.NaN : mpp;
    }
}
