package javafx.application;

/** Runs at once: the tests look at what was done, and need no screen. */
public final class Platform {
    private Platform() {
    }

    public static void runLater(Runnable task) {
        task.run();
    }

    public static boolean isFxApplicationThread() {
        return false;
    }
}
