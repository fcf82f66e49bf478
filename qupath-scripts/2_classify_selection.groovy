/**
 * Classify only what is selected: annotations or TMA cores.
 *
 * Works as 1_classify_slide does, but slidecam looks for tiles in the selected areas alone, tissue or not. Missing cores and
 * classes that QuPath sets apart (their names end in `*`) are left out, and `Ignore*` is cut out of the rest. Our earlier
 * tiles in these areas are replaced, all others stay.
 *
 * QuPath 0.5.1 to 0.7. In the window: select annotations or cores, edit the settings and run. Without it nothing is
 * selected, so name classes of annotations instead, or `cores`:
 *
 *     QuPath script 2_classify_selection.groovy -p project.qpproj -s -a model=/models/bundle -a classes=Tumor,Stroma
 *
 * Arguments: any of the settings below as `-a name=value`.
 */

import qupath.lib.scripting.ScriptAttributes

Map settings = [
    classes   : '',            // instead of a selection: classes of annotations, comma-separated, or `cores`
    model     : $/ /$,         // folder of a bundle, between $/ and /$, as it is: $/C:\models\a/$; empty: the
                               // server's own, the one chosen in Extensions > slidecam, or SLIDECAM_MODEL
    out       : $/ /$,         // folder for results; empty: the server's own, or slidecam-selection beside project or slide
    engine    : 'auto',        // auto: the server if one runs; server; process; warm: one of our own until QuPath ends
    python    : $/ /$,         // a Python that has slidecam; empty: that of Extensions > slidecam > Preferences,
                               // SLIDECAM_PYTHON, or slidecam on the PATH
    map       : '',            // class whose probability colours the tiles; empty: each by its class; none: as QuPath does
    existing  : 'overwrite',   // what to do with an earlier run: another selection cannot go on with it
    heatmap   : '',            // methods for 3_show_heatmap, comma-separated, or none; empty: the model's usual ones
    overlap   : '',            // and further options of `slidecam predict`; empty: its defaults
    min_tissue: '0.5',         // least share of a tile that lies in the selection
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
slidecam.run('classify selection', settings, binding.variables)
