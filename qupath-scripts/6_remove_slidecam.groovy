/**
 * Take away exactly what slidecam has added to an image: tiles, merged regions, heatmap and measurement map; detections are
 * drawn again as they were before.
 *
 * Everything else stays: annotations and detections of yours, also those that lie in our regions. QuPath's Undo does not
 * bring them back; the results on disk stay, so that 1_classify_slide with `results` brings the tiles back at once.
 *
 * QuPath 0.5.1 to 0.7. Without the window, for every image of a project:
 *
 *     QuPath script 6_remove_slidecam.groovy -p project.qpproj -s
 *
 * Arguments: none.
 */

import qupath.lib.scripting.ScriptAttributes

Map settings = [:]

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
slidecam.run('remove', settings, binding.variables)
