package qupath.lib.gui.tools;

import java.util.Collection;
import qupath.lib.color.ColorMaps;
import qupath.lib.objects.PathObject;

public class MeasurementMapper {
    public final ColorMaps.ColorMap colors;
    public final String measurement;
    public final int objects;
    public double low;
    public double high;
    public boolean excluded;

    public MeasurementMapper(ColorMaps.ColorMap mapper, String measurement,
            Collection<? extends PathObject> pathObjects) {
        this.colors = mapper;
        this.measurement = measurement;
        this.objects = pathObjects.size();
    }

    public void setExcludeOutsideRange(boolean excludeOutsideRange) {
        this.excluded = excludeOutsideRange;
    }

    public void setDisplayMinValue(double minValue) {
        low = minValue;
    }

    public void setDisplayMaxValue(double maxValue) {
        high = maxValue;
    }
}
