package qupath.lib.regions

import groovy.transform.CompileStatic

@CompileStatic
class ImageRegion {
    private final int x, y, width, height

    private ImageRegion(int x, int y, int width, int height) {
        this.x = x
        this.y = y
        this.width = width
        this.height = height
    }

    static ImageRegion createInstance(int x, int y, int width, int height, int z, int t) {
        if (width < 0 || height < 0)
            throw new IllegalArgumentException('Width and height must be >= 0!')
        new ImageRegion(x, y, width, height)
    }

    int getX() { x }
    int getY() { y }
    int getWidth() { width }
    int getHeight() { height }
}
