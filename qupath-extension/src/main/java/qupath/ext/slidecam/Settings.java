package qupath.ext.slidecam;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a command was told: values by name, of a script's own settings and its {@code name=value}
 * arguments, of a workflow's step, or of a window.
 */
public final class Settings {

    /** Names of settings that are files or folders. */
    private static final List<String> PATHS = List.of("model", "out", "results", "python");

    private final Map<String, String> values = new LinkedHashMap<>();

    /** Take values as they are; IllegalArgumentException for a path that cannot be one. */
    public Settings(Map<?, ?> given) {
        given.forEach((name, value) -> values.put(name.toString(),
                value == null ? "" : value.toString()));
        PATHS.forEach(this::refuseControlCharacters);
    }

    /** Return a script's settings with what its arguments change; other names are refused. */
    public static Settings over(Map<?, ?> settings, String[] args) {
        Map<String, Object> values = new LinkedHashMap<>();
        settings.forEach((name, value) -> values.put(name.toString(), value));
        for (String arg : args == null ? new String[0] : args) {
            int equals = arg.indexOf('=');
            String name = equals < 0 ? arg : arg.substring(0, equals);
            if (equals < 0 || !values.containsKey(name))
                throw new IllegalArgumentException("'" + arg + "' is no setting. Pass name=value; the"
                        + " names are " + String.join(", ", values.keySet()) + ".");
            values.put(name, arg.substring(equals + 1));
        }
        return new Settings(values);
    }

    /** In a quoted string of Groovy, C:\new is a line break: no path holds one. */
    private void refuseControlCharacters(String name) {
        if (of(name).chars().anyMatch(Character::isISOControl))
            throw new IllegalArgumentException(name + " holds a control character: a backslash was"
                    + " read as one. Write Windows paths with /, as in C:/models/a.");
    }

    /** A value; empty where nobody gave one. */
    public String of(String name) {
        return values.getOrDefault(name, "").strip();
    }

    /** A value, or another where there is none. */
    public String of(String name, String otherwise) {
        return of(name).isEmpty() ? otherwise : of(name);
    }

    /** The parts of a comma-separated value. */
    public List<String> list(String name) {
        return Arrays.stream(of(name).split(",")).map(String::strip).filter(s -> !s.isEmpty()).toList();
    }

    /** A value as a number from low to high; IllegalArgumentException where it is none. */
    public double number(String name, double low, double high) {
        try {
            double value = Double.parseDouble(of(name));
            if (value >= low && value <= high)
                return value;
        } catch (NumberFormatException notANumber) {
            // Said below, with the range.
        }
        throw new IllegalArgumentException(
                name + "=" + of(name) + " is no number from " + low + " to " + high + ".");
    }

    /** Those of these names that have a value. */
    public Map<String, String> only(List<String> names) {
        Map<String, String> some = new LinkedHashMap<>();
        names.stream().filter(name -> !of(name).isEmpty()).forEach(name -> some.put(name, of(name)));
        return some;
    }

    /** All that have a value. */
    public Map<String, String> given() {
        return only(List.copyOf(values.keySet()));
    }
}
