package qupath.ext.slidecam;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.images.ImageData;

/** Commands of the menu that need no window of their own. */
final class Commands {

    private Commands() {
    }

    /** Export for training...: the annotations of the open image, as files. */
    static void export(QuPathGUI qupath) {
        try {
            String out = Preferences.value(Preferences.OUT);
            Settings settings = new Settings(out.isEmpty() ? Map.of()
                    : Map.of("out", Path.of(out).resolve("slidecam-annotations").toString()));
            Path file = Slidecam.exportTraining(settings, qupath.getImageData(), qupath.getProject());
            if (file == null)
                throw new IllegalStateException("This image has no annotations with a class and an area."
                        + " Draw some, and give each its class (Set class).");
            Messages.say(qupath, "Annotations are written", file + "\n\nTeach or measure with them:\n\n"
                    + "slidecam tiles SLIDES --annotations \"" + file.getParent() + "\" --mpp-csv \""
                    + file.resolveSibling("slides.csv") + "\" --out tiles/");
        } catch (IOException | IllegalStateException | IllegalArgumentException error) {
            Messages.problem(qupath, "Nothing was exported", error);
        }
    }

    /** Remove slidecam's objects...: asked for, since QuPath's Undo does not bring them back. */
    static void remove(QuPathGUI qupath) {
        ImageData<?> imageData = qupath.getImageData();
        if (imageData == null) {
            Messages.say(qupath, "No image is open", "Open the image that slidecam's objects are on.");
            return;
        }
        int tiles = Results.tilesOn(imageData.getHierarchy()).size();
        int regions = Results.regionsOn(imageData.getHierarchy()).size();
        Messages.confirm(qupath, "Remove " + tiles + " tiles and " + regions + " regions?",
                "Heatmaps go too; detections are drawn as before. Nothing else is touched. QuPath's Undo"
                + " does not bring them back, but the results on disk stay: Classify... shows them again"
                + " at once.", () -> Slidecam.remove(imageData));
    }
}
