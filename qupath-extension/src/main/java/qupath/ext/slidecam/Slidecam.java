package qupath.ext.slidecam;

import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.slf4j.Logger;
import qupath.lib.gui.viewer.QuPathViewer;
import qupath.lib.images.ImageData;
import qupath.lib.objects.PathObject;
import qupath.lib.objects.hierarchy.PathObjectHierarchy;
import qupath.lib.plugins.workflow.DefaultScriptableWorkflowStep;
import qupath.lib.projects.Project;
import qupath.lib.scripting.QP;

/**
 * What slidecam does in QuPath, for scripts, for the steps of a workflow and for the extension's
 * windows: each a command with settings by name.
 *
 * In a script: {@code qupath.ext.slidecam.Slidecam.classify([model: 'C:/models/a'])}.
 */
public final class Slidecam {

    private static final Logger LOG = Engine.LOG;
    private static final Heed.Watcher NOBODY = (what, done, total) -> { };

    private Slidecam() {
    }

    /** Run a command for a script: settings, what its arguments change, the script's binding. */
    public static void run(String command, Map<?, ?> settings, Map<?, ?> binding) throws Exception {
        ImageData<?> imageData = QP.getCurrentImageData();
        String[] args = binding.get("args") instanceof String[] given ? given : new String[0];
        Batch.counted(binding, imageData, () -> {
            command(command, Settings.over(settings, args), imageData);
            return null;
        });
    }

    private static void command(String command, Settings settings, ImageData<?> imageData)
            throws Exception {
        switch (command) {
            case "classify" -> classify(settings, imageData, QP.getProject(), null, NOBODY);
            case "classify selection" -> classifySelection(settings, imageData, QP.getProject(), NOBODY);
            case "show heatmap" -> showHeatmap(settings, imageData);
            case "merge regions" -> mergeRegions(settings, imageData);
            case "export training" -> exportTraining(settings, imageData, QP.getProject());
            case "remove" -> remove(imageData);
            default -> throw new IllegalArgumentException("There is no command '" + command + "'.");
        }
    }

    /** Classify the image that a script runs for; what a step of its workflow says. */
    public static void classify(Map<?, ?> settings) throws Exception {
        classify(new Settings(settings), QP.getCurrentImageData(), QP.getProject(), null, NOBODY);
    }

    /** Merge the tiles of the image that a script runs for. */
    public static void mergeRegions(Map<?, ?> settings) throws IOException {
        mergeRegions(new Settings(settings), QP.getCurrentImageData());
    }

    /** Classify an image, whole or in a mask's areas, and bring the tiles back; return them. */
    static List<PathObject> classify(Settings settings, ImageData<?> imageData, Project<?> project,
            Collection<PathObject> areas, Heed.Watcher watcher) throws IOException, InterruptedException {
        Slide slide = Slide.of(imageData);
        boolean wasOpen = Views.of(imageData) != null;
        Results results;
        if (!settings.of("results").isEmpty()) {
            results = Results.of(imageData, settings.of("results"), slide);
        } else {
            JsonObject mask = areas == null ? null : Drawn.mask(imageData, new ArrayList<>(areas), slide);
            Path place = slide.place(project, areas == null ? "slidecam-results" : "slidecam-selection");
            results = new Results(Engine.predict(slide, settings, mask, place, watcher));
        }
        if (wasOpen && Views.of(imageData) == null)
            throw new IllegalStateException(slide.name() + " was closed while slidecam worked, and gets"
                    + " no tiles. Open it again and show its results: " + results.folder());
        List<PathObject> tiles = results.show(imageData, areas == null ? old -> true : old -> areas
                .stream().anyMatch(area -> area.getROI().contains(
                        old.getROI().getCentroidX(), old.getROI().getCentroidY())));
        LOG.info("{} tiles from {}", tiles.size(), results.folder());
        history(imageData, results, settings);
        color(settings.of("map"), imageData, results, tiles);
        return tiles;
    }

    /** Colour the tiles in the viewer of their image: by class, or by the probability of one. */
    private static void color(String map, ImageData<?> imageData, Results results,
            List<PathObject> tiles) {
        QuPathViewer viewer = Views.of(imageData);
        if (map.equals("none") || tiles.isEmpty())
            return;
        if (viewer == null) {
            LOG.info("No viewer shows this image: nothing is coloured.");
            return;
        }
        String measurement = map.isEmpty() ? null
                : results.measurements().getOrDefault(map, "prob_" + map);
        Views.fill(viewer, measurement, tiles);
        LOG.info("Detections are filled (key F), {}; removing slidecam's objects gives that back.",
                map.isEmpty() ? "in the colours of their classes" : "by " + measurement);
    }

    /** Write into the image's history what made its tiles, as a step that can be run again. */
    private static void history(ImageData<?> imageData, Results results, Settings settings) {
        Map<String, String> facts = results.provenance();
        Map<String, String> step = new LinkedHashMap<>(settings.given());
        if (!facts.getOrDefault("bundle", "").isEmpty())
            step.put("model", Path.of(facts.get("bundle")).isAbsolute() ? facts.get("bundle")
                    : step.getOrDefault("model", facts.get("bundle")));
        StringBuilder script = new StringBuilder("// bundle " + facts.get("digest") + ", slidecam "
                + facts.get("slidecam") + "\n" + Slidecam.class.getName() + ".classify([");
        step.forEach((name, value) -> script.append(quoted(name)).append(": ").append(quoted(value))
                .append(", "));
        if (!step.isEmpty())
            script.setLength(script.length() - 2);
        script.append(step.isEmpty() ? ":])" : "])");
        imageData.getHistoryWorkflow().addStep(new DefaultScriptableWorkflowStep(
                "Classify with slidecam", new TreeMap<>(facts), script.toString()));
    }

    /** A Groovy string that is what it says: backslashes and quotes are not read as anything else. */
    private static String quoted(String text) {
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'";
    }

    /** Classify in what is selected, or what settings name: classes of annotations, or cores. */
    static List<PathObject> classifySelection(Settings settings, ImageData<?> imageData,
            Project<?> project, Heed.Watcher watcher) throws IOException, InterruptedException {
        Slide.of(imageData);
        PathObjectHierarchy hierarchy = imageData.getHierarchy();
        List<String> wanted = settings.list("classes");
        Collection<? extends PathObject> chosen;
        if (wanted.equals(List.of("cores")))
            chosen = QP.getTMACoreList();
        else if (!wanted.isEmpty())
            chosen = hierarchy.getAnnotationObjects().stream().filter(each -> each.getPathClass() != null
                    && wanted.contains(each.getPathClass().toString())).toList();
        else
            chosen = hierarchy.getSelectionModel().getSelectedObjects().stream()
                    .filter(each -> each.isAnnotation() || each.isTMACore()).toList();
        List<PathObject> areas = Drawn.areas(chosen, "selection");
        if (areas.isEmpty())
            throw new IllegalStateException("Nothing with an area is selected that is tissue. Select"
                    + " annotations or TMA cores, or set classes=.");
        Drawn.warnOfPlaces(imageData, areas);
        return classify(settings, imageData, project, areas, watcher);
    }

    /** Lay the heatmap of a class over the slide, in the viewer that shows it. */
    static void showHeatmap(Settings settings, ImageData<?> imageData) throws IOException {
        double opacity = settings.number("opacity", 0, 1);
        Slide slide = Slide.of(imageData);
        QuPathViewer viewer = Views.of(imageData);
        if (viewer == null) {
            LOG.warn("No viewer shows {}, so that there is nothing to lay a heatmap over.", slide.name());
            return;
        }
        Results results = Results.of(imageData, settings.of("results"), slide);
        List<JsonObject> heatmaps = results.heatmaps();
        JsonObject heatmap = heatmaps.stream().filter(each -> fits(each, "class", settings)
                && fits(each, "method", settings)).findFirst().orElse(null);
        if (heatmap == null)
            throw new IllegalArgumentException("No heatmap of the class '" + settings.of("class")
                    + "' by '" + settings.of("method") + "'. There are: " + listed(heatmaps));
        Views.lay(viewer, heatmap, Views.picture(results, heatmap), opacity);
        LOG.info("{} of {} at {}, {}, {} x {} px", Heed.text(heatmap, "method"),
                Heed.text(heatmap, "class"), Heed.whole(heatmap, "x"), Heed.whole(heatmap, "y"),
                Heed.whole(heatmap, "width"), Heed.whole(heatmap, "height"));
        LOG.info("{}", (Heed.text(heatmap, "shows") + " " + Heed.text(heatmap, "measured")).strip());
        Set<String> others = new LinkedHashSet<>();
        heatmaps.forEach(each -> others.add(Heed.text(each, "method")));
        others.remove(Heed.text(heatmap, "method"));
        if (!others.isEmpty())
            LOG.info("Beside it (method=...): {}", String.join(", ", others));
    }

    private static boolean fits(JsonObject heatmap, String name, Settings settings) {
        return settings.of(name).isEmpty() || settings.of(name).equals(Heed.text(heatmap, name));
    }

    private static String listed(List<JsonObject> heatmaps) {
        if (heatmaps.isEmpty())
            return "none; classify with heatmap=gradcam++";
        return String.join(", ", heatmaps.stream().map(each -> Heed.text(each, "class") + " by "
                + Heed.text(each, "method")).toList());
    }

    /** Merge tiles above a threshold into annotations; return how many tiles and regions. */
    static int[] mergeRegions(Settings settings, ImageData<?> imageData) throws IOException {
        double threshold = settings.number("threshold", 0, 1);
        double smallest = settings.number("smallest", 1, 1e9);
        Slide slide = Slide.of(imageData);
        Map<String, String> measurements =
                Results.of(imageData, settings.of("results"), slide).measurements();
        int[] made = Regions.merge(imageData, measurements, settings.list("classes"), threshold, smallest);
        LOG.info("{} tiles from {} make {} regions", made[0], threshold, made[1]);
        return made;
    }

    /** Write annotations for `slidecam tiles` and `evaluate`; return the file, null without any. */
    static Path exportTraining(Settings settings, ImageData<?> imageData, Project<?> project)
            throws IOException {
        Slide slide = Slide.of(imageData);
        PathObjectHierarchy hierarchy = imageData.getHierarchy();
        List<PathObject> predicted = settings.of("predicted").equals("yes") ? List.of()
                : Results.regionsOn(hierarchy);
        List<PathObject> drawn = hierarchy.getAnnotationObjects().stream().filter(each ->
                each.getPathClass() != null && each.getROI() != null && each.getROI().isArea()
                && !predicted.contains(each)).toList();
        if (drawn.isEmpty()) {
            LOG.warn("{} has no annotations with a class and an area; nothing is written.", slide.name());
            return null;
        }
        Drawn.warnOfPlaces(imageData, drawn);
        String named = settings.of("out");
        Path out = named.isEmpty() ? slide.place(project, "slidecam-annotations") : Path.of(named);
        Files.createDirectories(out);
        Path file = out.resolve(slide.name() + ".geojson");
        Drawn.write(file, drawn, slide);
        Drawn.note(out.resolve("slides.csv"), slide);
        LOG.info("{} annotations in {}", drawn.size(), file);
        return file;
    }

    /** Take away what is ours; return how many tiles and regions. */
    static int[] remove(ImageData<?> imageData) {
        if (imageData == null)
            throw new IllegalStateException("No image is open.");
        PathObjectHierarchy hierarchy = imageData.getHierarchy();
        List<PathObject> tiles = Results.tilesOn(hierarchy);
        List<PathObject> regions = Results.regionsOn(hierarchy);
        List<PathObject> all = new ArrayList<>(tiles);
        all.addAll(regions);
        Object results = imageData.getProperty(Results.PROPERTY);
        hierarchy.removeObjects(all, true);
        imageData.removeProperty(Results.PROPERTY);
        QuPathViewer viewer = Views.of(imageData);
        if (viewer != null)
            Views.clear(viewer);
        LOG.info("{} tiles and {} regions taken away", tiles.size(), regions.size());
        if (!tiles.isEmpty() && results != null)
            LOG.info("QuPath's Undo does not bring them back; classifying with results={} shows the"
                    + " tiles again at once.", results);
        return new int[] {tiles.size(), regions.size()};
    }
}
