package qupath.lib.regions;

public class ImageRegion {
    private final int x;
    private final int y;
    private final int width;
    private final int height;

    private ImageRegion(int x, int y, int width, int height) {
        this.x = x;
        this.y = y;
        this.width = width;
        this.height = height;
    }

    public static ImageRegion createInstance(int x, int y, int width, int height, int z, int t) {
        if (width < 0 || height < 0)
            throw new IllegalArgumentException("Width and height must be >= 0!");
        return new ImageRegion(x, y, width, height);
    }

    public int getX() {
        return x;
    }

    public int getY() {
        return y;
    }

    public int getWidth() {
        return width;
    }

    public int getHeight() {
        return height;
    }
}
