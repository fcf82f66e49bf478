package qupath.lib.gui.viewer;

import java.awt.geom.Point2D;
import java.awt.image.BufferedImage;
import javafx.collections.FXCollections;
import javafx.collections.ObservableList;
import javafx.scene.layout.Pane;
import qupath.lib.gui.viewer.overlays.PathOverlay;
import qupath.lib.images.ImageData;

public class QuPathViewer {
    public int repaints;
    private Pane view;
    private final ObservableList<PathOverlay> layers = FXCollections.observableArrayList();
    private ImageData<BufferedImage> imageData;

    public void setImageData(ImageData<BufferedImage> imageData) {
        this.imageData = imageData;
    }

    public ImageData<BufferedImage> getImageData() {
        return imageData;
    }

    public OverlayOptions getOverlayOptions() {
        return OverlayOptions.SHARED;
    }

    public ObservableList<PathOverlay> getCustomOverlayLayers() {
        return layers;
    }

    public void repaint() {
        repaints++;
    }

    public Pane getView() {
        if (view == null)
            view = new Pane();
        return view;
    }

    /** A pixel of the viewer is one of the image here. */
    public Point2D componentPointToImagePoint(double x, double y, Point2D point,
            boolean constrainToBounds) {
        Point2D found = point == null ? new Point2D.Double() : point;
        found.setLocation(x, y);
        return found;
    }
}
