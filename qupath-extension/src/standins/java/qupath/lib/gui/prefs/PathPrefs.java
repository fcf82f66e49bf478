package qupath.lib.gui.prefs;

import java.util.HashMap;
import java.util.Map;
import javafx.beans.property.SimpleStringProperty;
import javafx.beans.property.StringProperty;

/** Remembers as long as the program runs: no test touches what a person has set. */
public class PathPrefs {
    private static final Map<String, StringProperty> KNOWN = new HashMap<>();

    public static StringProperty createPersistentPreference(String name, String defaultValue) {
        return KNOWN.computeIfAbsent(name, key -> new SimpleStringProperty(null, key, defaultValue));
    }
}
