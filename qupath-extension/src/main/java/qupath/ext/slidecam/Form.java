package qupath.ext.slidecam;

import javafx.geometry.Insets;
import javafx.scene.Node;
import javafx.scene.Scene;
import javafx.scene.control.Button;
import javafx.scene.control.Label;
import javafx.scene.layout.ColumnConstraints;
import javafx.scene.layout.GridPane;
import javafx.scene.layout.HBox;
import javafx.scene.layout.Priority;
import javafx.scene.layout.VBox;
import javafx.stage.Stage;
import qupath.lib.gui.QuPathGUI;

/** A window of rows: a name and what is chosen there, and buttons below. */
class Form {

    private static final double GAP = 8;
    private static final double LEFT = 110;
    private static final double BROAD = 560;

    final QuPathGUI qupath;
    final Stage stage = new Stage();
    private final GridPane grid = new GridPane();
    private final HBox buttons = new HBox(GAP);
    private int rows;

    Form(QuPathGUI qupath, String title) {
        this(qupath, title, BROAD);
    }

    Form(QuPathGUI qupath, String title, double width) {
        this.qupath = qupath;
        grid.setHgap(GAP);
        grid.setVgap(GAP);
        ColumnConstraints names = new ColumnConstraints(LEFT);
        ColumnConstraints values = new ColumnConstraints();
        values.setHgrow(Priority.ALWAYS);
        grid.getColumnConstraints().addAll(names, values);
        VBox all = new VBox(2 * GAP, grid, buttons);
        VBox.setVgrow(grid, Priority.ALWAYS);
        all.setPadding(new Insets(2 * GAP));
        all.setPrefWidth(width);
        stage.setTitle(title);
        stage.setScene(new Scene(all));
        if (qupath.getStage() != null)
            stage.initOwner(qupath.getStage());
    }

    void open() {
        stage.show();
    }

    <N extends Node> N row(String name, N node) {
        if (node instanceof Label words)
            words.textProperty().addListener((value, before, now) -> javafx.application.Platform.runLater(
                    stage::sizeToScene));
        Label label = new Label(name);
        label.setLabelFor(node);
        grid.addRow(rows++, label, node);
        return node;
    }

    <N extends Node> N wide(N node) {
        grid.add(node, 0, rows++, 2, 1);
        return node;
    }

    Button button(String name, Runnable action) {
        Button button = new Button(name);
        button.setOnAction(event -> action.run());
        buttons.getChildren().add(button);
        return button;
    }

    static HBox beside(Node... nodes) {
        HBox box = new HBox(GAP, nodes);
        HBox.setHgrow(nodes[0], Priority.ALWAYS);
        return box;
    }

    static Label text(String words) {
        Label label = new Label(words);
        label.setWrapText(true);
        label.setMinHeight(javafx.scene.layout.Region.USE_PREF_SIZE);
        return label;
    }
}
