package qupath.lib.gui.scripting

import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.scripting.QP

class QPEx extends QP {
    public static QuPathViewer viewer

    static QuPathViewer getCurrentViewer() { viewer }
}
