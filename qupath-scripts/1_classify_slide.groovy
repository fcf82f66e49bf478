/**
 * Classify the open slide with slidecam and bring the predictions back as tiles.
 *
 * The slide's path, pixel size and crop go to slidecam: to the server, if `slidecam serve` runs, else to a process of its
 * own. Tiles come back with their class and one `prob_…` measurement for each class, in the place of earlier ones of ours;
 * in the viewer of the slide they are filled, in the colours of their classes or by a measurement map. "Run > Kill running
 * script" stops it; what was classified is kept, and the next run goes on from there.
 *
 * QuPath 0.5.1 to 0.7. In the window: edit the settings and run. Without it, for every image of a project:
 *
 *     QuPath script 1_classify_slide.groovy -p project.qpproj -s -a model=/models/bundle
 *
 * Arguments: any of the settings below as `-a name=value`.
 */

import qupath.lib.scripting.ScriptAttributes

Map settings = [
    model     : $/ /$,         // folder of a bundle, between $/ and /$, as it is: $/C:\models\a/$; empty: the
                               // server's own, the one chosen in Extensions > slidecam, or SLIDECAM_MODEL
    out       : $/ /$,         // folder for results; empty: the server's own, or slidecam-results beside project or slide
    results   : $/ /$,         // results that are there already (of `slidecam predict project.qpproj`): only shown then
    engine    : 'auto',        // auto: the server if one runs; server; process; warm: one of our own until QuPath ends
    python    : $/ /$,         // a Python that has slidecam; empty: that of Extensions > slidecam > Preferences,
                               // SLIDECAM_PYTHON, or slidecam on the PATH
    map       : '',            // class whose probability colours the tiles; empty: each by its class; none: as QuPath does
    existing  : 'resume',      // what to do with an earlier run: resume, overwrite, refuse
    heatmap   : '',            // methods for 3_show_heatmap, comma-separated, or none; empty: the model's usual ones
    overlap   : '',            // and further options of `slidecam predict`; empty: its defaults
    min_tissue: '',
    grid      : '',
    batch     : '',
    device    : '',
    reader    : '',
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
slidecam.run('classify', settings, binding.variables)
