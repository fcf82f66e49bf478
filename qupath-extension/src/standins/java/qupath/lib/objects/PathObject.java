package qupath.lib.objects;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import qupath.lib.measurements.MeasurementList;
import qupath.lib.measurements.StandInList;
import qupath.lib.objects.classes.PathClass;
import qupath.lib.roi.interfaces.ROI;

public abstract class PathObject {
    private final ROI roi;
    private final String kind;
    private final UUID id = UUID.randomUUID();
    private final MeasurementList measurements = new StandInList();
    private final Map<String, String> metadata = new LinkedHashMap<>();
    private PathClass pathClass;
    private String name;
    private boolean locked;

    protected PathObject(String kind, ROI roi, PathClass pathClass) {
        this.kind = kind;
        this.roi = roi;
        this.pathClass = pathClass;
    }

    public boolean isAnnotation() {
        return kind.equals("annotation");
    }

    public boolean isDetection() {
        return kind.equals("tile") || kind.equals("detection");
    }

    public boolean isTile() {
        return kind.equals("tile");
    }

    public boolean isTMACore() {
        return kind.equals("tmaCore");
    }

    public UUID getID() {
        return id;
    }

    public ROI getROI() {
        return roi;
    }

    public PathClass getPathClass() {
        return pathClass;
    }

    public void setPathClass(PathClass pathClass) {
        this.pathClass = pathClass;
    }

    public String getName() {
        return name;
    }

    public void setName(String name) {
        this.name = name;
    }

    public boolean isLocked() {
        return locked;
    }

    public void setLocked(boolean locked) {
        this.locked = locked;
    }

    public MeasurementList getMeasurementList() {
        return measurements;
    }

    public Map<String, String> getMetadata() {
        return metadata;
    }
}
