package qupath.lib.images.servers;

import java.net.URI;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/** An image of a few facts: uri, width, height, mpp, builder. Not a class of QuPath. */
public class StandInServer<T> implements ImageServer<T> {
    private final Map<?, ?> facts;

    public StandInServer(Map<?, ?> facts) {
        this.facts = facts;
    }

    @Override
    public int getWidth() {
        return ((Number) facts.get("width")).intValue();
    }

    @Override
    public int getHeight() {
        return ((Number) facts.get("height")).intValue();
    }

    @Override
    public Collection<URI> getURIs() {
        return List.of(URI.create(facts.get("uri").toString()));
    }

    @Override
    public PixelCalibration getPixelCalibration() {
        Object mpp = facts.get("mpp");
        return new PixelCalibration(mpp == null ? null : ((Number) mpp).doubleValue());
    }

    @Override
    public ImageServerMetadata getMetadata() {
        String uri = facts.get("uri").toString();
        return new ImageServerMetadata(uri.substring(uri.lastIndexOf('/') + 1));
    }

    @Override
    public ImageServerBuilder.ServerBuilder<T> getBuilder() {
        Object builder = facts.get("builder");
        return builder == null ? null : new Builder<>((Map<?, ?>) builder);
    }

    @Override
    public void close() {
    }

    /** What QuPath's Gson writes of a builder. */
    public record Builder<T>(Map<?, ?> written) implements ImageServerBuilder.ServerBuilder<T> {
    }
}
