package qupath.lib.gui.tools

import groovy.transform.CompileStatic
import qupath.lib.color.ColorMaps
import qupath.lib.objects.PathObject

@CompileStatic
class MeasurementMapper {
    public final ColorMaps.ColorMap colors
    public final String measurement
    public final int objects
    public double low, high

    MeasurementMapper(ColorMaps.ColorMap mapper, String measurement, Collection<? extends PathObject> pathObjects) {
        this.colors = mapper
        this.measurement = measurement
        this.objects = pathObjects.size()
    }

    void setDisplayMinValue(double minValue) { low = minValue }
    void setDisplayMaxValue(double maxValue) { high = maxValue }
}
