package qupath.ext.slidecam;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import javafx.scene.control.Button;
import javafx.scene.control.Label;
import javafx.scene.control.TextField;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.images.ImageData;
import qupath.lib.objects.PathObject;

/** Teach...: the annotations on this slide make a new model of the one that classified it. */
final class TeachWindow extends Form {

    final TextField name = new TextField("taught");
    final Label labels = text("");
    final Label message = text("");
    final Button teach;
    private ImageData<?> imageData;
    private List<PathObject> drawn = List.of();
    Job<Taught> job;

    /** A new model, and what it learnt, in words. */
    private record Taught(Path bundle, String words) {
    }

    TeachWindow(QuPathGUI qupath) {
        super(qupath, "Teach a model");
        row("New model", name);
        row("Labels", labels);
        row("", message);
        teach = button("Teach", this::teach);
        teach.setDefaultButton(true);
        button("Close", stage::close);
        stage.setOnHidden(event -> {
            if (job != null)
                job.cancel(true);
        });
    }

    @Override
    void open() {
        imageData = qupath.getImageData();
        if (imageData == null) {
            Messages.say(qupath, "No image is open", "Open a slide, classify it and annotate it.");
            return;
        }
        List<PathObject> ours = Results.regionsOn(imageData.getHierarchy());
        drawn = imageData.getHierarchy().getAnnotationObjects().stream().filter(each ->
                each.getPathClass() != null && each.getROI() != null && each.getROI().isArea()
                && !ours.contains(each)).toList();
        Map<String, Integer> counts = new TreeMap<>();
        drawn.forEach(each -> counts.merge(each.getPathClass().toString(), 1, Integer::sum));
        labels.setText(counts.isEmpty() ? "There are no annotations with a class."
                : String.join(", ", counts.entrySet().stream()
                        .map(each -> each.getValue() + " of " + each.getKey()).toList())
                + ". Regions that slidecam merged are left out.");
        teach.setDisable(counts.isEmpty());
        super.open();
    }

    void teach() {
        String wanted = name.getText().strip();
        teach.setDisable(true);
        job = new Job<>(now -> taught(imageData, drawn, wanted, now));
        message.textProperty().bind(job.messageProperty());
        job.setOnSucceeded(event -> {
            Path bundle = job.getValue().bundle();
            over("The new model is " + bundle + ". " + job.getValue().words()
                    + " Classify... lists it, and it is chosen there.");
            String known = Preferences.value(Preferences.FOLDERS);
            String folder = bundle.getParent().toString();
            if (!List.of(known.split(File.pathSeparator)).contains(folder))
                Preferences.FOLDERS.set(known.isEmpty() ? folder : known + File.pathSeparator + folder);
            Preferences.MODEL.set(bundle.toString());
        });
        job.setOnFailed(event -> {
            over("Nothing was taught.");
            Messages.problem(qupath, "The model could not be taught", job.getException());
        });
        job.setOnCancelled(event -> over("Cancelled."));
        job.begin();
    }

    private void over(String words) {
        message.textProperty().unbind();
        message.setText(words);
        teach.setDisable(false);
    }

    private static Taught taught(ImageData<?> imageData, List<PathObject> drawn, String name, Job<?> now)
            throws IOException, InterruptedException {
        Slide slide = Slide.of(imageData);
        Results results = Results.of(imageData, "", slide);
        Path out = results.folder().resolveSibling("slidecam-models").resolve(name);
        Path annotations = Files.createTempFile("slidecam-", ".geojson");
        try {
            Drawn.write(annotations, drawn, slide);
            List<String> words = new ArrayList<>(List.of("fine-tune", results.folder().toString(),
                    "--annotations", annotations.toString(), "--out", out.toString(), "--name", name,
                    "--json"));
            drawn.stream().map(each -> each.getPathClass().toString()).distinct()
                    .filter(each -> !each.endsWith("*") && !results.measurements().containsKey(each))
                    .forEach(each -> words.addAll(List.of("--new-class", each)));
            JsonObject last = new ByProcess("").run(words, new Heed(Engine.LOG, now));
            return new Taught(out, learnt(last));
        } finally {
            Files.deleteIfExists(annotations);
        }
    }

    /** What slidecam says of the new model: its own labels, places that were left out, notes. */
    private static String learnt(JsonObject record) {
        StringBuilder words = new StringBuilder(String.format(
                "Of its own labels %.0f %% are right, before %.0f %% (no measure of others).",
                100 * record.get("right_after").getAsDouble(),
                100 * record.get("right_before").getAsDouble()));
        if (record.get("held_out").isJsonObject()) {
            JsonObject accuracy = record.getAsJsonObject("held_out").getAsJsonObject("accuracy");
            words.append(String.format(" With places left out in turn: accuracy %.2f, before %.2f, on this"
                    + " slide.", value(accuracy, "after"), value(accuracy, "before")));
        } else {
            words.append(' ').append(Heed.text(record, "why_not"));
        }
        record.getAsJsonArray("notes").forEach(note -> words.append(' ').append(note.getAsString()));
        return words.toString();
    }

    private static double value(JsonObject figures, String name) {
        JsonElement value = figures.getAsJsonObject(name).get("value");
        return value.isJsonNull() ? Double.NaN : value.getAsDouble();
    }
}
