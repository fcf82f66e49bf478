package qupath.ext.slidecam;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import javafx.scene.control.Menu;
import javafx.scene.control.MenuItem;
import javafx.scene.control.SeparatorMenuItem;
import qupath.lib.common.Version;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.gui.extensions.QuPathExtension;

/** The menu Extensions > slidecam. */
public final class SlidecamExtension implements QuPathExtension {

    static final String MENU = "Extensions>slidecam";

    private boolean installed;

    @Override
    public void installExtension(QuPathGUI qupath) {
        if (installed)
            return;
        installed = true;
        Menu menu = qupath.getMenu(MENU, true);
        menu.getItems().addAll(
                item("Classify...", () -> new ClassifyWindow(qupath).open()),
                item("Show...", () -> new ShowWindow(qupath).open()),
                item("Explain this place...", () -> new ExplainWindow(qupath).open()),
                item("Regions...", () -> new RegionsWindow(qupath).open()),
                item("Teach...", () -> new TeachWindow(qupath).open()),
                item("Export for training...", () -> Commands.export(qupath)),
                new SeparatorMenuItem(),
                item("Remove slidecam's objects...", () -> Commands.remove(qupath)),
                new SeparatorMenuItem(),
                item("Preferences...", () -> new PreferencesWindow(qupath).open()),
                item("Help", () -> Messages.help(qupath)));
    }

    private static MenuItem item(String name, Runnable action) {
        MenuItem item = new MenuItem(name);
        item.setOnAction(event -> action.run());
        return item;
    }

    @Override
    public String getName() {
        return "slidecam";
    }

    @Override
    public String getDescription() {
        return "Classify whole slides with explainable classifiers. Research use only. BSD-3-Clause.";
    }

    @Override
    public Version getQuPathVersion() {
        return Version.parse("0.5.1");
    }

    @Override
    public Version getVersion() {
        try (InputStream text = SlidecamExtension.class.getResourceAsStream("version.txt")) {
            return Version.parse(new String(text.readAllBytes(), StandardCharsets.US_ASCII).strip());
        } catch (IOException | RuntimeException unread) {
            return Version.UNKNOWN;
        }
    }
}
