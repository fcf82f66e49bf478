/**
 * Merge tiles above a threshold into annotations, one for each connected region of a class.
 *
 * A tile counts for its own class where that class's probability reaches the threshold. The regions are locked, carry the
 * class, and take the place of regions that an earlier run has made; other annotations are not touched.
 *
 * QuPath 0.5.1 to 0.7, after 1_classify_slide. Without the window, for every image of a project:
 *
 *     QuPath script 4_merge_regions.groovy -p project.qpproj -s -a threshold=0.8
 *
 * Arguments: any of the settings below as `-a name=value`.
 */

import org.slf4j.LoggerFactory
import qupath.lib.objects.PathObjects
import qupath.lib.roi.RoiTools
import qupath.lib.scripting.ScriptAttributes

import static qupath.lib.gui.scripting.QPEx.*

Map settings = [
    threshold: '0.5',   // least probability of a tile's class
    classes  : '',      // classes to merge, comma-separated; empty: all
    smallest : '1',     // least number of tiles in a region
    results  : '',      // folder of results; empty: those of 1_classify_slide
]

if (!binding.hasVariable(ScriptAttributes.FILE_PATH))
    throw new IllegalStateException('Save the script beside the folder slidecam before you run it.')
def slidecam = new GroovyClassLoader(getClass().classLoader)
slidecam.addClasspath(new File(getProperty(ScriptAttributes.FILE_PATH)).absoluteFile.parent)
def log = LoggerFactory.getLogger('slidecam')

def Arguments = slidecam.loadClass('slidecam.Arguments')
Map told = Arguments.over(settings, args)
double threshold = Arguments.number(told, 'threshold', 0, 1)
double smallest = Arguments.number(told, 'smallest', 1, 1e9)
List wanted = told.classes.split(',')*.strip().findAll()

def imageData = getCurrentImageData()
def slide = slidecam.loadClass('slidecam.Slide').of(imageData)
def hierarchy = imageData.getHierarchy()
def Results = slidecam.loadClass('slidecam.Results')
Map measurements = Results.of(imageData, told.results, slide).measurements

List likely = Results.tilesOn(hierarchy).findAll { tile ->
    String name = tile.getPathClass()?.toString()
    name && (!wanted || name in wanted) && tile.getMeasurementList().get(measurements[name]) >= threshold
}
List regions = likely.groupBy { it.getPathClass() }.collectMany { pathClass, tiles ->
    double least = smallest * tiles.collect { it.getROI().getArea() }.min() * 0.999
    RoiTools.splitROI(RoiTools.union(tiles.collect { it.getROI() })).findAll { it.getArea() >= least }.collect { roi ->
        def region = PathObjects.createAnnotationObject(roi, pathClass)
        region.getMetadata()[Results.MADE_BY] = "tiles from ${threshold}".toString()
        region.setLocked(true)
        region
    }
}
hierarchy.removeObjects(Results.regionsOn(hierarchy), true)
hierarchy.addObjects(regions)
log.info('{} tiles from {} make {} regions', likely.size(), threshold, regions.size())
