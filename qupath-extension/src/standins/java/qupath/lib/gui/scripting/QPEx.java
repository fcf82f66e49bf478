package qupath.lib.gui.scripting;

import qupath.lib.gui.QuPathGUI;
import qupath.lib.gui.viewer.QuPathViewer;
import qupath.lib.scripting.QP;

public class QPEx extends QP {
    /** The active viewer of the window, whatever image a script runs for. */
    public static QuPathViewer getCurrentViewer() {
        return QuPathGUI.getInstance() == null ? null : QuPathGUI.getInstance().getViewer();
    }
}
