/**
 * Write the annotations of a slide for `slidecam tiles` and `slidecam evaluate`, to teach or to measure a classifier.
 *
 * `<slide>.geojson` holds the annotations that have a class and an area, and says how QuPath shows the slide, so that they
 * land where they were drawn. `slides.csv` gets a row for each slide with its pixel size, for `--mpp-csv`:
 *
 *     slidecam tiles SLIDES --annotations OUT --mpp-csv OUT/slides.csv --out tiles/
 *
 * QuPath 0.5.1 to 0.7. Without the window, for every image of a project (a slide without annotations is passed over):
 *
 *     QuPath script 5_export_training.groovy -p project.qpproj -a out=/data/annotations
 *
 * Arguments: any of the settings below as `-a name=value`.
 */

import org.slf4j.LoggerFactory
import qupath.lib.scripting.ScriptAttributes

import static qupath.lib.gui.scripting.QPEx.*

Map settings = [
    out      : '',     // folder to write to; empty: slidecam-annotations beside project or slide
    predicted: 'no',   // whether regions of 4_merge_regions go along: yes only if a person has corrected them
]

if (!binding.hasVariable(ScriptAttributes.FILE_PATH))
    throw new IllegalStateException('Save the script beside the folder slidecam before you run it.')
def slidecam = new GroovyClassLoader(getClass().classLoader)
slidecam.addClasspath(new File(getProperty(ScriptAttributes.FILE_PATH)).absoluteFile.parent)
def log = LoggerFactory.getLogger('slidecam')

Map told = slidecam.loadClass('slidecam.Arguments').over(settings, args)
def imageData = getCurrentImageData()
def slide = slidecam.loadClass('slidecam.Slide').of(imageData)
def Training = slidecam.loadClass('slidecam.Training')
def predicted = told.predicted == 'yes' ? [] : slidecam.loadClass('slidecam.Results').regionsOn(imageData.getHierarchy())
List drawn = getAnnotationObjects().toList().findAll { it.getPathClass() != null && it.getROI()?.isArea() } - predicted
if (!drawn) {
    log.warn('{} has no annotations with a class and an area; nothing is written.', slide.stem)
    return
}
File out = new File(told.out ?: slidecam.loadClass('slidecam.Engine').placeFor(slide, getProject(), 'slidecam-annotations'))
out.mkdirs()
File file = new File(out, "${slide.stem}.geojson")
exportObjectsToGeoJson(drawn, file.path, 'FEATURE_COLLECTION')
Training.addFacts(file, slide)
Training.note(new File(out, 'slides.csv'), slide)
log.info('{} annotations in {}', drawn.size(), file)
