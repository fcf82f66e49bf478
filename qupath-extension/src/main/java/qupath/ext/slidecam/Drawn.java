package qupath.ext.slidecam;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import qupath.lib.images.ImageData;
import qupath.lib.objects.PathObject;
import qupath.lib.objects.TMACoreObject;
import qupath.lib.scripting.QP;

/** What a person has drawn: as a mask to classify in, and as files that a classifier learns from. */
final class Drawn {

    private static final String HEADER = "slide,mpp,width,height,path";
    private static final Gson GSON = new GsonBuilder().serializeNulls().create();

    private Drawn() {
    }

    /** Whether QuPath sets a class apart, as {@code Ignore*}: it is no tissue. */
    static boolean isSetApart(PathObject object) {
        return object.getPathClass() != null && object.getPathClass().toString().endsWith("*");
    }

    private static boolean isIgnored(PathObject object) {
        return isSetApart(object)
                && object.getPathClass().toString().toLowerCase(Locale.ROOT).startsWith("ignore");
    }

    /** What of these has an area, belongs to tissue and is there; the rest is said. */
    static List<PathObject> areas(Collection<? extends PathObject> objects, String what) {
        List<PathObject> areas = new ArrayList<>();
        int apart = 0;
        int missing = 0;
        for (PathObject object : objects) {
            if (object.getROI() == null || !object.getROI().isArea())
                continue;
            if (isSetApart(object))
                apart++;
            else if (object instanceof TMACoreObject core && core.isMissing())
                missing++;
            else
                areas.add(object);
        }
        if (apart > 0)
            Engine.LOG.warn("{}: {} of classes that QuPath sets apart (their names end in *) are left"
                    + " out", what, apart);
        if (missing > 0)
            Engine.LOG.warn("{}: {} TMA cores that are missing are left out", what, missing);
        return areas;
    }

    /** Say which of these lie off the image, or on another plane than the first. */
    static void warnOfPlaces(ImageData<?> imageData, Collection<PathObject> areas) {
        int width = imageData.getServer().getWidth();
        int height = imageData.getServer().getHeight();
        long off = areas.stream().map(PathObject::getROI).filter(roi -> roi.getBoundsX() >= width
                || roi.getBoundsY() >= height || roi.getBoundsX() + roi.getBoundsWidth() <= 0
                || roi.getBoundsY() + roi.getBoundsHeight() <= 0).count();
        long planes = areas.stream().map(PathObject::getROI)
                .filter(roi -> roi.getZ() != 0 || roi.getT() != 0).count();
        if (off > 0)
            Engine.LOG.warn("{} of {} areas lie off the slide and are passed over", off, areas.size());
        if (planes > 0)
            Engine.LOG.warn("{} of {} areas were drawn on another plane of the stack, and are taken as"
                    + " if drawn on the one that is read", planes, areas.size());
    }

    /** Areas as the GeoJSON that says which pixels they are in; what is ignored is cut out of them. */
    static JsonObject mask(ImageData<?> imageData, List<PathObject> areas, Slide slide)
            throws IOException {
        List<PathObject> all = new ArrayList<>(areas);
        imageData.getHierarchy().getAnnotationObjects().stream().filter(Drawn::isIgnored)
                .filter(each -> each.getROI() != null && each.getROI().isArea()).forEach(all::add);
        Path drawn = Files.createTempFile("slidecam-", ".geojson");
        try {
            return write(drawn, all, slide);
        } finally {
            Files.deleteIfExists(drawn);
        }
    }

    /** Write areas with what QuPath showed when they were drawn; every number stays as it is. */
    static JsonObject write(Path file, Collection<PathObject> areas, Slide slide) throws IOException {
        QP.exportObjectsToGeoJson(areas, file.toString(), "FEATURE_COLLECTION");
        JsonObject collection = JsonParser.parseString(Files.readString(file)).getAsJsonObject();
        collection.add("slidecam", slide.facts());
        Files.writeString(file, GSON.toJson(collection));
        return collection;
    }

    /** Write the slide's row into a table instead of an earlier one; none without a pixel size. */
    static void note(Path table, Slide slide) throws IOException {
        if (slide.mpp() == null)
            return;
        String name = cell(slide.path().getFileName().toString());
        List<String> lines = new ArrayList<>(List.of(HEADER));
        if (Files.isRegularFile(table))
            Files.readAllLines(table).stream().skip(1)
                    .filter(line -> !line.isEmpty() && !line.startsWith(name + ",")).forEach(lines::add);
        lines.add(String.join(",", name, slide.mpp().toString(), Integer.toString(slide.width()),
                Integer.toString(slide.height()), cell(slide.path().toString())));
        Files.writeString(table, String.join("\n", lines) + "\n");
    }

    private static String cell(String text) {
        return text.matches("(?s).*[\",\n].*") ? '"' + text.replace("\"", "\"\"") + '"' : text;
    }
}
