package qupath.ext.slidecam;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.util.LinkedHashMap;
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
    private ImageData<BufferedImage> imageData;
    private Results results;

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
        stage.setOnHidden(event -> {
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
        Views.clear(viewer);
        try {
            if (heatmaps.containsKey(chosen))
                heatmap(viewer, heatmaps.get(chosen));
            else
                tiles(viewer, chosen);
        } catch (IOException error) {
            Messages.problem(qupath, "The heatmap cannot be read", error);
        }
        stage.sizeToScene();
    }

    private void heatmap(QuPathViewer viewer, JsonObject heatmap) throws IOException {
        bar.getGraphicsContext2D().clearRect(0, 0, WIDTH, HEIGHT);
        Views.lay(viewer, results, heatmap, opacity.getValue());
        words.setText((Heed.text(heatmap, "shows") + " " + Heed.text(heatmap, "measured")).strip());
        boolean signed = heatmap.get("signed").getAsBoolean();
        JsonArray colors = heatmap.getAsJsonArray("bar");
        if (colors == null) // of an earlier version
            return;
        ramp(x -> Color.web(colors.get((int) (x * (colors.size() - 1) / (WIDTH - 1))).getAsString()),
                signed ? "against the class" : "least", signed ? "for the class" : "most");
    }

    private void tiles(QuPathViewer viewer, String chosen) {
        var tiles = Results.tilesOn(imageData.getHierarchy());
        if (chosen.equals(CLASSES)) {
            Views.fill(viewer, (MeasurementMapper) null, opacity.getValue());
            legend();
            words.setText(tiles.size() + " tiles, each in the colour of its class.");
            return;
        }
        String measurement = results.measurements().get(chosen.substring(PROBABILITY.length()));
        MeasurementMapper map = Views.map(measurement, tiles);
        map.setDisplayMinValue(threshold.getValue());
        map.setExcludeOutsideRange(threshold.getValue() > 0);
        Views.fill(viewer, map, opacity.getValue());
        ColorMaps.ColorMap colors = Views.colors();
        ramp(x -> color(colors.getColor(x, 0, WIDTH - 1)), String.format("%.2f", threshold.getValue()), "1.00");
        long shown = tiles.stream().filter(tile ->
                tile.getMeasurementList().get(measurement) >= threshold.getValue()).count();
        words.setText(String.format("%d of %d tiles have a probability of %.2f or more.", shown,
                tiles.size(), threshold.getValue()));
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
