package qupath.lib.color;

import java.util.Map;

public class ColorMaps {
    public interface ColorMap {
        String getName();

        Integer getColor(double value, double minValue, double maxValue);
    }

    private record Grey(String name) implements ColorMap {
        @Override
        public String getName() {
            return name;
        }

        @Override
        public Integer getColor(double value, double minValue, double maxValue) {
            int grey = (int) Math.round(255 * Math.max(0, Math.min(1,
                    (value - minValue) / (maxValue - minValue))));
            return (255 << 24) + (grey << 16) + (grey << 8) + grey;
        }
    }

    public static Map<String, ColorMap> getColorMaps() {
        return Map.of("Inferno", new Grey("Inferno"));
    }

    public static ColorMap getDefaultColorMap() {
        return new Grey("Viridis");
    }
}
