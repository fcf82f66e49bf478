package qupath.lib.gui;

import java.awt.image.BufferedImage;
import java.util.List;
import javafx.beans.property.ReadOnlyObjectProperty;
import javafx.beans.property.SimpleObjectProperty;
import javafx.collections.FXCollections;
import javafx.collections.ObservableList;
import javafx.scene.control.Menu;
import javafx.scene.control.MenuBar;
import javafx.stage.Stage;
import qupath.lib.gui.viewer.OverlayOptions;
import qupath.lib.gui.viewer.QuPathViewer;
import qupath.lib.images.ImageData;
import qupath.lib.projects.Project;

/** A window with viewers; which of them is active is the test's to say. */
public class QuPathGUI {
    private static QuPathGUI instance;

    public final ObservableList<QuPathViewer> viewers = FXCollections.observableArrayList();
    public final SimpleObjectProperty<ImageData<BufferedImage>> active = new SimpleObjectProperty<>();
    public Project<BufferedImage> project;
    public MenuBar menus;
    private final Stage stage;

    public QuPathGUI(Stage stage) {
        this.stage = stage;
        instance = this;
    }

    /** For tests without a window. */
    public static void close() {
        instance = null;
    }

    public static QuPathGUI getInstance() {
        return instance;
    }

    public ObservableList<QuPathViewer> getAllViewers() {
        return FXCollections.unmodifiableObservableList(viewers);
    }

    public QuPathViewer getViewer() {
        return viewers.isEmpty() ? null : viewers.get(0);
    }

    public OverlayOptions getOverlayOptions() {
        return OverlayOptions.SHARED;
    }

    public ImageData<BufferedImage> getImageData() {
        return getViewer() == null ? null : getViewer().getImageData();
    }

    public ReadOnlyObjectProperty<ImageData<BufferedImage>> imageDataProperty() {
        return active;
    }

    public Project<BufferedImage> getProject() {
        return project;
    }

    public Stage getStage() {
        return stage;
    }

    public Menu getMenu(String name, boolean createMenu) {
        List<? extends javafx.scene.control.MenuItem> items = menus.getMenus();
        Menu found = null;
        for (String part : name.split(">")) {
            Menu next = null;
            for (var item : items)
                if (item instanceof Menu menu && menu.getText().equals(part))
                    next = menu;
            if (next == null && !createMenu)
                return null;
            if (next == null) {
                next = new Menu(part);
                if (found == null)
                    menus.getMenus().add(next);
                else
                    found.getItems().add(next);
            }
            found = next;
            items = next.getItems();
        }
        return found;
    }
}
