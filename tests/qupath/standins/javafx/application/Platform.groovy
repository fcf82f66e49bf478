package javafx.application

/** Runs at once: the tests look at what was done. */
class Platform {
    static void runLater(Runnable task) { task.run() }
}
