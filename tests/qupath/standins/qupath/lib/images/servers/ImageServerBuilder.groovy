package qupath.lib.images.servers

interface ImageServerBuilder {
    interface ServerBuilder {
    }
}
