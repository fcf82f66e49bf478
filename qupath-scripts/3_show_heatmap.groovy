/**
 * Lay slidecam's class-activation heatmap of a class over the slide.
 *
 * The picture lies where slidecam painted it, to the pixel. It is an overlay: "show pixel classification" (key C) hides it,
 * the overlay's slider fades it, and it is gone with the image; run the script again.
 *
 * QuPath 0.5.1 to 0.7, in the window, after 1_classify_slide. Without a window there is nothing to show it in, and the
 * script says so and ends.
 *
 * Arguments: any of the settings below as `-a name=value`.
 */

import javax.imageio.ImageIO
import org.slf4j.LoggerFactory
import qupath.lib.regions.ImageRegion
import qupath.lib.scripting.ScriptAttributes

import static qupath.lib.gui.scripting.QPEx.*

Map settings = [
    'class': '',      // class of the heatmap; empty: the first one
    method : '',      // method of the heatmap, such as gradcam++; empty: the first one
    opacity: '1',     // 0 to 1; the picture itself is the more transparent the colder it is
    results: '',      // folder of results; empty: those of 1_classify_slide
]

if (!binding.hasVariable(ScriptAttributes.FILE_PATH))
    throw new IllegalStateException('Save the script beside the folder slidecam before you run it.')
def slidecam = new GroovyClassLoader(getClass().classLoader)
slidecam.addClasspath(new File(getProperty(ScriptAttributes.FILE_PATH)).absoluteFile.parent)
def log = LoggerFactory.getLogger('slidecam')

def Arguments = slidecam.loadClass('slidecam.Arguments')
Map told = Arguments.over(settings, args)
double opacity = Arguments.number(told, 'opacity', 0, 1)
def viewer = getCurrentViewer()
if (viewer == null) {
    log.warn('There is no viewer to show a heatmap in.')
    return
}
def imageData = getCurrentImageData()
def slide = slidecam.loadClass('slidecam.Slide').of(imageData)
def results = slidecam.loadClass('slidecam.Results').of(imageData, told.results, slide)
List heatmaps = results.index.heatmaps
def heatmap = heatmaps.find { (!told['class'] || it['class'] == told['class']) && (!told.method || it.method == told.method) }
if (heatmap == null)
    throw new IllegalArgumentException("No heatmap of the class '${told['class']}' by '${told.method}'. There are: " +
        (heatmaps.collect { "${it['class']} by ${it.method}" }.join(', ') ?: 'none; run 1_classify_slide with heatmap=gradcam++'))

def picture = ImageIO.read(new File(results.folder, heatmap.file))
def region = ImageRegion.createInstance(heatmap.x as int, heatmap.y as int, heatmap.width as int, heatmap.height as int, 0, 0)
slidecam.loadClass('slidecam.Window').lay(viewer, picture, region, opacity)
log.info('{} of {} at {}, {}, {} x {} px', heatmap.method, heatmap['class'], region.x, region.y, region.width, region.height)
log.info([heatmap.shows, heatmap.measured].findAll().join(' '))
def others = heatmaps*.method.unique() - heatmap.method
if (others)
    log.info('Beside it (method=...): {}', others.join(', '))
