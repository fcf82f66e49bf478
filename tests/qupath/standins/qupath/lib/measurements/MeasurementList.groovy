package qupath.lib.measurements

import groovy.transform.CompileStatic

/** Keeps floats, as QuPath does; a name that is not there is not-a-number. */
@CompileStatic
class MeasurementList {
    public final Map<String, Float> values = [:]
    private boolean closed

    void put(String name, double value) { values[name] = value as float }
    double get(String name) { values.containsKey(name) ? (double) values[name] : Double.NaN }
    void close() { closed = true }
}
