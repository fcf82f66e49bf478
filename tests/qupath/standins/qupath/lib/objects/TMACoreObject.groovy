package qupath.lib.objects

import groovy.transform.CompileStatic
import qupath.lib.roi.interfaces.ROI

@CompileStatic
class TMACoreObject extends PathObject {
    private final boolean missing

    TMACoreObject(ROI roi, boolean missing) {
        super('tmaCore', roi, null)
        this.missing = missing
    }

    boolean isMissing() { missing }
}
