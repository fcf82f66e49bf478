package qupath.ext.slidecam;

import com.google.gson.Gson;
import java.awt.image.BufferedImage;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Predicate;
import javafx.application.Platform;
import javafx.embed.swing.SwingFXUtils;
import javafx.event.Event;
import javafx.scene.Node;
import javafx.scene.Parent;
import javafx.scene.Scene;
import javafx.scene.control.Button;
import javafx.scene.control.ComboBox;
import javafx.scene.control.Label;
import javafx.scene.control.MenuBar;
import javafx.scene.control.MenuItem;
import javafx.scene.control.Slider;
import javafx.scene.control.Spinner;
import javafx.scene.control.TextArea;
import javafx.scene.image.ImageView;
import javafx.scene.input.MouseButton;
import javafx.scene.input.MouseEvent;
import javafx.scene.layout.BorderPane;
import javafx.stage.Stage;
import javafx.stage.Window;
import javax.imageio.ImageIO;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.gui.extensions.QuPathExtension;
import qupath.lib.gui.prefs.PathPrefs;
import qupath.lib.gui.viewer.OverlayOptions;
import qupath.lib.gui.viewer.QuPathViewer;
import qupath.lib.images.ImageData;
import qupath.lib.images.servers.StandInServer;
import qupath.lib.objects.PathObject;
import qupath.lib.objects.PathObjects;
import qupath.lib.objects.classes.PathClass;
import qupath.lib.projects.Project;
import qupath.lib.projects.ProjectImageEntry;
import qupath.lib.regions.ImagePlane;
import qupath.lib.roi.ROIs;

/**
 * A walk through the extension's windows, as a person goes: by the menu, by buttons, by a click on
 * the slide. Arguments: slide, its width and height, Python, folder of models, folder for results,
 * folder for pictures. What was seen goes to standard output as one JSON object.
 */
public final class Tour {

    private static final int PATIENCE = 120;
    private static final Map<String, Object> SEEN = new LinkedHashMap<>();
    private static QuPathGUI qupath;
    private static Path pictures;

    private Tour() {
    }

    public static void main(String[] args) throws Exception {
        pictures = Path.of(args[6]);
        CompletableFuture<Void> started = new CompletableFuture<>();
        Platform.startup(() -> started.complete(null));
        started.get(PATIENCE, TimeUnit.SECONDS);
        Platform.setImplicitExit(false);
        try {
            walk(args);
            System.out.println(new Gson().toJson(SEEN));
        } catch (Throwable thrown) {
            for (Window window : fx(() -> List.copyOf(Window.getWindows())))
                System.err.println("open: " + fx(() -> words(window)));
            thrown.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
        Runtime.getRuntime().halt(0);
    }

    private static void walk(String[] args) throws Exception {
        ImageData<BufferedImage> image = image(Path.of(args[0]), args[1], args[2]);
        fx(() -> window(image));
        SEEN.put("menu", fx(() -> qupath.getMenu("Extensions>slidecam", false).getItems().stream()
                .map(MenuItem::getText).toList()));
        preference("python").set("/nowhere/python");
        notInstalled();
        preference("python").set(args[3]);
        preference("models").set(args[4]);
        preference("out").set(args[5]);
        doctor();
        classify(image);
        show(image);
        selection(image);
        explain();
        regions(image);
        teach(image);
        export();
        project(image, args);
        help();
        remove(image);
    }

    private static void help() throws Exception {
        fx(() -> {
            item("Help").fire();
            return null;
        });
        Stage alert = stage("slidecam");
        SEEN.put("help", fx(() -> words(alert)));
        picture(alert, "help");
        close(alert);
    }

    private static ImageData<BufferedImage> image(Path slide, String width, String height) {
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("uri", slide.toUri().toString());
        facts.put("width", Integer.parseInt(width));
        facts.put("height", Integer.parseInt(height));
        facts.put("mpp", 0.5);
        facts.put("builder", Map.of("builderType", "uri", "uri", slide.toUri().toString()));
        return new ImageData<>(new StandInServer<>(facts));
    }

    /** A window as QuPath's: menus, and a viewer with the image. */
    private static Void window(ImageData<BufferedImage> image) {
        Stage stage = new Stage();
        qupath = new QuPathGUI(stage);
        qupath.menus = new MenuBar();
        QuPathViewer viewer = new QuPathViewer();
        viewer.setImageData(image);
        viewer.getView().setPrefSize(500, 300);
        qupath.viewers.add(viewer);
        BorderPane pane = new BorderPane(viewer.getView());
        pane.setTop(qupath.menus);
        stage.setScene(new Scene(pane));
        stage.show();
        for (QuPathExtension extension : ServiceLoader.load(QuPathExtension.class)) {
            SEEN.put("extension", extension.getName() + " " + extension.getVersion());
            extension.installExtension(qupath);
            extension.installExtension(qupath);
        }
        return null;
    }

    private static void notInstalled() throws Exception {
        Stage window = open("Classify...", "Classify with slidecam");
        Stage alert = stage("slidecam");
        SEEN.put("not installed", fx(() -> words(alert)));
        picture(alert, "not-installed");
        close(alert);
        close(window);
    }

    private static void doctor() throws Exception {
        Stage window = open("Preferences...", "Preferences of slidecam");
        press(window, "Doctor");
        TextArea report = fx(() -> all(window, TextArea.class).get(0));
        await("doctor", () -> report.getText().contains("torch"));
        picture(window, "preferences");
        SEEN.put("doctor", fx(report::getText));
        close(window);
    }

    @SuppressWarnings("unchecked")
    private static void classify(ImageData<BufferedImage> image) throws Exception {
        Stage window = open("Classify...", "Classify with slidecam");
        ComboBox<Bundle> models = fx(() -> (ComboBox<Bundle>) all(window, ComboBox.class).get(0));
        await("models", () -> !models.getItems().isEmpty());
        fx(() -> {
            models.setValue(models.getItems().stream()
                    .filter(each -> preference("models").get().equals(
                            Path.of(each.path()).getParent().toString())).findFirst().orElseThrow());
            return null;
        });
        SEEN.put("card", fx(() -> all(window, Label.class).stream().map(Label::getText)
                .filter(text -> text.startsWith("Classes: ")).findFirst().orElse("")));
        press(window, "Run");
        await("a process", () -> ProcessHandle.current().children().findAny().isPresent());
        picture(window, "classify-running");
        press(window, "Cancel");
        SEEN.put("cancelled", awaitLabel(window, text -> text.startsWith("Cancelled")));
        await("no process", () -> ProcessHandle.current().children().findAny().isEmpty());
        SEEN.put("tiles after cancel", image.getHierarchy().getTileObjects().size());
        AtomicLong longest = watchTheWindow();
        press(window, "Run");
        SEEN.put("classified", awaitLabel(window, text -> text.contains("tiles are on the slide")));
        SEEN.put("longest stall ms", longest.get());
        picture(window, "classify-done");
        SEEN.put("tiles", image.getHierarchy().getTileObjects().size());
        SEEN.put("steps", image.getHistoryWorkflow().getSteps().size());
        SEEN.put("display", display());
        close(window);
    }

    /** How long the window's thread was busy at a stretch, from now on. */
    private static AtomicLong watchTheWindow() {
        AtomicLong longest = new AtomicLong();
        Lines.daemon("watch", () -> {
            while (true) {
                long before = System.nanoTime();
                try {
                    fx(() -> null);
                    Thread.sleep(20);
                } catch (Exception ended) {
                    return;
                }
                longest.accumulateAndGet((System.nanoTime() - before) / 1_000_000 - 20, Math::max);
            }
        });
        return longest;
    }

    @SuppressWarnings("unchecked")
    private static void show(ImageData<BufferedImage> image) throws Exception {
        Stage window = open("Show...", "Show what slidecam found");
        ComboBox<String> what = fx(() -> (ComboBox<String>) all(window, ComboBox.class).get(0));
        SEEN.put("choices", fx(() -> List.copyOf(what.getItems())));
        awaitLabel(window, text -> text.contains("in the colour of its class"));
        picture(window, "show-classes");
        String second = fx(() -> what.getItems().get(2).substring("Probability of ".length()));
        fx(() -> {
            what.setValue("Probability of " + second);
            all(window, Slider.class).get(1).setValue(0.4);
            return null;
        });
        SEEN.put("map words", awaitLabel(window, text -> text.contains("have a probability")));
        picture(window, "show-probability");
        var map = OverlayOptions.SHARED.getMeasurementMapper();
        SEEN.put("map", List.of(map.measurement, map.low, map.high, map.excluded));
        fx(() -> {
            all(window, Slider.class).get(0).setValue(0.3);
            return null;
        });
        var again = OverlayOptions.SHARED.getMeasurementMapper();
        SEEN.put("the same map", map == again);
        SEEN.put("opacity", OverlayOptions.SHARED.getOpacity());
        String heatmap = fx(() -> what.getItems().stream()
                .filter(each -> each.startsWith("Heatmap of " + second)).findFirst().orElseThrow());
        fx(() -> {
            what.setValue(heatmap);
            return null;
        });
        await("a heatmap", () -> !qupath.getViewer().getCustomOverlayLayers().isEmpty());
        picture(window, "show-heatmap");
        SEEN.put("overlays", qupath.getViewer().getCustomOverlayLayers().size());
        close(window);
        SEEN.put("display after show", display());
        SEEN.put("overlays after show", qupath.getViewer().getCustomOverlayLayers().size());
    }

    private static List<Object> display() throws Exception {
        OverlayOptions options = OverlayOptions.SHARED;
        return fx(() -> Arrays.asList(options.getFillDetections(), options.getOpacity(),
                options.getShowPixelClassification(), options.getMeasurementMapper() != null));
    }

    /** Classify again in one annotation alone: the other tiles stay, and so does the slide's run. */
    @SuppressWarnings("unchecked")
    private static void selection(ImageData<BufferedImage> image) throws Exception {
        Stage window = open("Classify...", "Classify with slidecam");
        List<ComboBox<?>> boxes = fx(() -> (List<ComboBox<?>>) (List<?>) all(window, ComboBox.class));
        await("models", () -> boxes.get(0).getValue() != null);
        fx(() -> {
            ((ComboBox<String>) boxes.get(1)).setValue(ClassifyWindow.SELECTION);
            return null;
        });
        press(window, "Run");
        Stage alert = stage("slidecam");
        SEEN.put("nothing selected", fx(() -> words(alert)));
        close(alert);
        PathObject area = PathObjects.createAnnotationObject(ROIs.createRectangleROI(192, 128, 256, 192,
                ImagePlane.getDefaultPlane()), null);
        image.getHierarchy().getSelectionModel().selected.add(area);
        press(window, "Run");
        SEEN.put("selection", awaitLabel(window, text -> text.contains("tiles are on the slide")));
        SEEN.put("tiles after selection", image.getHierarchy().getTileObjects().size());
        image.getHierarchy().getSelectionModel().selected.clear();
        image.setProperty(Results.PROPERTY, Path.of(preference("out").get(),
                Slide.of(image).stem()).toString());
        close(window);
    }

    private static void explain() throws Exception {
        Stage window = open("Explain this place...", "Explain a place");
        PathObject tile = Results.tilesOn(qupath.getImageData().getHierarchy()).get(0);
        double x = tile.getROI().getCentroidX();
        double y = tile.getROI().getCentroidY();
        fx(() -> {
            Event.fireEvent(qupath.getViewer().getView(), new MouseEvent(MouseEvent.MOUSE_CLICKED, x, y,
                    x, y, MouseButton.PRIMARY, 1, false, false, false, false, true, false, false, true,
                    false, true, null));
            return null;
        });
        ImageView panel = fx(() -> all(window, ImageView.class).get(0));
        await("panel", () -> panel.getImage() != null && !panel.getImage().isError());
        picture(window, "explain");
        SEEN.put("panel", List.of(panel.getImage().getWidth(), panel.getImage().getHeight()));
        try (var left = Files.list(Path.of(System.getProperty("java.io.tmpdir")))) {
            SEEN.put("left of panels", left.map(Path::getFileName).map(Path::toString)
                    .filter(each -> each.startsWith("slidecam-explained-")).toList());
        }
        close(window);
    }

    @SuppressWarnings("unchecked")
    private static void regions(ImageData<BufferedImage> image) throws Exception {
        Stage window = open("Regions...", "Merge tiles into regions");
        Spinner<Double> threshold = fx(() -> (Spinner<Double>) all(window, Spinner.class).get(0));
        fx(() -> {
            threshold.getEditor().setText("a third");
            return null;
        });
        press(window, "Merge");
        Stage alert = stage("slidecam");
        SEEN.put("no threshold", fx(() -> words(alert)));
        close(alert);
        fx(() -> {
            threshold.getEditor().setText("0.3"); // and not entered
            return null;
        });
        press(window, "Merge");
        SEEN.put("merged", awaitLabel(window, text -> text.contains("regions, locked")));
        SEEN.put("regions", Results.regionsOn(image.getHierarchy()).size());
        picture(window, "regions");
        close(window);
    }

    private static void teach(ImageData<BufferedImage> image) throws Exception {
        String known = Results.of(image, "", Slide.of(image)).measurements().keySet().iterator().next();
        List<PathObject> mine = new ArrayList<>();
        for (int i = 0; i < 2; i++)
            mine.add(PathObjects.createAnnotationObject(ROIs.createRectangleROI(60 + 330 * i, 50, 280, 380,
                    ImagePlane.getDefaultPlane()), PathClass.fromString(i == 0 ? known : "fat")));
        image.getHierarchy().addObjects(mine);
        Stage window = open("Teach...", "Teach a model");
        press(window, "Teach");
        SEEN.put("taught", awaitLabel(window, text -> text.startsWith("The new model is")));
        picture(window, "teach");
        SEEN.put("model", preference("model").get());
        close(window);
    }

    private static void export() throws Exception {
        fx(() -> {
            item("Export for training...").fire();
            return null;
        });
        Stage alert = stage("slidecam");
        SEEN.put("exported", fx(() -> words(alert)));
        picture(alert, "export");
        close(alert);
    }

    /** A project of the open image, of a file that is gone, and of the same file read anew. */
    @SuppressWarnings("unchecked")
    private static void project(ImageData<BufferedImage> image, String[] args) throws Exception {
        List<String> saved = new ArrayList<>();
        ImageData<BufferedImage> again = image(Path.of(args[0]), args[1], args[2]);
        List<ProjectImageEntry<BufferedImage>> entries = List.of(
                new Entry("open", image, saved), new Entry("gone", image(Path.of("/gone.tif"), "9", "9"),
                saved), new Entry("closed", again, saved));
        qupath.project = new Project<>() {
            @Override
            public Path getPath() {
                return Path.of(args[5]).resolve("project.qpproj");
            }

            @Override
            public List<ProjectImageEntry<BufferedImage>> getImageList() {
                return entries;
            }

            @Override
            public ProjectImageEntry<BufferedImage> getEntry(ImageData<BufferedImage> of) {
                return of == image ? entries.get(0) : null;
            }
        };
        preference("model").set("");
        preference("engine").set(Engine.WARM);
        Stage window = open("Classify...", "Classify with slidecam");
        List<ComboBox<?>> boxes = fx(() -> (List<ComboBox<?>>) (List<?>) all(window, ComboBox.class));
        ComboBox<Bundle> models = (ComboBox<Bundle>) boxes.get(0);
        await("models", () -> !models.getItems().isEmpty());
        fx(() -> {
            models.setValue(models.getItems().stream()
                    .filter(each -> preference("models").get().split(File.pathSeparator)[0].equals(
                            Path.of(each.path()).getParent().toString())).findFirst().orElseThrow());
            ((ComboBox<String>) boxes.get(1)).setValue(ClassifyWindow.PROJECT);
            return null;
        });
        press(window, "Run");
        SEEN.put("project", awaitLabel(window, text -> text.contains("images failed")));
        SEEN.put("saved", saved);
        SEEN.put("tiles of the closed one", again.getHierarchy().getTileObjects().size());
        SEEN.put("servers", ProcessHandle.current().children().count());
        OwnServer.stop();
        await("no server", () -> ProcessHandle.current().children().findAny().isEmpty());
        picture(window, "classify-project");
        close(window);
    }

    private record Entry(String name, ImageData<BufferedImage> image, List<String> saved)
            implements ProjectImageEntry<BufferedImage> {
        @Override
        public String getImageName() {
            return name;
        }

        @Override
        public ImageData<BufferedImage> readImageData() {
            return image;
        }

        @Override
        public void saveImageData(ImageData<BufferedImage> imageData) {
            saved.add(name);
        }
    }

    private static void remove(ImageData<BufferedImage> image) throws Exception {
        fx(() -> {
            item("Remove slidecam's objects...").fire();
            return null;
        });
        Stage alert = stage("slidecam");
        SEEN.put("remove", fx(() -> words(alert)));
        picture(alert, "remove");
        press(alert, "OK");
        await("removed", () -> image.getHierarchy().getTileObjects().isEmpty());
        SEEN.put("left", image.getHierarchy().getAnnotationObjects().size());
        SEEN.put("display at the end", display());
    }

    // ------------------------------------------------------------------------ hands and eyes

    private static javafx.beans.property.StringProperty preference(String name) {
        return PathPrefs.createPersistentPreference("slidecam." + name, "");
    }

    private static Stage open(String menu, String title) throws Exception {
        fx(() -> {
            item(menu).fire();
            return null;
        });
        return stage(title);
    }

    private static MenuItem item(String name) {
        return qupath.getMenu("Extensions>slidecam", false).getItems().stream()
                .filter(each -> name.equals(each.getText())).findFirst().orElseThrow();
    }

    private static Stage stage(String title) throws Exception {
        Callable<Stage> find = () -> Window.getWindows().stream().filter(Stage.class::isInstance)
                .map(Stage.class::cast).filter(each -> title.equals(each.getTitle())).findFirst().orElse(null);
        await(title, () -> find.call() != null);
        return fx(find);
    }

    private static void press(Stage window, String name) throws Exception {
        await(name, () -> all(window, Button.class).stream()
                .anyMatch(each -> each.getText().equals(name) && !each.isDisabled()));
        fx(() -> {
            all(window, Button.class).stream().filter(each -> each.getText().equals(name)).findFirst()
                    .orElseThrow().fire();
            return null;
        });
    }

    private static void close(Stage window) throws Exception {
        fx(() -> {
            window.close();
            return null;
        });
    }

    private static String awaitLabel(Stage window, Predicate<String> wanted) throws Exception {
        Callable<String> find = () -> all(window, Label.class).stream().map(Label::getText)
                .filter(wanted).findFirst().orElse(null);
        await("words in " + window.getTitle(), () -> find.call() != null);
        return fx(find);
    }

    private static void await(String what, Callable<Boolean> condition) throws Exception {
        for (int tries = 0; tries < PATIENCE * 10; tries++) {
            if (fx(condition))
                return;
            Thread.sleep(100);
        }
        throw new IllegalStateException("waited in vain for " + what);
    }

    private static <T> T fx(Callable<T> work) throws Exception {
        CompletableFuture<T> done = new CompletableFuture<>();
        Platform.runLater(() -> {
            try {
                done.complete(work.call());
            } catch (Throwable thrown) {
                done.completeExceptionally(thrown);
            }
        });
        return done.get(PATIENCE, TimeUnit.SECONDS);
    }

    private static <N extends Node> List<N> all(Window window, Class<N> kind) {
        List<N> found = new ArrayList<>();
        collect(window.getScene().getRoot(), kind, found);
        return found;
    }

    private static <N extends Node> void collect(Node node, Class<N> kind, List<N> found) {
        if (kind.isInstance(node))
            found.add(kind.cast(node));
        if (node instanceof javafx.scene.control.ScrollPane scroll && scroll.getContent() != null)
            collect(scroll.getContent(), kind, found);
        else if (node instanceof Parent parent)
            parent.getChildrenUnmodifiable().forEach(child -> collect(child, kind, found));
    }

    private static String words(Window window) {
        List<String> words = new ArrayList<>();
        all(window, Label.class).forEach(each -> words.add(each.getText()));
        all(window, TextArea.class).forEach(each -> words.add(each.getText()));
        return String.join(" | ", words);
    }

    private static void picture(Stage window, String name) throws Exception {
        Thread.sleep(300); // one layout and one frame
        BufferedImage image = fx(() -> SwingFXUtils.fromFXImage(window.getScene().snapshot(null), null));
        Files.createDirectories(pictures);
        ImageIO.write(image, "png", new File(pictures.toFile(), name + ".png"));
    }
}
