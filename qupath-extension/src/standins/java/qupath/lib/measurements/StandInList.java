package qupath.lib.measurements;

import java.util.LinkedHashMap;
import java.util.Map;

/** Keeps floats, as QuPath does; a name that is not there is not-a-number. No class of QuPath. */
public class StandInList implements MeasurementList {
    public final Map<String, Float> values = new LinkedHashMap<>();

    @Override
    public void put(String name, double value) {
        values.put(name, (float) value);
    }

    @Override
    public double get(String name) {
        return values.containsKey(name) ? values.get(name) : Double.NaN;
    }

    @Override
    public void close() {
    }
}
