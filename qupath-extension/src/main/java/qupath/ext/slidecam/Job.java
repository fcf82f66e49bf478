package qupath.ext.slidecam;

import javafx.application.Platform;
import javafx.concurrent.Task;

/**
 * Work of slidecam beside the window: progress with tiles a second and the time that is left, and
 * a cancel that ends the process or the server's job.
 *
 * @param <T> what comes of it
 */
final class Job<T> extends Task<T> implements Heed.Watcher {

    /** The work itself. */
    interface Work<T> {
        T go(Job<T> job) throws Exception;
    }

    private static final double NANO = 1e-9;

    private final Work<T> work;
    private final StringBuilder notes = new StringBuilder();
    private final javafx.beans.property.SimpleStringProperty said =
            new javafx.beans.property.SimpleStringProperty("");
    private String what = "";
    private long begun;
    private long first;

    Job(Work<T> work) {
        this.work = work;
    }

    /** Begin, on a thread of its own. */
    Job<T> begin() {
        Lines.daemon("slidecam-work", this);
        return this;
    }

    /** All sentences that a person should read, a line each. */
    javafx.beans.property.ReadOnlyStringProperty said() {
        return said;
    }

    @Override
    protected T call() throws Exception {
        updateMessage("slidecam starts");
        return work.go(this);
    }

    /** Say which of several images is worked on. */
    void on(String image) {
        updateMessage(image);
    }

    @Override
    public void at(String now, long done, long total) {
        if (!now.equals(what)) {
            what = now;
            begun = System.nanoTime();
            first = done;
        }
        double seconds = (System.nanoTime() - begun) * NANO;
        double rate = seconds > 0 ? (done - first) / seconds : 0;
        String text = now + ": " + done + (total > 0 ? " of " + total : "");
        if (rate > 0 && total > 0)
            text += String.format(" (%.0f a second, %s left)", rate, time((total - done) / rate));
        updateMessage(text);
        updateProgress(done, Math.max(total, 1));
    }

    private static String time(double seconds) {
        return seconds < 90 ? Math.round(seconds) + " s" : Math.round(seconds / 60) + " min";
    }

    @Override
    public void said(String sentence) {
        Platform.runLater(() -> {
            notes.append(sentence).append('\n');
            said.set(notes.toString());
        });
    }
}
