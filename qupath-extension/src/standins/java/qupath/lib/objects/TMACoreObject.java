package qupath.lib.objects;

import qupath.lib.roi.interfaces.ROI;

public class TMACoreObject extends PathObject {
    private final boolean missing;

    public TMACoreObject(ROI roi, boolean missing) {
        super("tmaCore", roi, null);
        this.missing = missing;
    }

    public boolean isMissing() {
        return missing;
    }
}
