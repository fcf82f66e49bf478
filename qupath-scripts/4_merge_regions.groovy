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

import qupath.lib.scripting.ScriptAttributes

Map settings = [
    threshold: '0.5',   // least probability of a tile's class
    classes  : '',      // classes to merge, comma-separated; empty: all
    smallest : '1',     // least number of tiles in a region
    results  : $/ /$,   // folder of results, between $/ and /$; empty: those of 1_classify_slide
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
slidecam.run('merge regions', settings, binding.variables)
