package qupath.ext.slidecam;

import java.util.Map;
import javafx.scene.control.Button;
import javafx.scene.control.Label;
import javafx.scene.control.Spinner;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.images.ImageData;

/** Regions...: tiles above a threshold become annotations. */
final class RegionsWindow extends Form {

    final Spinner<Double> threshold = new Spinner<>(0.0, 1.0, 0.5, 0.05);
    final Spinner<Integer> smallest = new Spinner<>(1, 1_000_000, 1);
    final Label message = text("");
    final Button merge;

    RegionsWindow(QuPathGUI qupath) {
        super(qupath, "Merge tiles into regions");
        threshold.setEditable(true);
        smallest.setEditable(true);
        row("At least", threshold);
        row("Tiles, at least", smallest);
        row("", message);
        merge = button("Merge", this::merge);
        merge.setDefaultButton(true);
        button("Close", stage::close);
    }

    /** Merge beside the window: a union of many thousand tiles takes its time. */
    void merge() {
        Settings settings;
        try {
            settings = new Settings(Map.of("threshold", typed(threshold), "smallest", typed(smallest)));
        } catch (IllegalArgumentException error) {
            Messages.problem(qupath, "Nothing was merged", error);
            return;
        }
        ImageData<?> imageData = qupath.getImageData();
        merge.setDisable(true);
        message.setText("Tiles are being merged...");
        Job<int[]> job = new Job<>(now -> Slidecam.mergeRegions(settings, imageData));
        job.setOnSucceeded(event -> over(job.getValue()[0] + " tiles make " + job.getValue()[1]
                + " regions, locked, in the place of earlier ones of slidecam's."));
        job.setOnFailed(event -> {
            over("Nothing was merged.");
            Messages.problem(qupath, "Nothing was merged", job.getException());
        });
        job.begin();
    }

    /** The number that stands in a field, typed and not yet entered as well. */
    private static <T> T typed(Spinner<T> spinner) {
        try {
            spinner.commitValue();
        } catch (RuntimeException error) { // what JavaFX's own converter throws
            throw new IllegalArgumentException("'" + spinner.getEditor().getText() + "' is no number.");
        }
        return spinner.getValue();
    }

    private void over(String words) {
        message.setText(words);
        merge.setDisable(false);
    }
}
