package qupath.lib.color

import groovy.transform.CompileStatic

@CompileStatic
class ColorMaps {
    @CompileStatic
    static class ColorMap {
        String name
    }

    static Map<String, ColorMap> getColorMaps() { [Inferno: new ColorMap(name: 'Inferno')] }
    static ColorMap getDefaultColorMap() { new ColorMap(name: 'Viridis') }
}
