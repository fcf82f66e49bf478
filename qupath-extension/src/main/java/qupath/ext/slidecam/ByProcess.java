package qupath.ext.slidecam;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/** slidecam as a process of its own: no shell, JSON lines on stdout, stderr drained into the log. */
final class ByProcess implements Engine {

    /** Seconds that slidecam gets to put away what it was doing. */
    private static final int PATIENCE = 20;
    private static final int MOST_SAID = 3;

    private final List<String> command;
    private final Map<String, String> environment =
            new HashMap<>(Map.of("PYTHONUNBUFFERED", "1", "PYTHONUTF8", "1"));

    /** Use a Python that has slidecam; empty for that of the preferences, or what is on the PATH. */
    ByProcess(String python) {
        command = Preferences.command(python);
    }

    /** Start with a variable of the environment set. */
    ByProcess with(String name, String value) {
        environment.put(name, value);
        return this;
    }

    @Override
    public void predict(Call call, Heed heed) throws IOException, InterruptedException {
        Path mask = null;
        try {
            List<String> words = new ArrayList<>(List.of("predict", call.slide().path().toString(),
                    "--json", "--model", call.model(), "--out", call.out(),
                    "--shown", call.slide().shown()));
            if (call.slide().series() > 0)
                words.addAll(List.of("--image", Integer.toString(call.slide().image())));
            if (call.slide().mpp() != null)
                words.addAll(List.of("--mpp", call.slide().mpp().toString()));
            if (call.mask() != null) {
                mask = Files.createTempFile("slidecam-", ".geojson");
                Files.writeString(mask, call.mask().toString());
                words.addAll(List.of("--mask", mask.toString()));
            }
            call.options().forEach((name, value) -> words.addAll(option(name, value)));
            run(words, heed);
        } finally {
            if (mask != null)
                Files.deleteIfExists(mask);
        }
    }

    private static List<String> option(String name, String value) {
        if (name.equals("existing"))
            return value.equals("refuse") ? List.of() : List.of("--" + value);
        return List.of("--" + name.replace('_', '-'), value);
    }

    /** Run slidecam to its end; every JSON line is heeded, and the last one returned. */
    JsonObject run(List<String> words, Heed heed) throws IOException, InterruptedException {
        Process process = start(words);
        List<String> said = Collections.synchronizedList(new ArrayList<>());
        Thread errors = Lines.daemon("slidecam-stderr", () -> drain(process, said));
        try {
            Lines lines = new Lines(process.getInputStream(), LOG);
            JsonObject last = null;
            for (JsonObject line = lines.next(); line != null; line = lines.next()) {
                heed.event(line);
                last = line;
            }
            int code = process.waitFor();
            errors.join(1000);
            if (!Set.of(0, 3).contains(code))
                throw new IOException("slidecam ended with " + code + ". " + String.join(" ",
                        said.subList(Math.max(0, said.size() - MOST_SAID), said.size())));
            return last;
        } finally {
            stop(process);
        }
    }

    /** Run a command that prints one JSON document, such as {@code models --json}. */
    JsonElement asked(String... words) throws IOException, InterruptedException {
        JsonObject last = run(List.of(words), new Heed(LOG, (what, done, total) -> { }));
        if (last == null)
            throw new IOException("slidecam " + words[0] + " said nothing.");
        return last;
    }

    private void drain(Process process, List<String> said) {
        try (var reader = new BufferedReader(
                new InputStreamReader(process.getErrorStream(), StandardCharsets.UTF_8))) {
            reader.lines().forEach(line -> {
                LOG.info("{}", line);
                said.add(line);
            });
        } catch (IOException | java.io.UncheckedIOException ended) {
            // The process was ended in the middle of a line; who ended it says why.
        }
    }

    /** Start slidecam. */
    Process start(List<String> words) throws IOException {
        List<String> call = new ArrayList<>(command);
        call.addAll(words);
        LOG.info("{}", String.join(" ", call));
        ProcessBuilder builder = new ProcessBuilder(call);
        builder.environment().keySet().removeAll(Set.of("PYTHONHOME", "PYTHONPATH"));
        builder.environment().putAll(environment);
        try {
            return builder.start();
        } catch (IOException error) {
            LOG.debug("not started", error);
            // Without a cause: QuPath would show the cause's words in the place of these.
            throw new IOException(call.get(0) + " cannot be started (" + error.getMessage()
                    + "). Install slidecam, and say which Python has it: in Extensions > slidecam >"
                    + " Preferences, by python= in the script, or by the environment variable"
                    + " SLIDECAM_PYTHON.");
        }
    }

    private static void stop(Process process) {
        if (!process.isAlive())
            return;
        boolean interrupted = Thread.interrupted(); // or waitFor would not wait
        process.destroy();
        try {
            if (!process.waitFor(PATIENCE, TimeUnit.SECONDS))
                process.destroyForcibly();
        } catch (InterruptedException again) {
            process.destroyForcibly();
            interrupted = true;
        }
        if (interrupted)
            Thread.currentThread().interrupt();
    }
}
