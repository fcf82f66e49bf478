package qupath.ext.slidecam;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * A model as {@code slidecam models} lists it.
 *
 * @param name what it is called
 * @param path its folder
 * @param words classes, tile, spacing and licence; or what is wrong with it
 * @param isUsable whether it can classify
 */
record Bundle(String name, String path, String words, boolean isUsable) {

    /** The variable in which slidecam is told of folders of models. */
    private static final String FOLDERS = "SLIDECAM_MODELS";

    @Override
    public String toString() {
        return name + (isUsable ? "" : " (" + path + ")");
    }

    /** Ask slidecam which models there are: where it looks itself, and in these folders. */
    static List<Bundle> all(String folders, String last) throws IOException, InterruptedException {
        StringBuilder places = new StringBuilder();
        for (String folder : List.of(folders, last, Preferences.environment(FOLDERS)))
            if (!folder.isBlank())
                places.append(places.length() == 0 ? "" : File.pathSeparator).append(folder);
        JsonObject answer = new ByProcess("").with(FOLDERS, places.toString())
                .run(List.of("models", "--json"), new Heed(Engine.LOG, (what, done, total) -> { }));
        List<Bundle> bundles = new ArrayList<>();
        for (JsonElement each : answer.getAsJsonArray("bundles"))
            bundles.add(of(each.getAsJsonObject()));
        return bundles;
    }

    private static Bundle of(JsonObject row) {
        String problem = Heed.text(row, "problem");
        if (!problem.isEmpty())
            return new Bundle(Heed.text(row, "name"), Heed.text(row, "path"), problem, false);
        JsonArray classes = row.getAsJsonArray("classes");
        List<String> names = new ArrayList<>();
        classes.forEach(each -> names.add(each.getAsString()));
        String measured = Heed.text(row, "measured");
        return new Bundle(Heed.text(row, "name"), Heed.text(row, "path"), "Classes: "
                + String.join(", ", names) + ". Tiles: " + Heed.text(row, "tile") + ". Licence: "
                + Heed.text(row, "licence") + ". Measured: "
                + (measured.isEmpty() ? "nothing that its card says" : measured) + ".", true);
    }
}
