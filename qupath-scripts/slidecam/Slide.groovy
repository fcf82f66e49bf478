package slidecam

import java.nio.file.Path
import java.nio.file.Paths
import java.util.regex.Matcher
import qupath.lib.images.servers.ImageServerBuilder
import qupath.lib.io.GsonTools

/** The open image as slidecam must know it: its file, its pixel size, and how much of it QuPath shows. */
class Slide {

    /** Builders that show pixels in another place than the file has them. */
    static final List<String> MOVING =
        ['rotated', 'affine', 'cropped', 'flipped', 'sparse', 'sliced', 'z_projected', 'z_concatenated']

    Path path
    int width
    int height
    /** µm per pixel, the mean of both axes; null where QuPath does not know it. */
    Double mpp

    static Slide of(imageData) {
        if (imageData == null)
            throw new IllegalStateException('No image is open. Open a slide, or pass one with -i or a project with -p.')
        def server = imageData.getServer()
        def calibration = server.getPixelCalibration()
        refuseMoved(server)
        URI uri = server.getURIs().iterator().next()
        if (uri.scheme != 'file')
            throw new IllegalStateException("${uri} is no file on this computer; slidecam reads files.")
        // QuPath leaves a fragment or a query in some URIs (a series of a file), which Paths.get does not take.
        Path path = Paths.get(new URI(uri.scheme, uri.authority, uri.path, null, null))
        Double mpp = calibration.hasPixelSizeMicrons() ? calibration.getAveragedPixelSizeMicrons().doubleValue() : null
        return new Slide(path: path, width: server.getWidth(), height: server.getHeight(), mpp: mpp)
    }

    private static void refuseMoved(server) {
        def builder = server.getBuilder()
        if (builder == null)
            return
        Matcher kinds = GsonTools.getInstance().toJson(builder, ImageServerBuilder.ServerBuilder) =~ /"builderType"\s*:\s*"(\w+)"/
        List<String> moved = kinds.collect { it[1] }.findAll { it in MOVING }
        if (moved)
            throw new IllegalStateException("QuPath shows this image ${moved.join(', ').replace('_', ' ')}, so places in it are not " +
                'those of the file. Open the file itself.')
    }

    /** The file's name without its last suffix: what slidecam calls the slide. */
    String getStem() {
        String name = path.fileName.toString()
        int dot = name.lastIndexOf('.')
        return dot > 0 ? name.substring(0, dot) : name
    }

    /** What slidecam tells QuPath's coordinates from: cropped to the scanned bounds, or the whole slide. */
    String getShown() { "${width}x${height}" }

    /** The facts that go into a GeoJSON beside its features. */
    Map getFacts() { [image: [path: path.toString(), size_px: [width, height], um_px: mpp]] }
}
