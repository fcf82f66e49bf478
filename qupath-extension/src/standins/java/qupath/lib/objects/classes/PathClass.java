package qupath.lib.objects.classes;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** One instance for each name; the first colour seen wins. */
public final class PathClass {
    private static final Map<String, PathClass> KNOWN = new HashMap<>();
    private final String text;
    private final Integer color;

    private PathClass(String text, Integer color) {
        this.text = text;
        this.color = color;
    }

    public static PathClass fromString(String string, Integer color) {
        if (string == null)
            return null;
        List<String> names = new ArrayList<>();
        for (String part : string.split(":")) {
            String name = part.strip();
            if (name.isBlank() || name.contains("\n") || name.contains("\r"))
                throw new IllegalArgumentException("'" + name + "' is not a valid PathClass name!");
            names.add(name);
        }
        return KNOWN.computeIfAbsent(String.join(": ", names), whole -> new PathClass(whole, color));
    }

    public static PathClass fromString(String string) {
        return fromString(string, null);
    }

    public Integer getColor() {
        return color;
    }

    @Override
    public String toString() {
        return text;
    }
}
