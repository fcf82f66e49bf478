package qupath.ext.slidecam;

import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * A {@code slidecam serve} of our own, which keeps its model warm from run to run: started at the
 * first run, for a folder of slides and one of results, and stopped with QuPath or when it is no
 * longer wanted. Its address and token are in a file of its own, so that no other server is hidden.
 */
final class OwnServer {

    private static final int PATIENCE = 5;
    private static OwnServer current;
    private static boolean hooked;

    private final Process process;
    private final String place;
    private final Path file;
    private final ByServer client;

    private OwnServer(Process process, String place, Path file, ByServer client) {
        this.process = process;
        this.place = place;
        this.file = file;
        this.client = client;
    }

    /** Return our server for a slide's folder and a folder of results; start it if need be. */
    static synchronized ByServer around(Slide slide, String model, Path out, String python)
            throws IOException, InterruptedException {
        Path root = slide.path().toAbsolutePath().getParent();
        String place = root + " " + out;
        if (current != null && current.process.isAlive() && current.place.equals(place))
            return current.client;
        stop();
        Files.createDirectories(out);
        Path file = Files.createTempDirectory("slidecam-server-").resolve("server.json");
        ByProcess slidecam = new ByProcess(python).with("SLIDECAM_SERVER_FILE", file.toString());
        Process process = slidecam.start(List.of("serve", "--json", "--model", model, "--root",
                root.toString(), "--out", out.toString()));
        List<String> said = Collections.synchronizedList(new ArrayList<>());
        Lines.daemon("slidecam-server", () -> drain(process, said));
        try {
            JsonObject first = new Lines(process.getInputStream(), Engine.LOG).next();
            ByServer client = first == null ? null : ByServer.at(file);
            if (client == null)
                throw new IOException("slidecam serve did not start. " + String.join(" ", said));
            current = new OwnServer(process, place, file, client);
        } finally {
            if (current == null)
                process.destroy();
        }
        if (!hooked)
            Runtime.getRuntime().addShutdownHook(new Thread(OwnServer::stop));
        hooked = true;
        return current.client;
    }

    private static void drain(Process process, List<String> said) {
        try (var reader = new BufferedReader(
                new InputStreamReader(process.getErrorStream(), StandardCharsets.UTF_8))) {
            reader.lines().forEach(line -> {
                Engine.LOG.debug("{}", line);
                if (said.size() < PATIENCE)
                    said.add(line);
            });
        } catch (IOException | UncheckedIOException ended) {
            // The server was stopped in the middle of a line.
        }
    }

    /** Stop our server, if it runs. */
    static synchronized void stop() {
        if (current == null)
            return;
        Process process = current.process;
        process.destroy();
        try {
            if (!process.waitFor(PATIENCE, TimeUnit.SECONDS))
                process.destroyForcibly();
            Files.deleteIfExists(current.file);
            Files.deleteIfExists(current.file.getParent());
        } catch (IOException left) {
            Engine.LOG.debug("left behind: {}", current.file);
        } catch (InterruptedException again) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
        current = null;
    }
}
