package qupath.lib.objects

import groovy.transform.CompileStatic
import qupath.lib.measurements.MeasurementList
import qupath.lib.objects.classes.PathClass
import qupath.lib.roi.interfaces.ROI

@CompileStatic
class PathObject {
    private final ROI roi
    private final String kind
    private final UUID id = UUID.randomUUID()
    private final MeasurementList measurements = new MeasurementList()
    private final Map<String, String> metadata = [:]
    private PathClass pathClass
    private String name
    private boolean locked

    PathObject(String kind, ROI roi, PathClass pathClass) {
        this.kind = kind
        this.roi = roi
        this.pathClass = pathClass
    }

    boolean isAnnotation() { kind == 'annotation' }
    boolean isDetection() { kind in ['tile', 'detection'] }
    boolean isTile() { kind == 'tile' }
    boolean isTMACore() { kind == 'tmaCore' }
    UUID getID() { id }
    ROI getROI() { roi }
    PathClass getPathClass() { pathClass }
    void setPathClass(PathClass pathClass) { this.pathClass = pathClass }
    String getName() { name }
    void setName(String name) { this.name = name }
    boolean isLocked() { locked }
    void setLocked(boolean locked) { this.locked = locked }
    MeasurementList getMeasurementList() { measurements }
    Map<String, String> getMetadata() { metadata }
}
