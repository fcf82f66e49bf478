package qupath.ext.slidecam;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.DoubleFunction;
import javafx.scene.canvas.Canvas;
import javafx.scene.canvas.GraphicsContext;
import javafx.scene.control.ComboBox;
import javafx.scene.control.Label;
import javafx.scene.control.Slider;
import javafx.scene.paint.Color;
import qupath.lib.color.ColorMaps;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.gui.tools.MeasurementMapper;
import qupath.lib.gui.viewer.QuPathViewer;
import qupath.lib.images.ImageData;
import qupath.lib.objects.PathObject;
import qupath.lib.objects.classes.PathClass;

/** Show...: tiles by class, the probability of a class, or a heatmap; given back on leaving. */
final class ShowWindow extends Form {

    static final String CLASSES = "Classes";
    private static final String PROBABILITY = "Probability of ";
    private static final String HEATMAP = "Heatmap of ";
    private static final double WIDTH = 400;
    private static final double HEIGHT = 44;
    private static final int BAR = 16;
    private static final double USUAL = 0.6;

    final ComboBox<String> what = new ComboBox<>();
    final Slider opacity = new Slider(0, 1, USUAL);
    final Slider threshold = new Slider(0, 0.99, 0);
    final Canvas bar = new Canvas(WIDTH, HEIGHT);
    final Label words = text("");
    private final Map<String, JsonObject> heatmaps = new LinkedHashMap<>();
    private final Map<String, Drawing> made = new HashMap<>();
    private ImageData<BufferedImage> imageData;
    private Results results;
    private Job<Drawing> making;

    /** What a choice looks like: made once, and drawn anew while the sliders move. */
    private interface Drawing {
        void show(QuPathViewer viewer);
    }

    ShowWindow(QuPathGUI qupath) {
        super(qupath, "Show what slidecam found");
        row("Show", what);
        row("Opacity", opacity);
        row("At least", threshold);
        row("", bar);
        row("", words);
        button("Close", stage::close);
        what.valueProperty().addListener((value, before, now) -> draw());
        opacity.valueProperty().addListener((value, before, now) -> draw());
        threshold.valueProperty().addListener((value, before, now) -> draw());
        // Tiles may have come and gone while another window was in use.
        stage.focusedProperty().addListener((value, before, now) -> made.clear());
        stage.setOnHidden(event -> {
            if (making != null)
                making.cancel(true);
            QuPathViewer viewer = Views.of(imageData);
            if (viewer != null)
                Views.clear(viewer);
        });
    }

    @Override
    void open() {
        imageData = qupath.getImageData();
        try {
            results = Results.of(imageData == null ? null : imageData, "", Slide.of(imageData));
        } catch (IOException | IllegalStateException error) {
            Messages.problem(qupath, "There is nothing to show", error);
            return;
        }
        what.getItems().add(CLASSES);
        results.measurements().keySet().forEach(name -> what.getItems().add(PROBABILITY + name));
        for (JsonObject heatmap : results.heatmaps()) {
            String name = HEATMAP + Heed.text(heatmap, "class") + " by " + Heed.text(heatmap, "method");
            heatmaps.put(name, heatmap);
            what.getItems().add(name);
        }
        super.open();
        what.setValue(CLASSES);
    }

    /** Show what is chosen, in the viewer of the image that the window was opened for. */
    private void draw() {
        QuPathViewer viewer = Views.of(imageData);
        if (viewer == null) {
            words.setText("No viewer shows the image that this window was opened for.");
            return;
        }
        String chosen = what.getValue();
        threshold.setDisable(!chosen.startsWith(PROBABILITY));
        Drawing drawing = made.get(chosen);
        if (drawing == null) {
            make(chosen);
            return;
        }
        Views.clear(viewer);
        drawing.show(viewer);
        stage.sizeToScene();
    }

    /** Read or count what a choice needs, beside the window, and draw it then. */
    private void make(String chosen) {
        if (making != null)
            making.cancel(true);
        words.setText("One moment...");
        Job<Drawing> job = new Job<>(now -> drawing(chosen));
        making = job;
        job.setOnSucceeded(event -> {
            made.put(chosen, job.getValue());
            draw();
        });
        job.setOnFailed(event -> {
            words.setText("This cannot be shown.");
            Messages.problem(qupath, "This cannot be shown", job.getException());
        });
        job.begin();
    }

    private Drawing drawing(String chosen) throws IOException {
        if (heatmaps.containsKey(chosen)) {
            JsonObject heatmap = heatmaps.get(chosen);
            BufferedImage picture = Views.picture(results, heatmap);
            return viewer -> heatmap(viewer, heatmap, picture);
        }
        List<PathObject> tiles = Results.tilesOn(imageData.getHierarchy());
        if (chosen.equals(CLASSES))
            return viewer -> classes(viewer, tiles.size());
        String measurement = results.measurements().get(chosen.substring(PROBABILITY.length()));
        MeasurementMapper map = Views.map(measurement, tiles);
        double[] values = tiles.stream().mapToDouble(tile ->
                tile.getMeasurementList().get(measurement)).toArray();
        return viewer -> probability(viewer, map, values);
    }

    private void heatmap(QuPathViewer viewer, JsonObject heatmap, BufferedImage picture) {
        bar.getGraphicsContext2D().clearRect(0, 0, WIDTH, HEIGHT);
        Views.lay(viewer, heatmap, picture, opacity.getValue());
        words.setText((Heed.text(heatmap, "shows") + " " + Heed.text(heatmap, "measured")).strip());
        boolean signed = heatmap.get("signed").getAsBoolean();
        JsonArray colors = heatmap.getAsJsonArray("bar");
        if (colors == null) // of an earlier version
            return;
        ramp(x -> Color.web(colors.get((int) (x * (colors.size() - 1) / (WIDTH - 1))).getAsString()),
                signed ? "against the class" : "least", signed ? "for the class" : "most");
    }

    private void classes(QuPathViewer viewer, int tiles) {
        Views.fill(viewer, (MeasurementMapper) null, opacity.getValue());
        legend();
        words.setText(tiles + " tiles, each in the colour of its class.");
    }

    private void probability(QuPathViewer viewer, MeasurementMapper map, double[] values) {
        double least = threshold.getValue();
        map.setDisplayMinValue(least);
        map.setExcludeOutsideRange(least > 0);
        Views.fill(viewer, map, opacity.getValue());
        ColorMaps.ColorMap colors = Views.colors();
        ramp(x -> color(colors.getColor(x, 0, WIDTH - 1)), String.format("%.2f", least), "1.00");
        words.setText(String.format("%d of %d tiles have a probability of %.2f or more.",
                Arrays.stream(values).filter(value -> value >= least).count(), values.length, least));
    }

    private void ramp(DoubleFunction<Color> colors, String low, String high) {
        GraphicsContext pen = bar.getGraphicsContext2D();
        pen.clearRect(0, 0, WIDTH, HEIGHT);
        for (int x = 0; x < WIDTH; x++) {
            pen.setFill(colors.apply(x));
            pen.fillRect(x, 0, 1, BAR);
        }
        pen.setFill(Color.GRAY);
        pen.fillText(low, 0, 2 * BAR);
        pen.setTextAlign(javafx.scene.text.TextAlignment.RIGHT);
        pen.fillText(high, WIDTH, 2 * BAR);
        pen.setTextAlign(javafx.scene.text.TextAlignment.LEFT);
    }

    private void legend() {
        GraphicsContext pen = bar.getGraphicsContext2D();
        pen.clearRect(0, 0, WIDTH, HEIGHT);
        double x = 0;
        for (PathClass each : results.classes().values()) {
            pen.setFill(color(each.getColor()));
            pen.fillRect(x, 0, BAR, BAR);
            pen.setFill(Color.GRAY);
            pen.fillText(each.toString(), x + BAR + 4, BAR - 3);
            x += BAR + 14 + 7.5 * each.toString().length();
        }
    }

    private static Color color(Integer packed) {
        if (packed == null)
            return Color.TRANSPARENT;
        return Color.rgb(packed >> 16 & 255, packed >> 8 & 255, packed & 255);
    }
}
