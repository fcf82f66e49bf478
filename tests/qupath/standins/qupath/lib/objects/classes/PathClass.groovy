package qupath.lib.objects.classes

import groovy.transform.CompileStatic

/** One instance for each name; the first colour seen wins. */
@CompileStatic
class PathClass {
    private static final Map<String, PathClass> KNOWN = [:]
    private final String text
    private final Integer color

    private PathClass(String text, Integer color) {
        this.text = text
        this.color = color
    }

    static PathClass fromString(String string, Integer color) {
        if (string == null)
            return null
        List<String> names = string.split(':').collect { String part -> part.strip() }
        for (String name in names)
            if (name.isBlank() || name.contains('\n') || name.contains('\r'))
                throw new IllegalArgumentException("'${name}' is not a valid PathClass name!")
        KNOWN.computeIfAbsent(names.join(': ')) { String text -> new PathClass(text, color) }
    }

    static PathClass fromString(String string) { fromString(string, null) }
    Integer getColor() { color }
    String toString() { text }
}
