package qupath.ext.slidecam;

import java.awt.geom.Point2D;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import javafx.event.EventHandler;
import javafx.scene.control.Label;
import javafx.scene.control.ScrollPane;
import javafx.scene.control.TextField;
import javafx.scene.image.Image;
import javafx.scene.image.ImageView;
import javafx.scene.input.MouseEvent;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.gui.viewer.QuPathViewer;
import qupath.lib.images.ImageData;

/** Explain this place...: the tile that is clicked on, by several methods side by side. */
final class ExplainWindow extends Form {

    private static final String USUAL = "usual,score-cam-clustered";
    private static final double TALL = 420;
    private static final double WIDE = 1100;
    private static final double EDGE = 10;

    final TextField methods = new TextField(USUAL);
    final Label message = text("Click on a place of the slide.");
    final ImageView panel = new ImageView();
    private final EventHandler<MouseEvent> click = this::clicked;
    private QuPathViewer viewer;
    private ImageData<?> imageData;
    Job<Image> job;

    ExplainWindow(QuPathGUI qupath) {
        super(qupath, "Explain a place", WIDE);
        row("Methods", methods);
        row("", message);
        panel.setPreserveRatio(true);
        ScrollPane scroll = new ScrollPane(panel);
        scroll.setPrefViewportHeight(TALL);
        panel.fitWidthProperty().bind(scroll.widthProperty().subtract(2 * EDGE));
        wide(scroll);
        button("Close", stage::close);
        stage.setOnHidden(event -> {
            if (viewer != null)
                viewer.getView().removeEventFilter(MouseEvent.MOUSE_CLICKED, click);
            if (job != null)
                job.cancel(true);
        });
    }

    @Override
    void open() {
        viewer = qupath.getViewer();
        imageData = viewer == null ? null : viewer.getImageData();
        if (imageData == null) {
            Messages.say(qupath, "No image is open", "Open a slide and classify it first.");
            return;
        }
        viewer.getView().addEventFilter(MouseEvent.MOUSE_CLICKED, click);
        super.open();
    }

    private void clicked(MouseEvent event) {
        if (viewer.getImageData() != imageData) {
            message.setText("The viewer shows another image now. Open this window again for it.");
            return;
        }
        Point2D at = viewer.componentPointToImagePoint(event.getX(), event.getY(), null, true);
        explain((int) at.getX(), (int) at.getY());
    }

    /** Explain the tile round a place, in pixels as QuPath counts them. */
    void explain(int x, int y) {
        if (job != null)
            job.cancel(true);
        String wanted = methods.getText().strip();
        job = new Job<>(now -> explained(imageData, x, y, wanted.isEmpty() ? USUAL : wanted, now));
        message.textProperty().bind(job.messageProperty());
        job.setOnSucceeded(event -> {
            message.textProperty().unbind();
            message.setText("The tile round " + x + ", " + y + ":");
            panel.setImage(job.getValue());
        });
        job.setOnFailed(event -> {
            message.textProperty().unbind();
            message.setText("Click on another place.");
            Messages.problem(qupath, "This place cannot be explained", job.getException());
        });
        job.setOnCancelled(event -> message.textProperty().unbind());
        job.begin();
    }

    private static Image explained(ImageData<?> imageData, int x, int y, String methods, Job<?> now)
            throws IOException, InterruptedException {
        Slide slide = Slide.of(imageData);
        Results results = Results.of(imageData, "", slide);
        Path out = Files.createTempDirectory("slidecam-explained-");
        try {
            List<String> words = new ArrayList<>(List.of("explain", slide.path().toString(), "--model",
                    results.bundle(), "--out", out.toString(), "--overwrite", "--json", "--methods",
                    methods, "--at", (x + results.corner()[0]) + "," + (y + results.corner()[1])));
            if (slide.mpp() != null)
                words.addAll(List.of("--mpp", slide.mpp().toString()));
            if (slide.series() > 0)
                words.addAll(List.of("--image", Integer.toString(slide.image())));
            new ByProcess("").run(words, new Heed(Engine.LOG, now));
            Image image = new Image(out.resolve("panel.png").toUri().toString());
            if (image.isError())
                throw new IOException("The panel cannot be shown: " + image.getException().getMessage());
            return image;
        } finally {
            takeAway(out);
        }
    }

    private static void takeAway(Path folder) {
        try (Stream<Path> inside = Files.walk(folder)) {
            for (Path each : inside.sorted(Comparator.reverseOrder()).toList())
                Files.deleteIfExists(each);
        } catch (IOException left) {
            Engine.LOG.debug("left behind: {}", folder);
        }
    }
}
