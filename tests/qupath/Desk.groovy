// A QuPath without QuPath: opens images, runs our scripts as QuPath runs them, and tells what became of the image.
// One JSON request on each line of standard input, one JSON answer on each line of standard output.

import ch.qos.logback.classic.Level
import ch.qos.logback.classic.Logger
import ch.qos.logback.core.AppenderBase
import com.google.gson.Gson
import com.google.gson.GsonBuilder
import org.slf4j.LoggerFactory
import qupath.lib.gui.QuPathGUI
import qupath.lib.gui.tools.MeasurementMapper
import qupath.lib.gui.viewer.OverlayOptions
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.gui.viewer.overlays.BufferedImageOverlay
import qupath.lib.images.ImageData
import qupath.lib.images.servers.StandInServer
import qupath.lib.objects.PathObject
import qupath.lib.objects.PathObjects
import qupath.lib.objects.TMACoreObject
import qupath.lib.objects.classes.PathClass
import qupath.lib.projects.Project
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.ROIs
import qupath.lib.scripting.QP
import qupath.lib.scripting.ScriptAttributes

class Desk {
    static class Log extends AppenderBase {
        List<String> lines = Collections.synchronizedList([])
        Closure watcher = { }

        void append(event) {
            lines << event.formattedMessage
            watcher(event.formattedMessage)
        }
    }

    final Log log = new Log()
    final Map<String, Class> compiled = [:]

    Desk() {
        Logger root = (Logger) LoggerFactory.getLogger(org.slf4j.Logger.ROOT_LOGGER_NAME)
        root.detachAndStopAllAppenders()
        root.setLevel(Level.INFO)
        log.setContext(root.getLoggerContext())
        log.start()
        root.addAppender(log)
        // QuPath's console would show such a trace beside the script's own word.
        Thread.setDefaultUncaughtExceptionHandler { thread, thrown -> log.lines << "uncaught in ${thread.name}: ${thrown}".toString() }
    }

    /**
     * Open an image; `objects` are annotations and the like that a person has drawn before.
     *
     * `viewer`: a window whose active viewer shows it; `other`: one that shows another image, as in "Run for project".
     */
    Map open(Map asked) {
        QP.current = asked.image == null ? null : new ImageData(new StandInServer(asked.image))
        QP.project = asked.project == null ? null : [getPath: { -> new File(asked.project).toPath() }] as Project
        OverlayOptions.SHARED = new OverlayOptions()
        System.getProperties().keySet().removeIf { it.toString().startsWith('slidecam.display') }
        QuPathGUI.close()
        if (asked.viewer)
            show(new QuPathGUI(null), asked.viewer == 'other' ? anotherImage() : QP.current)
        asked.objects.each { put(it) }
        return [:]
    }

    private static void show(QuPathGUI window, ImageData imageData) {
        window.viewers.clear()
        QuPathViewer viewer = new QuPathViewer()
        viewer.setImageData(imageData)
        window.viewers << viewer
    }

    private static ImageData anotherImage() {
        new ImageData(new StandInServer([uri: 'file:/another.svs', width: 9, height: 9, mpp: null, builder: null]))
    }

    private void put(Map told) {
        def roi = told.point ? ROIs.point(*told.point) : told.polygon ? ROIs.polygon(told.polygon, ImagePlane.getDefaultPlane()) : ROIs.createRectangleROI(*told.box, ImagePlane.getPlane((told.z ?: 0) as int, 0))
        def hierarchy = QP.current.getHierarchy()
        PathClass pathClass = told['class'] == null ? null : PathClass.fromString(told['class'])
        PathObject made
        if (told.kind == 'tmaCore') {
            made = new TMACoreObject(roi, told.missing as boolean)
            hierarchy.cores << made
        } else {
            made = told.kind == 'tile' ? PathObjects.createTileObject(roi, pathClass) : PathObjects.createAnnotationObject(roi, pathClass)
            hierarchy.addObjects([made])
        }
        made.setName(told.name)
        if (told.selected)
            hierarchy.getSelectionModel().selected << made
    }

    /** Say which file tells of a running server; empty for the usual one. */
    Map know(Map asked) {
        System.setProperty('slidecam.server.file', asked.file)
        return [:]
    }

    Map compile(Map asked) {
        compiled.computeIfAbsent(asked.script) { new GroovyClassLoader(Desk.classLoader).parseClass(new File(it)) }
        return [:]
    }

    /**
     * Run a script as QuPath does: `args`, its path and its place in a batch in its binding, interrupted to be killed; of
     * what it throws, the root cause alone is said.
     */
    Map run(Map asked) {
        compile(asked)
        log.lines.clear()
        Binding binding = new Binding([args: asked.args as String[]])
        if (asked.batch != null)
            [ScriptAttributes.BATCH_INDEX, ScriptAttributes.BATCH_SIZE].eachWithIndex { name, place -> binding.setVariable(name, asked.batch[place] as int) }
        if (!asked.unsaved)
            binding.setVariable(ScriptAttributes.FILE_PATH, asked.script)
        Throwable problem = null
        Thread runner = new Thread({
            try {
                Script script = compiled[asked.script].getDeclaredConstructor().newInstance()
                script.setBinding(binding)
                script.run()
            } catch (Throwable thrown) {
                problem = thrown
            }
        } as Runnable)
        log.watcher = { String line ->
            if (asked.kill_at && line =~ asked.kill_at)
                runner.interrupt()
            if (asked.close_at && line =~ asked.close_at)
                show(QuPathGUI.getInstance(), anotherImage())
        }
        runner.start()
        runner.join()
        log.watcher = { }
        while (problem?.cause != null)
            problem = problem.cause
        return [problem: problem?.toString(), kind: problem?.class?.simpleName, log: log.lines as List, trace: problem?.stackTrace*.toString()]
    }

    Map look(Map asked) {
        QuPathViewer viewer = QuPathGUI.getInstance()?.getViewer()
        OverlayOptions options = OverlayOptions.SHARED
        MeasurementMapper mapper = options.getMeasurementMapper()
        return [
            objects: QP.current.getHierarchy().objects.collect { describe(it) },
            kept: QP.current.kept.collectEntries { name, value -> [name, value.toString()] },
            display: [options.getFillDetections(), options.getOpacity(), options.getShowPixelClassification()],
            steps: QP.current.getHistoryWorkflow().getSteps().collect { [it.getName(), it.getScript(), it.parameters] },
            map: mapper == null ? null : [measurement: mapper.measurement, objects: mapper.objects, low: mapper.low, high: mapper.high, colors: mapper.colors?.name],
            overlays: viewer?.getCustomOverlayLayers()?.collect { describeOverlay(it) },
        ]
    }

    /** Put a map and an overlay of somebody else's on the viewer. */
    Map decorate(Map asked) {
        QuPathViewer viewer = QuPathGUI.getInstance().getViewer()
        viewer.getOverlayOptions().setMeasurementMapper(new MeasurementMapper(null, 'Area', []))
        viewer.getCustomOverlayLayers().add(new BufferedImageOverlay(viewer, [:]))
        return [:]
    }

    private static Map describe(PathObject object) {
        def box = object.getROI().getGeometry().getEnvelopeInternal()
        return [
            kind: object.isTile() ? 'tile' : object.isAnnotation() ? 'annotation' : 'other',
            name: object.getName(), 'class': object.getPathClass()?.toString(), color: object.getPathClass()?.getColor(),
            box: [box.minX, box.minY, box.width, box.height], area: object.getROI().getArea(),
            corners: object.getROI().getGeometry().getNumPoints(), locked: object.isLocked(),
            label: OverlayOptions.SHARED.getShowNames() && object.isDetection() ? object.getName() : null,
            measurements: object.getMeasurementList().values.collectEntries { name, value -> [name, value as double] },
            metadata: object.getMetadata(),
        ]
    }

    private static Map describeOverlay(BufferedImageOverlay overlay) {
        def entry = overlay.getRegionMap().entrySet().find()
        return entry == null ? [foreign: true] : [
            opacity: overlay.getOpacity(), region: [entry.key.x, entry.key.y, entry.key.width, entry.key.height],
            picture: [entry.value.width, entry.value.height], corner: entry.value.getRGB(0, 0),
        ]
    }

    static void main() {
        PrintStream answers = System.out
        System.setOut(System.err)
        Desk desk = new Desk()
        Gson gson = new GsonBuilder().serializeNulls().serializeSpecialFloatingPointValues().create()
        System.in.eachLine('UTF-8') { String line ->
            Map asked = gson.fromJson(line, Map)
            Map answer
            try {
                answer = desk."${asked.do}"(asked)
            } catch (Throwable thrown) {
                answer = [broken: thrown.toString(), trace: thrown.stackTrace*.toString().take(12)]
            }
            answers.println(gson.toJson(answer))
            answers.flush()
        }
    }
}
