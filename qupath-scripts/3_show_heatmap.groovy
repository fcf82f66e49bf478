/**
 * Lay slidecam's class-activation heatmap of a class over the slide, in the viewer that shows this slide.
 *
 * The picture lies where slidecam painted it, to the pixel. It is an overlay: "show pixel classification" (key C) hides it,
 * the overlay's slider fades it, and it is gone with the image; run the script again.
 *
 * QuPath 0.5.1 to 0.7, in the window, after 1_classify_slide. Where no viewer shows the slide (without a window, or for
 * another image in *Run for project*) the script says so and ends.
 *
 * Arguments: any of the settings below as `-a name=value`.
 */

import qupath.lib.scripting.ScriptAttributes

Map settings = [
    'class': '',      // class of the heatmap; empty: the first one
    method : '',      // method of the heatmap, such as gradcam++; empty: the first one
    opacity: '1',     // 0 to 1; the picture itself is the more transparent the colder it is
    results: $/ /$,   // folder of results, between $/ and /$; empty: those of 1_classify_slide
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
slidecam.run('show heatmap', settings, binding.variables)
