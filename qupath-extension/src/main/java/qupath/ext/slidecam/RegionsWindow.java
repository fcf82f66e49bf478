package qupath.ext.slidecam;

import java.io.IOException;
import java.util.Map;
import javafx.scene.control.Label;
import javafx.scene.control.Spinner;
import qupath.lib.gui.QuPathGUI;

/** Regions...: tiles above a threshold become annotations. */
final class RegionsWindow extends Form {

    final Spinner<Double> threshold = new Spinner<>(0.0, 1.0, 0.5, 0.05);
    final Spinner<Integer> smallest = new Spinner<>(1, 1_000_000, 1);
    final Label message = text("");

    RegionsWindow(QuPathGUI qupath) {
        super(qupath, "Merge tiles into regions");
        threshold.setEditable(true);
        smallest.setEditable(true);
        row("At least", threshold);
        row("Tiles, at least", smallest);
        row("", message);
        button("Merge", this::merge).setDefaultButton(true);
        button("Close", stage::close);
    }

    void merge() {
        try {
            int[] made = Slidecam.mergeRegions(new Settings(Map.of("threshold", threshold.getValue(),
                    "smallest", smallest.getValue())), qupath.getImageData());
            message.setText(made[0] + " tiles make " + made[1] + " regions, locked, in the place of"
                    + " earlier ones of slidecam's.");
        } catch (IOException | IllegalStateException | IllegalArgumentException error) {
            Messages.problem(qupath, "Nothing was merged", error);
        }
    }
}
