package qupath.ext.slidecam;

import javafx.scene.control.Alert;
import javafx.scene.control.Alert.AlertType;
import javafx.scene.control.ButtonType;
import javafx.scene.control.TextArea;
import javafx.scene.layout.Region;
import javafx.stage.Modality;
import javafx.stage.Window;
import qupath.lib.gui.QuPathGUI;

/** What is said to a person, in windows that stop nothing else. */
final class Messages {

    static final String INSTALL = """
            slidecam is not found on this computer. It needs Python 3.11 or newer:

                python -m venv slidecam
                slidecam/bin/pip install "slidecam[server,explain,train]"
                (Windows: slidecam\\Scripts\\pip)

            Then say in Extensions > slidecam > Preferences where it is, unless it is found by \
            itself: on the PATH or in an environment of conda.""";

    private static final String HELP = """
            Classify...   a model over the slide, the selected annotations or the whole project
            Show...       its tiles by class, the probability of a class, or a heatmap
            Explain this place...   one tile by several methods, side by side
            Regions...    tiles above a threshold become annotations
            Teach...      your annotations on this slide make a new model of the old one
            Export for training...   annotations as files for `slidecam tiles`
            Remove slidecam's objects...   what slidecam has added, and nothing else

            Detections are filled while slidecam shows its tiles (key F), and drawn as before \
            when they are removed or the window Show is closed.

            Research use only. Not for diagnosis.""";

    private Messages() {
    }

    static Alert say(QuPathGUI qupath, String title, String text) {
        return show(AlertType.INFORMATION, qupath, title, text);
    }

    static Alert problem(QuPathGUI qupath, String title, Throwable error) {
        String text = error.getMessage() == null ? error.getClass().getSimpleName() : error.getMessage();
        Engine.LOG.error("{}: {}", title, text, error);
        return show(AlertType.ERROR, qupath, title, text);
    }

    static Alert help(QuPathGUI qupath) {
        return show(AlertType.INFORMATION, qupath, "slidecam", HELP);
    }

    /** Ask, and act if the answer is yes. */
    static Alert confirm(QuPathGUI qupath, String title, String text, Runnable action) {
        Alert alert = made(AlertType.CONFIRMATION, qupath, title, text);
        alert.resultProperty().addListener((value, before, now) -> {
            if (now == ButtonType.OK)
                action.run();
        });
        alert.show();
        return alert;
    }

    private static Alert show(AlertType type, QuPathGUI qupath, String title, String text) {
        Alert alert = made(type, qupath, title, text);
        alert.show();
        return alert;
    }

    private static Alert made(AlertType type, QuPathGUI qupath, String title, String text) {
        Alert alert = new Alert(type);
        Window owner = qupath.getStage();
        if (owner != null)
            alert.initOwner(owner);
        alert.initModality(Modality.NONE);
        alert.setTitle("slidecam");
        alert.setHeaderText(title);
        TextArea area = new TextArea(text);
        area.setEditable(false);
        area.setWrapText(true);
        area.setPrefRowCount(Math.min(16, 2 + text.length() / 70 + (int) text.lines().count()));
        area.setPrefColumnCount(48);
        alert.getDialogPane().setContent(area);
        alert.getDialogPane().setMinHeight(Region.USE_PREF_SIZE);
        return alert;
    }
}
