package qupath.lib.projects

import java.nio.file.Path

class Project {
    Path path

    Path getPath() { path }
}
