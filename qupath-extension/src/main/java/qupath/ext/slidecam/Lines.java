package qupath.ext.slidecam;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;

/**
 * JSON lines from a stream, read by a thread of their own.
 *
 * A read cannot be interrupted, but waiting for a queue can: so "Kill running script" and Cancel
 * take effect at once.
 */
final class Lines {

    private static final Object END = new Object();

    private final LinkedBlockingQueue<Object> queue = new LinkedBlockingQueue<>();
    private final Logger log;

    Lines(InputStream stream, Logger log) {
        this.log = log;
        daemon("slidecam-lines", () -> {
            try (var reader = new BufferedReader(new InputStreamReader(stream, StandardCharsets.UTF_8))) {
                reader.lines().forEach(this::parse);
            } catch (IOException | java.io.UncheckedIOException error) {
                log.debug("the stream ended: {}", error.getMessage());
            } finally {
                queue.add(END);
            }
        });
    }

    static Thread daemon(String name, Runnable work) {
        Thread thread = new Thread(work, name);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    private void parse(String line) {
        try {
            if (line.startsWith("{"))
                queue.add(JsonParser.parseString(line).getAsJsonObject());
            else if (!line.isBlank())
                log.info("{}", line);
        } catch (JsonParseException error) {
            log.info("{}", line);
        }
    }

    /** Return the next object, or null at the end; InterruptedException if the work is stopped. */
    JsonObject next() throws InterruptedException {
        while (true) {
            Object line = queue.poll(200, TimeUnit.MILLISECONDS);
            if (Thread.interrupted())
                throw new InterruptedException("slidecam was stopped. What was classified is kept.");
            if (line == END)
                return null;
            if (line != null)
                return (JsonObject) line;
        }
    }
}
