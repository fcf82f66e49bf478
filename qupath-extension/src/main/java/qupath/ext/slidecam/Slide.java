package qupath.ext.slidecam;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import qupath.lib.images.ImageData;
import qupath.lib.images.servers.ImageServer;
import qupath.lib.images.servers.ImageServerBuilder;
import qupath.lib.io.GsonTools;
import qupath.lib.projects.Project;

/**
 * An image as slidecam must know it: its file, which picture of the file, its pixel size, and how
 * much of it QuPath shows.
 *
 * @param path the file
 * @param series which of the file's pictures, from 0
 * @param width in pixels, as QuPath shows it
 * @param height in pixels, as QuPath shows it
 * @param mpp µm per pixel, the mean of both axes; null where QuPath does not know it
 */
public record Slide(Path path, int series, int width, int height, Double mpp) {

    /** Builders that show pixels in another place than the file has them. */
    private static final Set<String> MOVING = Set.of("rotated", "affine", "cropped", "flipped",
            "sparse", "sliced", "z_projected", "z_concatenated");

    private static final Pattern KIND = Pattern.compile("\"builderType\"\\s*:\\s*\"(\\w+)\"");
    private static final Pattern SERIES = Pattern.compile("\"--series\"\\s*,\\s*\"?(\\d+)\"?");

    /** Suffixes of two parts that slidecam takes off whole. */
    private static final List<String> PACKED = List.of(".nii.gz", ".mgh.gz", ".nrrd.gz");

    /** Say what an image is; IllegalStateException where its pixels are not those of a file. */
    public static Slide of(ImageData<?> imageData) {
        if (imageData == null)
            throw new IllegalStateException(
                    "No image is open. Open a slide, or pass one with -i or a project with -p.");
        ImageServer<?> server = imageData.getServer();
        var builder = server.getBuilder();
        String json = builder == null ? ""
                : GsonTools.getInstance().toJson(builder, ImageServerBuilder.ServerBuilder.class);
        refuseMoved(json);
        URI uri = server.getURIs().iterator().next();
        if (!"file".equals(uri.getScheme()))
            throw new IllegalStateException(
                    uri + " is no file on this computer; slidecam reads files.");
        var calibration = server.getPixelCalibration();
        Double mpp = calibration.hasPixelSizeMicrons()
                ? (Double) calibration.getAveragedPixelSizeMicrons() : null;
        Matcher series = SERIES.matcher(json);
        return new Slide(fileOf(uri), series.find() ? Integer.parseInt(series.group(1)) : 0,
                server.getWidth(), server.getHeight(), mpp);
    }

    private static Path fileOf(URI uri) {
        try {
            // QuPath leaves a fragment or a query in some URIs, which Paths.get does not take.
            return Paths.get(new URI(uri.getScheme(), uri.getAuthority(), uri.getPath(), null, null));
        } catch (URISyntaxException error) {
            throw new IllegalStateException(uri + " is no path: " + error.getMessage());
        }
    }

    private static void refuseMoved(String builder) {
        Set<String> moved = new LinkedHashSet<>();
        Matcher kinds = KIND.matcher(builder);
        while (kinds.find())
            if (MOVING.contains(kinds.group(1)))
                moved.add(kinds.group(1).replace('_', ' '));
        if (!moved.isEmpty())
            throw new IllegalStateException("QuPath shows this image " + String.join(", ", moved)
                    + ", so places in it are not those of the file. Open the file itself.");
    }

    /** The name of the file's outputs: without its suffix. */
    public String stem() {
        String name = path.getFileName().toString();
        for (String suffix : PACKED)
            if (name.toLowerCase().endsWith(suffix) && name.length() > suffix.length())
                return name.substring(0, name.length() - suffix.length());
        int dot = name.lastIndexOf('.');
        boolean counted = dot >= 0 && name.substring(dot + 1).matches("\\d+");
        return dot > 0 && !counted ? name.substring(0, dot) : name;
    }

    /** The name of this picture: that of the file, and which picture of it where not the first. */
    public String name() {
        return series == 0 ? stem() : stem() + "-image" + image();
    }

    /** Which picture of the file, as slidecam's option --image counts: from 1. */
    public int image() {
        return series + 1;
    }

    /** What slidecam tells QuPath's coordinates from: cropped to the scanned bounds, or whole. */
    public String shown() {
        return width + "x" + height;
    }

    /** The facts that go into a GeoJSON beside its features. */
    public JsonObject facts() {
        JsonArray size = new JsonArray();
        size.add(width);
        size.add(height);
        JsonObject image = new JsonObject();
        image.addProperty("path", path.toString());
        image.add("size_px", size);
        image.addProperty("um_px", mpp);
        image.addProperty("series", series);
        JsonObject facts = new JsonObject();
        facts.add("image", image);
        return facts;
    }

    /** Where results go by default: a folder beside the project, or beside the slide. */
    public Path place(Project<?> project, String folder) {
        Path of = project == null ? null : project.getPath();
        return (of == null ? path.toAbsolutePath() : of).resolveSibling(folder);
    }
}
