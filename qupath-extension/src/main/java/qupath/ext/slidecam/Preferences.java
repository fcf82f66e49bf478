package qupath.ext.slidecam;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import javafx.beans.property.StringProperty;
import qupath.lib.gui.prefs.PathPrefs;

/** What QuPath remembers of slidecam, and where slidecam is on this computer. */
final class Preferences {

    static final StringProperty PYTHON = text("python");
    static final StringProperty MODEL = text("model");
    static final StringProperty FOLDERS = text("models");
    static final StringProperty OUT = text("out");
    static final StringProperty HEATMAP = text("heatmap");
    static final StringProperty WHERE = text("where");
    static final StringProperty ENGINE = text("engine");

    private static final boolean WINDOWS =
            System.getProperty("os.name").toLowerCase(Locale.ROOT).contains("win");

    /** What conda and its kin call their folder in a home. */
    private static final List<String> CONDAS = List.of("miniforge3", "mambaforge", "miniconda3",
            "anaconda3", "micromamba", "opt/miniconda3", "opt/anaconda3");

    private Preferences() {
    }

    private static StringProperty text(String name) {
        return PathPrefs.createPersistentPreference("slidecam." + name, "");
    }

    /** The bundle of the environment, or the one that was chosen last; empty without any. */
    static String model() {
        String named = environment("SLIDECAM_MODEL");
        return named.isEmpty() ? value(MODEL) : named;
    }

    static String value(StringProperty property) {
        return property.get() == null ? "" : property.get().strip();
    }

    static String environment(String name) {
        return System.getenv(name) == null ? "" : System.getenv(name);
    }

    /** The beginning of slidecam's command: what is named, what is remembered, what is found. */
    static List<String> command(String named) {
        for (String python : List.of(named, value(PYTHON), environment("SLIDECAM_PYTHON")))
            if (!python.isEmpty())
                return isSlidecam(Path.of(python)) ? List.of(python) : List.of(python, "-m", "slidecam");
        Path found = found();
        return List.of(found == null ? "slidecam" : found.toString());
    }

    private static boolean isSlidecam(Path path) {
        String name = path.getFileName() == null ? "" : path.getFileName().toString();
        return name.equals("slidecam") || name.equalsIgnoreCase("slidecam.exe");
    }

    /** The program slidecam on the PATH or in an environment of conda; null where there is none. */
    static Path found() {
        String program = WINDOWS ? "slidecam.exe" : "slidecam";
        return folders().stream().map(folder -> folder.resolve(program))
                .filter(Files::isExecutable).findFirst().orElse(null);
    }

    private static List<Path> folders() {
        List<Path> folders = new ArrayList<>();
        for (String folder : environment("PATH").split(java.io.File.pathSeparator))
            if (!folder.isBlank())
                folders.add(Path.of(folder));
        Path home = Path.of(System.getProperty("user.home"));
        folders.add(home.resolve(".local/bin"));
        String programs = WINDOWS ? "Scripts" : "bin";
        if (!environment("CONDA_PREFIX").isEmpty())
            folders.add(Path.of(environment("CONDA_PREFIX"), programs));
        for (String conda : CONDAS) {
            folders.add(home.resolve(conda).resolve(programs));
            try (Stream<Path> environments = Files.list(home.resolve(conda).resolve("envs"))) {
                environments.sorted().forEach(one -> folders.add(one.resolve(programs)));
            } catch (IOException none) {
                // There is no such conda.
            }
        }
        return folders;
    }
}
