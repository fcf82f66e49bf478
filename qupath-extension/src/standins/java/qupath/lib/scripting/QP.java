package qupath.lib.scripting;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import qupath.lib.images.ImageData;
import qupath.lib.io.GsonTools;
import qupath.lib.objects.PathObject;
import qupath.lib.objects.TMACoreObject;
import qupath.lib.projects.Project;

public class QP {
    /** What a script runs for, whatever the window shows. */
    public static ImageData<BufferedImage> current;
    public static Project<BufferedImage> project;

    public static ImageData<BufferedImage> getCurrentImageData() {
        return current;
    }

    public static Project<BufferedImage> getProject() {
        return project;
    }

    public static List<TMACoreObject> getTMACoreList() {
        return current == null ? List.of() : current.getHierarchy().cores;
    }

    public static void exportObjectsToGeoJson(Collection<? extends PathObject> pathObjects, String path,
            String option, String... additionalOptions) throws IOException {
        if (!option.equals("FEATURE_COLLECTION"))
            throw new AssertionError(option);
        Files.writeString(Path.of(path),
                GsonTools.getInstance().toJson(GsonTools.collection(pathObjects)));
    }
}
