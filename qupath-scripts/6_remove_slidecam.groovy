/**
 * Take away exactly what slidecam's scripts have added to an image: tiles, merged regions, heatmap and measurement map.
 *
 * Everything else stays: annotations and detections of yours, also those that lie in our regions. The results on disk stay
 * too, so that 1_classify_slide brings the tiles back at once.
 *
 * QuPath 0.5.1 to 0.7. Without the window, for every image of a project:
 *
 *     QuPath script 6_remove_slidecam.groovy -p project.qpproj -s
 *
 * Arguments: none.
 */

import org.slf4j.LoggerFactory
import qupath.lib.scripting.ScriptAttributes

import static qupath.lib.gui.scripting.QPEx.*

if (!binding.hasVariable(ScriptAttributes.FILE_PATH))
    throw new IllegalStateException('Save the script beside the folder slidecam before you run it.')
def slidecam = new GroovyClassLoader(getClass().classLoader)
slidecam.addClasspath(new File(getProperty(ScriptAttributes.FILE_PATH)).absoluteFile.parent)
def log = LoggerFactory.getLogger('slidecam')

def Results = slidecam.loadClass('slidecam.Results')
def imageData = getCurrentImageData()
if (imageData == null)
    throw new IllegalStateException('No image is open.')
def hierarchy = imageData.getHierarchy()
List tiles = Results.tilesOn(hierarchy)
List regions = Results.regionsOn(hierarchy)
hierarchy.removeObjects(tiles + regions, true)
imageData.removeProperty(Results.PROPERTY)
def viewer = getCurrentViewer()
if (viewer != null)
    slidecam.loadClass('slidecam.Window').clear(viewer)
log.info('{} tiles and {} regions taken away', tiles.size(), regions.size())
