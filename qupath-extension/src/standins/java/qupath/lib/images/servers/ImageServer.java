package qupath.lib.images.servers;

import java.net.URI;
import java.util.Collection;

public interface ImageServer<T> extends AutoCloseable {
    int getWidth();

    int getHeight();

    Collection<URI> getURIs();

    PixelCalibration getPixelCalibration();

    ImageServerMetadata getMetadata();

    ImageServerBuilder.ServerBuilder<T> getBuilder();
}
