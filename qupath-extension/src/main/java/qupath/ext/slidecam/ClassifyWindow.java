package qupath.ext.slidecam;

import java.awt.image.BufferedImage;
import java.io.File;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javafx.scene.control.Button;
import javafx.scene.control.ComboBox;
import javafx.scene.control.Label;
import javafx.scene.control.ProgressBar;
import javafx.scene.control.TextArea;
import javafx.stage.DirectoryChooser;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.gui.viewer.QuPathViewer;
import qupath.lib.images.ImageData;
import qupath.lib.projects.Project;
import qupath.lib.projects.ProjectImageEntry;

/** Classify...: a model, where, heatmaps; Run, Cancel, progress. */
final class ClassifyWindow extends Form {

    static final String SLIDE = "the whole slide";
    static final String SELECTION = "the selected annotations or TMA cores";
    static final String PROJECT = "all images of the project, saved in it";
    private static final String USUAL = "the model's usual ones";
    private static final String RESUME = "go on with an earlier run";

    final ComboBox<Bundle> models = new ComboBox<>();
    final Label card = text("");
    final ComboBox<String> where = new ComboBox<>();
    final ComboBox<String> heatmap = new ComboBox<>();
    final ComboBox<String> existing = new ComboBox<>();
    final ProgressBar bar = new ProgressBar(0);
    final Label message = text("");
    final TextArea notes = new TextArea();
    final Button run;
    final Button cancel;
    Job<?> job;

    ClassifyWindow(QuPathGUI qupath) {
        super(qupath, "Classify with slidecam");
        models.setMaxWidth(Double.MAX_VALUE);
        Button folder = new Button("Folder...");
        folder.setOnAction(event -> addFolder());
        row("Model", beside(models, folder));
        row("", card);
        where.getItems().addAll(SLIDE, SELECTION, PROJECT);
        where.setValue(where.getItems().contains(Preferences.value(Preferences.WHERE))
                ? Preferences.value(Preferences.WHERE) : SLIDE);
        row("Where", where);
        heatmap.setEditable(true);
        heatmap.getItems().addAll(USUAL, "none", "cam", "gradcam", "gradcam++", "hirescam", "layercam",
                "cam,gradcam++");
        String remembered = Preferences.value(Preferences.HEATMAP);
        heatmap.setValue(remembered.isEmpty() ? USUAL : remembered);
        row("Heatmaps", heatmap);
        existing.getItems().addAll(RESUME, "begin anew");
        existing.setValue(RESUME);
        row("Run", existing);
        bar.setMaxWidth(Double.MAX_VALUE);
        row("", bar);
        row("", message);
        notes.setEditable(false);
        notes.setWrapText(true);
        notes.setPrefRowCount(4);
        row("Notes", notes);
        run = button("Run", this::run);
        cancel = button("Cancel", () -> job.cancel(true));
        run.setDefaultButton(true);
        cancel.setDisable(true);
        run.disableProperty().bind(models.valueProperty().isNull()
                .or(cancel.disableProperty().not()));
        models.valueProperty().addListener((value, before, now) -> describe(now));
        stage.setOnCloseRequest(event -> {
            if (job == null || !job.isRunning())
                return;
            event.consume();
            Messages.confirm(qupath, "Cancel the run?", "slidecam is at work. What was classified is kept,"
                    + " and the next run goes on from there.", () -> {
                        job.cancel(true);
                        stage.close();
                    });
        });
    }

    @Override
    void open() {
        super.open();
        list();
    }

    /** Ask slidecam for its models; where it is not found, say what to install. */
    private void list() {
        message.setText("Looking for models...");
        Job<List<Bundle>> looking = new Job<>(job -> Bundle.all(
                Preferences.value(Preferences.FOLDERS), Preferences.value(Preferences.MODEL)));
        looking.setOnSucceeded(event -> {
            message.setText("");
            models.getItems().setAll(looking.getValue());
            models.setValue(looking.getValue().stream()
                    .filter(each -> each.path().equals(Preferences.value(Preferences.MODEL))).findFirst()
                    .orElse(looking.getValue().stream().filter(Bundle::isUsable).findFirst().orElse(null)));
            if (looking.getValue().isEmpty())
                message.setText("No model was found. Choose the folder of one.");
        });
        looking.setOnFailed(event -> {
            message.setText("slidecam does not answer.");
            Messages.say(qupath, "slidecam does not answer",
                    looking.getException().getMessage() + "\n\n" + Messages.INSTALL);
        });
        looking.begin();
    }

    private void addFolder() {
        File folder = new DirectoryChooser().showDialog(stage);
        if (folder == null)
            return;
        String known = Preferences.value(Preferences.FOLDERS);
        Preferences.FOLDERS.set(known.isEmpty() ? folder.toString()
                : known + File.pathSeparator + folder);
        list();
    }

    private void describe(Bundle bundle) {
        card.setText(bundle == null ? "" : bundle.words());
    }

    /** Begin the work that is chosen. */
    void run() {
        Map<String, String> chosen = new LinkedHashMap<>();
        chosen.put("model", models.getValue().path());
        chosen.put("out", Preferences.value(Preferences.OUT));
        chosen.put("engine", Preferences.value(Preferences.ENGINE).isEmpty() ? Engine.PROCESS
                : Preferences.value(Preferences.ENGINE));
        chosen.put("existing", existing.getValue().equals(RESUME) ? "resume" : "overwrite");
        String methods = heatmap.getEditor().getText().strip();
        chosen.put("heatmap", methods.equals(USUAL) ? "" : methods);
        Preferences.MODEL.set(chosen.get("model"));
        Preferences.HEATMAP.set(methods);
        Preferences.WHERE.set(where.getValue());
        if (where.getValue().equals(SELECTION)) {
            // Another selection cannot go on with an earlier run, and replaces none of a whole slide.
            chosen.put("existing", "overwrite");
            if (!chosen.get("out").isEmpty())
                chosen.put("out", Path.of(chosen.get("out"), "slidecam-selection").toString());
            chosen.put("min_tissue", "0.5");
        }
        ImageData<BufferedImage> imageData = qupath.getImageData();
        Project<BufferedImage> project = qupath.getProject();
        Settings settings = new Settings(chosen);
        String place = where.getValue();
        begin(new Job<>(now -> switch (place) {
            case SELECTION -> tiles(Slidecam.classifySelection(settings, imageData, project, now).size());
            case PROJECT -> all(settings, project, now);
            default -> tiles(Slidecam.classify(settings, imageData, project, null, now).size());
        }));
    }

    private static String tiles(int count) {
        return count + " tiles are on the slide, in the colours of their classes.";
    }

    private void begin(Job<String> work) {
        job = work;
        notes.clear();
        cancel.setDisable(false);
        message.textProperty().bind(work.messageProperty());
        bar.progressProperty().bind(work.progressProperty());
        work.said().addListener((value, before, now) -> notes.setText(now));
        work.setOnSucceeded(event -> over(work.getValue(), 1));
        work.setOnCancelled(event -> over("Cancelled. What was classified is kept; Run goes on.", 0));
        work.setOnFailed(event -> {
            over("Failed.", 0);
            Messages.problem(qupath, "slidecam could not classify", work.getException());
        });
        work.begin();
    }

    private void over(String words, double progress) {
        message.textProperty().unbind();
        bar.progressProperty().unbind();
        message.setText(words);
        bar.setProgress(progress);
        cancel.setDisable(true);
    }

    /** Classify every image of the project; one that fails ends no other, and all are counted. */
    private String all(Settings settings, Project<BufferedImage> project, Job<String> now)
            throws InterruptedException {
        if (project == null)
            throw new IllegalStateException("No project is open.");
        List<String> failed = new ArrayList<>();
        List<ProjectImageEntry<BufferedImage>> entries = project.getImageList();
        for (ProjectImageEntry<BufferedImage> entry : entries) {
            now.on(entry.getImageName());
            try {
                one(settings, project, entry, now);
            } catch (InterruptedException stopped) {
                throw stopped;
            } catch (Exception error) { // the boundary of an image
                Engine.LOG.error("{}: {}", entry.getImageName(), error.getMessage(), error);
                now.said(entry.getImageName() + ": " + error.getMessage());
                failed.add(entry.getImageName());
            }
        }
        if (failed.isEmpty())
            return entries.size() + " images are classified and saved in the project.";
        return failed.size() + " of " + entries.size() + " images failed: " + String.join(", ", failed);
    }

    private void one(Settings settings, Project<BufferedImage> project,
            ProjectImageEntry<BufferedImage> entry, Job<String> now) throws Exception {
        for (QuPathViewer viewer : qupath.getAllViewers())
            if (viewer.getImageData() != null && entry.equals(project.getEntry(viewer.getImageData()))) {
                Slidecam.classify(settings, viewer.getImageData(), project, null, now);
                entry.saveImageData(viewer.getImageData());
                return;
            }
        ImageData<BufferedImage> imageData = entry.readImageData();
        try {
            Slidecam.classify(settings, imageData, project, null, now);
            entry.saveImageData(imageData);
        } finally {
            imageData.getServer().close();
        }
    }
}
