package qupath.ext.slidecam;

import java.awt.image.BufferedImage;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import javafx.application.Platform;
import javafx.stage.Stage;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.gui.viewer.QuPathViewer;
import qupath.lib.images.ImageData;
import qupath.lib.images.servers.StandInServer;

/**
 * How long many tiles keep the extension, and its window's thread at a stretch. Arguments: a slide's
 * folder with {@code qupath/} in it, the slide's name, its width and its height.
 *
 * A line for each action: what, seconds, the window's longest stall in ms. Against stand-ins of
 * QuPath: what QuPath itself does with a tile is not in it.
 */
public final class Rates {

    private static final int PATIENCE = 300;
    private static final AtomicLong LONGEST = new AtomicLong();

    private Rates() {
    }

    /** Something that a person does. */
    private interface Action {
        void go() throws Exception;
    }

    public static void main(String[] args) throws Exception {
        CompletableFuture<Void> started = new CompletableFuture<>();
        Platform.startup(() -> started.complete(null));
        started.get(PATIENCE, TimeUnit.SECONDS);
        Platform.setImplicitExit(false);
        watch();
        try {
            walk(Path.of(args[0]), image(args[1], args[2], args[3]));
        } catch (Throwable thrown) {
            thrown.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private static ImageData<BufferedImage> image(String name, String width, String height) {
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("uri", Path.of(name).toUri().toString());
        facts.put("width", Integer.parseInt(width));
        facts.put("height", Integer.parseInt(height));
        facts.put("mpp", 0.5);
        return new ImageData<>(new StandInServer<>(facts));
    }

    private static void walk(Path folder, ImageData<BufferedImage> image) throws Exception {
        QuPathGUI qupath = fx(() -> {
            QuPathGUI window = new QuPathGUI(new Stage());
            QuPathViewer viewer = new QuPathViewer();
            viewer.setImageData(image);
            window.viewers.add(viewer);
            return window;
        });
        Results results = new Results(folder);
        timed("tiles read from the table and put on the image", () ->
                results.show(image, old -> true));
        ShowWindow show = fx(() -> new ShowWindow(qupath));
        timed("Show opened: the classes", () -> {
            act(show::open);
            await(() -> show.words.getText().contains("in the colour of its class"));
        });
        timed("the probability of a class", () -> {
            act(() -> show.what.setValue(show.what.getItems().get(1)));
            await(() -> show.words.getText().contains("have a probability"));
        });
        timed("100 moves of a slider", () -> {
            for (int move = 0; move < 100; move++) {
                double least = move / 101.0;
                act(() -> show.threshold.setValue(least));
            }
        });
        act(show.stage::close);
        RegionsWindow regions = fx(() -> new RegionsWindow(qupath));
        timed("tiles merged into regions", () -> {
            act(regions::open);
            act(regions::merge);
            await(() -> regions.message.getText().contains("regions, locked"));
        });
        act(regions.stage::close);
        timed("everything removed", () -> act(() -> Slidecam.remove(image)));
    }

    private static void timed(String what, Action action) throws Exception {
        LONGEST.set(0);
        long before = System.nanoTime();
        action.go();
        double seconds = (System.nanoTime() - before) / 1e9;
        System.out.printf("| %s | %.2f | %d |%n", what, seconds, LONGEST.get());
    }

    /** How long the window's thread is busy at a stretch. */
    private static void watch() {
        AtomicBoolean answered = new AtomicBoolean(true);
        Lines.daemon("watch", () -> {
            try {
                while (true) {
                    long before = System.nanoTime();
                    answered.set(false);
                    Platform.runLater(() -> answered.set(true));
                    while (!answered.get())
                        Thread.sleep(1);
                    LONGEST.accumulateAndGet((System.nanoTime() - before) / 1_000_000, Math::max);
                    Thread.sleep(5);
                }
            } catch (InterruptedException ended) {
                Thread.currentThread().interrupt();
            }
        });
    }

    private static void await(Callable<Boolean> condition) throws Exception {
        while (!fx(condition))
            Thread.sleep(5);
    }

    private static void act(Action action) throws Exception {
        fx(() -> {
            action.go();
            return null;
        });
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
}
