package qupath.ext.slidecam;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.images.ImageData;
import qupath.lib.projects.Project;

/** Commands of the menu that need no window of their own. */
final class Commands {

    private Commands() {
    }

    /** Export for training...: the annotations of the open image, as files. */
    static void export(QuPathGUI qupath) {
        String out = Preferences.value(Preferences.OUT);
        Settings settings = new Settings(out.isEmpty() ? Map.of()
                : Map.of("out", Path.of(out).resolve("slidecam-annotations").toString()));
        ImageData<?> imageData = qupath.getImageData();
        Project<?> project = qupath.getProject();
        Job<Path> job = new Job<>(now -> exported(settings, imageData, project));
        job.setOnSucceeded(event -> Messages.say(qupath, "Annotations are written", job.getValue()
                + "\n\nTeach or measure with them:\n\nslidecam tiles SLIDES --annotations \""
                + job.getValue().getParent() + "\" --mpp-csv \""
                + job.getValue().resolveSibling("slides.csv") + "\" --out tiles/"));
        job.setOnFailed(event -> Messages.problem(qupath, "Nothing was exported", job.getException()));
        job.begin();
    }

    private static Path exported(Settings settings, ImageData<?> imageData, Project<?> project)
            throws IOException {
        Path file = Slidecam.exportTraining(settings, imageData, project);
        if (file == null)
            throw new IllegalStateException("This image has no annotations with a class and an area."
                    + " Draw some, and give each its class (Set class).");
        return file;
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
