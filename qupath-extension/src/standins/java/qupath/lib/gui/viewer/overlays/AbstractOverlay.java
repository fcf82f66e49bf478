package qupath.lib.gui.viewer.overlays;

public abstract class AbstractOverlay implements PathOverlay {
    private double opacity = 1;

    public double getOpacity() {
        return opacity;
    }

    public void setOpacity(double opacity) {
        this.opacity = opacity;
    }
}
