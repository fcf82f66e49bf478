package qupath.ext.slidecam;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.file.Path;
import org.slf4j.Logger;

/**
 * What slidecam says while it works, made out: into the log at most every five seconds, to whoever
 * watches the progress each time, and as an exception where it ends the work.
 */
public final class Heed {

    /** Who watches the progress. */
    public interface Watcher {
        /** Tiles done and in all, in this slide; total is 0 where nobody knows. */
        void at(String what, long done, long total);

        /** A sentence a person should read. */
        default void said(String sentence) {
        }
    }

    private static final long QUIET = 5_000_000_000L;

    private final Logger log;
    private final Watcher watcher;
    private long spoke;
    private Path folder;

    Heed(Logger log, Watcher watcher) {
        this.log = log;
        this.watcher = watcher;
        spoke = System.nanoTime() - QUIET;
    }

    /** The folder of the last slide that came to its end; null before. */
    Path folder() {
        return folder;
    }

    /** Make out one event. */
    void event(JsonObject event) throws IOException, InterruptedException {
        switch (text(event, "event")) {
            case "Planned" -> log.info("{}: {} tiles, {} of them to do, {} µm/px ({})",
                    text(event, "slide"), whole(event, "tiles"), whole(event, "pending"),
                    text(event, "spacing"), text(event, "spacing_from"));
            case "BatchDone" -> progress(text(event, "slide"), event, " tiles");
            case "Step" -> step(event);
            case "TileFailed" -> said(text(event, "slide") + ": a tile failed: " + text(event, "reason"));
            case "Warned" -> said(text(event, "message"));
            case "Waiting" -> said(text(event, "slide") + " has been silent for "
                    + whole(event, "seconds") + " s while it is " + text(event, "stage") + ".");
            case "SlideFailed", "Error" -> throw new IOException(
                    "slidecam: " + text(event, "problem") + " " + text(event, "remedy"));
            case "Stopped" -> throw new InterruptedException(
                    "slidecam: " + text(event, "state") + " " + text(event, "remedy"));
            case "SlideFinished" -> {
                log.info("{}: {} {}", text(event, "slide"), text(event, "status"), text(event, "reason"));
                folder = Path.of(text(event, "folder"));
            }
            default -> { }
        }
    }

    private void step(JsonObject event) {
        if (!text(event, "message").isEmpty())
            said(text(event, "message"));
        progress(text(event, "phase"), event, "");
    }

    private void said(String sentence) {
        log.warn("{}", sentence);
        watcher.said(sentence);
    }

    private void progress(String what, JsonObject event, String unit) {
        long done = whole(event, "done");
        long total = whole(event, "total");
        watcher.at(what, done, total);
        long now = System.nanoTime();
        if (now - spoke >= QUIET || done == total && total > 0) {
            spoke = now;
            log.info("{}: {} of {}{}", what, done, total, unit);
        }
    }

    static String text(JsonObject event, String name) {
        JsonElement value = event.get(name);
        return value == null || value.isJsonNull() ? "" : value.getAsString();
    }

    static long whole(JsonObject event, String name) {
        JsonElement value = event.get(name);
        return value == null || value.isJsonNull() ? 0 : value.getAsLong();
    }
}
