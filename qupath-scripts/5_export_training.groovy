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

import qupath.lib.scripting.ScriptAttributes

Map settings = [
    out      : $/ /$,  // folder to write to, between $/ and /$; empty: slidecam-annotations beside project or slide
    predicted: 'no',   // whether regions of 4_merge_regions go along: yes only if a person has corrected them
]

def loader = new GroovyClassLoader(getClass().classLoader)
if (binding.hasVariable(ScriptAttributes.FILE_PATH)) {
    File here = new File(getProperty(ScriptAttributes.FILE_PATH)).absoluteFile.parentFile
    [here, new File(here.parentFile, 'qupath-extension/build')].each { folder ->
        folder.listFiles()?.findAll { it.name ==~ /slidecam-qupath-.*\.jar/ }?.each { loader.addClasspath(it.path) }
    }
}
Class slidecam
try {
    slidecam = loader.loadClass('qupath.ext.slidecam.Slidecam')
} catch (ClassNotFoundException absent) {
    throw new IllegalStateException('Drag slidecam-qupath-<version>.jar onto QuPath, or keep it beside the scripts.')
}
slidecam.run('export training', settings, binding.variables)
