package qupath.lib.images.servers

import groovy.transform.CompileStatic

@CompileStatic
class ImageServer {
    private final Map facts

    ImageServer(Map facts) { this.facts = facts }

    int getWidth() { facts.width as int }
    int getHeight() { facts.height as int }
    Collection<URI> getURIs() { [URI.create(facts.uri as String)] }
    PixelCalibration getPixelCalibration() { new PixelCalibration(facts.mpp as Double) }
    ImageServerBuilder.ServerBuilder getBuilder() { facts.builder == null ? null : new Builder(told: facts.builder as Map) }

    /** What QuPath's Gson writes of a builder. */
    @CompileStatic
    static class Builder implements ImageServerBuilder.ServerBuilder {
        Map told
    }
}
