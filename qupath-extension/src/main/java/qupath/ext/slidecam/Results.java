package qupath.ext.slidecam;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;
import qupath.lib.common.ColorTools;
import qupath.lib.images.ImageData;
import qupath.lib.measurements.MeasurementList;
import qupath.lib.objects.PathObject;
import qupath.lib.objects.PathObjects;
import qupath.lib.objects.classes.PathClass;
import qupath.lib.objects.hierarchy.PathObjectHierarchy;
import qupath.lib.regions.ImagePlane;
import qupath.lib.roi.ROIs;

/**
 * Results as slidecam wrote them for QuPath, in QuPath's pixels already: {@code qupath/} in a
 * slide's folder.
 *
 * Tiles come from a table and not from GeoJSON, which costs QuPath twice the time.
 */
public final class Results {

    /** Where the image remembers its results, so that other commands find them. */
    static final String PROPERTY = "slidecam.results";
    /** Metadata of what is ours. Names are drawn on the slide, and tiles of old are named so. */
    static final String MARK = "slidecam";
    private static final String INDEX = "slidecam.json";
    /** Metadata of a tile that is called several classes, as in tiles.geojson. */
    private static final String CALLED = "called classes";
    private static final int BOX = 4;

    private final Path folder;
    private final JsonObject index;

    /** Open the results in a slide's folder. */
    Results(Path slideFolder) throws IOException {
        folder = slideFolder.resolve("qupath");
        Path file = folder.resolve(INDEX);
        if (!Files.isRegularFile(file))
            throw new IOException(file + " is not there. Write it with: slidecam export \""
                    + slideFolder + "\" --to qupath");
        index = new Gson().fromJson(Files.readString(file), JsonObject.class);
        if (index == null || !Heed.text(index, "format").equals("slidecam-qupath")
                || Heed.whole(index, "version") < 1 || Heed.whole(index, "version") > 2)
            throw new IOException(file + " is of another version of slidecam. Use the extension and"
                    + " the scripts that came with it.");
    }

    /** Open what the image remembers, or what is named: a slide's folder, or one above it. */
    static Results of(ImageData<?> imageData, String named, Slide slide) throws IOException {
        Object known = imageData.getProperty(PROPERTY);
        if (named.isEmpty() && known == null)
            throw new IllegalStateException("No results of slidecam are known for this image. Classify"
                    + " it, or set results= to their folder.");
        Path given = Path.of(named.isEmpty() ? known.toString() : named);
        Path below = given.resolve(slide.name());
        Path found = Stream.of(below, below.resolve(slide.stem())).filter(place -> Files.isDirectory(place.resolve("qupath")))
                .findFirst().orElse(given);
        Results results = new Results(found);
        results.refuseAnotherView(slide);
        return results;
    }

    /** Results of a cropped view would lie beside their places on one that is not cropped. */
    private void refuseAnotherView(Slide slide) {
        JsonArray size = index.getAsJsonArray("size_px");
        if (size == null || size.size() != 2)
            return;
        int width = size.get(0).getAsInt();
        int height = size.get(1).getAsInt();
        if (width != slide.width() || height != slide.height())
            throw new IllegalStateException(folder + " is for a slide that is shown as " + width + " x "
                    + height + " px, and QuPath shows this one as " + slide.width() + " x "
                    + slide.height() + " px. For a view without crop, write it again: slidecam export \""
                    + folder.getParent() + "\" --to qupath --shown " + slide.shown());
    }

    /** The folder of the slide's outputs. */
    public Path folder() {
        return folder.getParent();
    }

    /** A file of the folder that QuPath loads. */
    Path file(String name) {
        return folder.resolve(name);
    }

    /** The classes by the name that QuPath knows them by, with their measurements. */
    public Map<String, String> measurements() {
        Map<String, String> measurements = new LinkedHashMap<>();
        for (JsonObject each : objects("classes"))
            measurements.put(Heed.text(each, "qupath"), Heed.text(each, "measurement"));
        return measurements;
    }

    /** The classes with the colours that slidecam gives them. */
    Map<String, PathClass> classes() {
        Map<String, PathClass> classes = new LinkedHashMap<>();
        for (JsonObject each : objects("classes")) {
            JsonArray color = each.getAsJsonArray("color");
            String name = Heed.text(each, "qupath");
            classes.put(name, PathClass.fromString(name, ColorTools.packRGB(color.get(0).getAsInt(),
                    color.get(1).getAsInt(), color.get(2).getAsInt())));
        }
        return classes;
    }

    /** The heatmaps: class, method, file and place. */
    public List<JsonObject> heatmaps() {
        return objects("heatmaps");
    }

    private List<JsonObject> objects(String name) {
        List<JsonObject> objects = new ArrayList<>();
        for (JsonElement each : index.getAsJsonArray(name))
            objects.add(each.getAsJsonObject());
        return objects;
    }

    /** Which bundle and which slidecam made them, for the image's history. */
    Map<String, String> provenance() {
        Map<String, String> facts = new LinkedHashMap<>();
        facts.put("results", folder.getParent().toString());
        facts.put("model", Heed.text(index, "model"));
        try {
            JsonObject run = new Gson().fromJson(
                    Files.readString(folder.resolveSibling("run.json")), JsonObject.class);
            JsonObject bundle = run.getAsJsonObject("bundle");
            // Relative paths count from where the run was made.
            facts.put("bundle", Path.of(Heed.text(run, "made_in")).resolve(Heed.text(bundle, "path")).toString());
            facts.put("digest", Heed.text(bundle, "digest"));
            facts.put("slidecam", Heed.text(run.getAsJsonObject("versions"), "slidecam"));
        } catch (IOException | RuntimeException unread) {
            Engine.LOG.warn("{} does not say which bundle made it.", folder.getParent());
        }
        return facts;
    }

    /** The folder of the bundle that made them. */
    String bundle() throws IOException {
        String bundle = provenance().getOrDefault("bundle", "");
        if (bundle.isEmpty())
            throw new IOException(folder.getParent() + " does not say which bundle made it. Classify the"
                    + " slide again.");
        return bundle;
    }

    /** The level-0 pixel of the slide that QuPath calls 0, 0. */
    int[] corner() {
        JsonArray corner = index.getAsJsonArray("corner_px");
        return new int[] {corner.get(0).getAsInt(), corner.get(1).getAsInt()};
    }

    /** Return the tiles as new objects; nothing is added to the image yet. */
    List<PathObject> tiles() throws IOException {
        Map<String, PathClass> classes = classes();
        JsonObject told = index.getAsJsonObject("tiles");
        List<String> columns = new ArrayList<>(measurements().values());
        if (told.has("disagreement"))
            columns.add(Heed.text(told, "disagreement"));
        Row row = new Row(columns.toArray(String[]::new), classes,
                told.has("called") ? List.copyOf(classes.keySet()) : List.of());
        List<PathObject> tiles = new ArrayList<>();
        try (var reader = new BufferedReader(new InputStreamReader(
                new GZIPInputStream(Files.newInputStream(file(Heed.text(told, "file")))),
                StandardCharsets.UTF_8))) {
            reader.readLine();
            for (String line = reader.readLine(); line != null; line = reader.readLine())
                tiles.add(row.tile(line));
        }
        return tiles;
    }

    /** How a line of the table becomes a tile. */
    private record Row(String[] names, Map<String, PathClass> classes, List<String> called) {

        PathObject tile(String line) {
            String[] cells = line.split(",", -1);
            int first = cells.length - names.length - (called.isEmpty() ? 0 : 1);
            // A class's name may hold commas, and is quoted then.
            String name = String.join(",", Arrays.copyOfRange(cells, BOX, first));
            if (name.startsWith("\""))
                name = name.substring(1, name.length() - 1).replace("\"\"", "\"");
            var roi = ROIs.createRectangleROI(Double.parseDouble(cells[0]), Double.parseDouble(cells[1]),
                    Double.parseDouble(cells[2]), Double.parseDouble(cells[3]),
                    ImagePlane.getDefaultPlane());
            PathObject tile = PathObjects.createTileObject(roi, name.isEmpty() ? null : classes.get(name));
            MeasurementList list = tile.getMeasurementList();
            for (int i = 0; i < names.length; i++)
                if (!cells[first + i].isEmpty())
                    list.put(names[i], Double.parseDouble(cells[first + i]));
            list.close();
            tile.getMetadata().put(MARK, "tile");
            // QuPath has one class for a tile; of one that is called several, all stand in its metadata.
            String several = cells[cells.length - 1];
            if (!called.isEmpty() && !several.isEmpty())
                tile.getMetadata().put(CALLED, String.join(" + ", Arrays.stream(several.split("\\+"))
                        .map(number -> called.get(Integer.parseInt(number))).toList()));
            tile.setLocked(true);
            return tile;
        }
    }

    /** Put the tiles on the image in the place of earlier ones of ours that are to be replaced. */
    List<PathObject> show(ImageData<?> imageData, Predicate<PathObject> replaced) throws IOException {
        PathObjectHierarchy hierarchy = imageData.getHierarchy();
        List<PathObject> fresh = tiles();
        hierarchy.removeObjects(tilesOn(hierarchy).stream().filter(replaced).toList(), true);
        hierarchy.addObjects(fresh);
        imageData.setProperty(PROPERTY, folder.getParent().toAbsolutePath().toString());
        return fresh;
    }

    /** Our tiles on an image, those that earlier versions named too. */
    public static List<PathObject> tilesOn(PathObjectHierarchy hierarchy) {
        return ours(hierarchy.getTileObjects(), true);
    }

    /** Our annotations on an image. */
    public static List<PathObject> regionsOn(PathObjectHierarchy hierarchy) {
        return ours(hierarchy.getAnnotationObjects(), false);
    }

    private static List<PathObject> ours(Collection<PathObject> objects, boolean named) {
        return objects.stream().filter(each -> each.getMetadata().containsKey(MARK)
                || named && MARK.equals(each.getName())).toList();
    }
}
