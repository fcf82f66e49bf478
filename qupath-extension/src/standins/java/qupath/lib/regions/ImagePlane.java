package qupath.lib.regions;

public class ImagePlane {
    private static final ImagePlane FIRST = new ImagePlane(0, 0);
    private final int z;
    private final int t;

    private ImagePlane(int z, int t) {
        this.z = z;
        this.t = t;
    }

    public static ImagePlane getDefaultPlane() {
        return FIRST;
    }

    public static ImagePlane getPlane(int z, int t) {
        return new ImagePlane(z, t);
    }

    public int getZ() {
        return z;
    }

    public int getT() {
        return t;
    }
}
