package qupath.ext.slidecam;

import com.google.gson.JsonObject;
import java.util.List;
import java.util.Map;

/**
 * One call of {@code slidecam predict}, as both doors of the engine understand it.
 *
 * @param slide what to classify
 * @param model folder of the bundle; empty for the server's own
 * @param out absolute folder for the results; empty for the server's own
 * @param mask GeoJSON of where to look, or null for all tissue
 * @param options of predict by their names there: heatmap, existing, overlap, min_tissue, …
 */
record Call(Slide slide, String model, String out, JsonObject mask, Map<String, String> options) {

    /** Settings that go to predict as they are, where they are not empty. */
    static final List<String> OPTIONS = List.of("heatmap", "overlap", "min_tissue", "grid", "batch",
            "device", "backend", "reader", "existing");
}
