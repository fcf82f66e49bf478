package qupath.lib.projects;

import java.io.IOException;
import qupath.lib.images.ImageData;

public interface ProjectImageEntry<T> {
    String getImageName();

    ImageData<T> readImageData() throws IOException;

    void saveImageData(ImageData<T> imageData) throws IOException;
}
