/**
 * Classify the open slide with slidecam and bring the predictions back as tiles.
 *
 * The slide's path, pixel size and crop go to slidecam: to the server, if `slidecam serve` runs, else to a process of its
 * own. Tiles come back with their class and one `prob_…` measurement for each class, in the place of earlier ones of ours,
 * and are coloured by a measurement map where there is a viewer. "Run > Kill running script" stops it; what was classified
 * is kept, and the next run goes on from there.
 *
 * QuPath 0.5.1 to 0.7. In the window: edit the settings and run. Without it, for every image of a project:
 *
 *     QuPath script 1_classify_slide.groovy -p project.qpproj -s -a model=/models/bundle
 *
 * Arguments: any of the settings below as `-a name=value`.
 */

import org.slf4j.LoggerFactory
import qupath.lib.scripting.ScriptAttributes

import static qupath.lib.gui.scripting.QPEx.*

Map settings = [
    model     : '',            // folder of a bundle; empty: the server's own, or the environment variable SLIDECAM_MODEL
    out       : '',            // folder for results; empty: the server's own, or slidecam-results beside project or slide
    results   : '',            // results that are there already (of `slidecam predict project.qpproj`): only shown then
    engine    : 'auto',        // auto: the server if one runs; server; process
    python    : '',            // a Python that has slidecam; empty: SLIDECAM_PYTHON, or slidecam on the PATH
    map       : '',            // class of the measurement map; empty: the first one; none
    existing  : 'resume',      // what to do with an earlier run: resume, overwrite, refuse
    heatmap   : '',            // methods for 3_show_heatmap, comma-separated, or none; empty: the model's usual ones
    overlap   : '',            // and further options of `slidecam predict`; empty: its defaults
    min_tissue: '',
    grid      : '',
    batch     : '',
    device    : '',
    reader    : '',
]

if (!binding.hasVariable(ScriptAttributes.FILE_PATH))
    throw new IllegalStateException('Save the script beside the folder slidecam before you run it.')
def slidecam = new GroovyClassLoader(getClass().classLoader)
slidecam.addClasspath(new File(getProperty(ScriptAttributes.FILE_PATH)).absoluteFile.parent)
def log = LoggerFactory.getLogger('slidecam')

Map told = slidecam.loadClass('slidecam.Arguments').over(settings, args)
def imageData = getCurrentImageData()
def slide = slidecam.loadClass('slidecam.Slide').of(imageData)
def Results = slidecam.loadClass('slidecam.Results')
def results
if (told.results) {
    results = Results.of(imageData, told.results, slide)
} else {
    def Engine = slidecam.loadClass('slidecam.Engine')
    results = Results.newInstance(Engine.predict(slide, told, null, Engine.placeFor(slide, getProject(), 'slidecam-results'), log))
}
List tiles = results.show(imageData)
log.info('{} tiles from {}', tiles.size(), results.folder.parent)

String mapped = told.map ?: results.measurements.keySet().first()
def viewer = getCurrentViewer()
if (viewer != null && mapped != 'none' && tiles)
    slidecam.loadClass('slidecam.Window').map(viewer, results.measurements[mapped] ?: "prob_${mapped}".toString(), tiles)
