/**
 * Classify only what is selected: annotations or TMA cores.
 *
 * Works as 1_classify_slide does, but slidecam looks for tiles in the selected areas alone, tissue or not. Our earlier tiles
 * in these areas are replaced, all others stay.
 *
 * QuPath 0.5.1 to 0.7. In the window: select annotations or cores, edit the settings and run. Without it nothing is
 * selected, so name classes of annotations instead, or `cores`:
 *
 *     QuPath script 2_classify_selection.groovy -p project.qpproj -s -a model=/models/bundle -a classes=Tumor,Stroma
 *
 * Arguments: any of the settings below as `-a name=value`.
 */

import com.google.gson.Gson
import org.slf4j.LoggerFactory
import qupath.lib.scripting.ScriptAttributes

import static qupath.lib.gui.scripting.QPEx.*

Map settings = [
    classes   : '',            // instead of a selection: classes of annotations, comma-separated, or `cores`
    model     : '',            // folder of a bundle; empty: the server's own, or the environment variable SLIDECAM_MODEL
    out       : '',            // folder for results; empty: the server's own, or slidecam-selection beside project or slide
    engine    : 'auto',        // auto: the server if one runs; server; process
    python    : '',            // a Python that has slidecam; empty: SLIDECAM_PYTHON, or slidecam on the PATH
    existing  : 'overwrite',   // what to do with an earlier run: another selection cannot go on with it
    heatmap   : '',            // methods for 3_show_heatmap, comma-separated, or none; empty: the model's usual ones
    overlap   : '',            // and further options of `slidecam predict`; empty: its defaults
    min_tissue: '0.5',         // least share of a tile that lies in the selection
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
List wanted = told.classes.split(',')*.strip().findAll()
List chosen = wanted == ['cores'] ? getTMACoreList().findAll { !it.isMissing() }
    : wanted ? getAnnotationObjects().toList().findAll { it.getPathClass()?.toString() in wanted }
    : getSelectedObjects().toList().findAll { it.isAnnotation() || it.isTMACore() }
chosen = chosen.findAll { it.getROI()?.isArea() }
if (!chosen)
    throw new IllegalStateException('Nothing with an area is selected. Select annotations or TMA cores, or set classes=.')

File drawn = File.createTempFile('slidecam-', '.geojson')
String mask
try {
    exportObjectsToGeoJson(chosen, drawn.path, 'FEATURE_COLLECTION')
    Map collection = new Gson().fromJson(drawn.getText('UTF-8'), Map)
    mask = new Gson().toJson(collection + [slidecam: slide.facts])
} finally {
    drawn.delete()
}
def Engine = slidecam.loadClass('slidecam.Engine')
File folder = Engine.predict(slide, told, mask, Engine.placeFor(slide, getProject(), 'slidecam-selection'), log)
List tiles = slidecam.loadClass('slidecam.Results').newInstance(folder).show(imageData) { old ->
    chosen.any { it.getROI().contains(old.getROI().getCentroidX(), old.getROI().getCentroidY()) }
}
log.info('{} tiles in {} selected areas, from {}', tiles.size(), chosen.size(), folder)
