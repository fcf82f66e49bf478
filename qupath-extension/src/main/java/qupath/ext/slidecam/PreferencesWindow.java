package qupath.ext.slidecam;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.File;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import javafx.beans.property.StringProperty;
import javafx.scene.control.Button;
import javafx.scene.control.ComboBox;
import javafx.scene.control.Label;
import javafx.scene.control.TextArea;
import javafx.scene.control.TextField;
import javafx.stage.DirectoryChooser;
import javafx.stage.FileChooser;
import javafx.util.StringConverter;
import qupath.lib.gui.QuPathGUI;

/** Preferences...: where slidecam is, and where models and results lie; remembered by QuPath. */
final class PreferencesWindow extends Form {

    private static final Map<String, String> ENGINES = Map.of(
            Engine.PROCESS, "in a process of its own, each run",
            Engine.WARM, "as a server that stays warm until QuPath ends",
            Engine.SERVER, "as the server that I started: slidecam serve");

    final ComboBox<String> engine = new ComboBox<>();
    final TextField python = field(Preferences.PYTHON);
    final TextField folders = field(Preferences.FOLDERS);
    final TextField out = field(Preferences.OUT);
    final Label found = text("");
    final TextArea report = new TextArea();
    final Button doctor;

    PreferencesWindow(QuPathGUI qupath) {
        super(qupath, "Preferences of slidecam");
        Button choose = new Button("Choose...");
        choose.setOnAction(event -> set(python, new FileChooser().showOpenDialog(stage)));
        row("Python", beside(python, choose));
        row("", found);
        row("Models", folders);
        Button folder = new Button("Choose...");
        folder.setOnAction(event -> set(out, new DirectoryChooser().showDialog(stage)));
        row("Results", beside(out, folder));
        row("", text("Empty: found by itself; results beside the project or the slide. Several folders of"
                + " models are separated by " + File.pathSeparator));
        engine.getItems().addAll(Engine.PROCESS, Engine.WARM, Engine.SERVER);
        engine.setConverter(new StringConverter<>() {
            @Override
            public String toString(String value) {
                return ENGINES.get(value);
            }

            @Override
            public String fromString(String words) {
                return words;
            }
        });
        engine.setValue(Preferences.value(Preferences.ENGINE).isEmpty() ? Engine.PROCESS
                : Preferences.value(Preferences.ENGINE));
        engine.valueProperty().addListener((value, before, now) -> {
            Preferences.ENGINE.set(now);
            if (!now.equals(Engine.WARM))
                Lines.daemon("slidecam-stop", OwnServer::stop);
        });
        row("slidecam runs", engine);
        report.setEditable(false);
        report.setPrefRowCount(10);
        wide(report);
        doctor = button("Doctor", this::examine);
        button("Close", stage::close);
        Preferences.PYTHON.addListener((value, before, now) -> say());
        say();
    }

    private static TextField field(StringProperty property) {
        TextField field = new TextField();
        field.textProperty().bindBidirectional(property);
        return field;
    }

    private static void set(TextField field, File chosen) {
        if (chosen != null)
            field.setText(chosen.toString());
    }

    private void say() {
        found.setText("Called as: " + String.join(" ", Preferences.command("")));
    }

    /** Ask slidecam what works on this computer. */
    void examine() {
        doctor.setDisable(true);
        report.setText("slidecam doctor ...");
        Job<String> job = new Job<>(now -> words(new ByProcess("").asked("doctor", "--json")));
        job.setOnSucceeded(event -> over(job.getValue()));
        job.setOnFailed(event -> over(job.getException().getMessage() + "\n\n" + Messages.INSTALL));
        job.begin();
    }

    private void over(String words) {
        report.setText(words);
        doctor.setDisable(false);
    }

    private static String words(JsonElement answer) {
        List<String> lines = new ArrayList<>();
        for (JsonElement each : answer.getAsJsonObject().getAsJsonArray("checks")) {
            JsonObject row = each.getAsJsonObject();
            List<String> cells = new ArrayList<>();
            row.entrySet().forEach(cell -> cells.add(cell.getValue().isJsonPrimitive()
                    ? cell.getValue().getAsString() : cell.getValue().toString()));
            lines.add(String.join("  ", cells));
        }
        return String.join("\n", lines);
    }
}
