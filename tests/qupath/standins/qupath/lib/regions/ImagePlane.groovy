package qupath.lib.regions

class ImagePlane {
    static ImagePlane getDefaultPlane() { new ImagePlane() }
}
