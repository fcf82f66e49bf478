package qupath.ext.slidecam;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonPrimitive;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;

/** slidecam as the server that {@code slidecam serve} started on this computer: its model is warm. */
final class ByServer implements Engine {

    /** Names the server's file in the place of the usual one. */
    static final String FILE = "slidecam.server.file";

    private static final int OK = 200;
    private static final int WRONG = 400;

    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(5)).build();
    private final String url;
    private final String token;

    private ByServer(String url, String token) {
        this.url = url;
        this.token = token;
    }

    /** Return the server that a person started, or null. */
    static ByServer running() throws InterruptedException {
        return at(placeOfFile());
    }

    /** Return the server that a file tells of, if it answers, or null. */
    static ByServer at(Path file) throws InterruptedException {
        if (!Files.isReadable(file))
            return null;
        try {
            JsonObject server = new Gson().fromJson(Files.readString(file), JsonObject.class);
            if (server == null || !Heed.text(server, "format").equals("slidecam-server")
                    || Heed.whole(server, "version") != 1)
                return null;
            ByServer found = new ByServer(Heed.text(server, "url"), Heed.text(server, "token"));
            return found.send("GET", "/v1/status", null).statusCode() == OK ? found : null;
        } catch (IOException | JsonParseException | IllegalArgumentException error) {
            LOG.info("{} names a server that does not answer ({}).", file, error.getMessage());
            return null;
        }
    }

    private static Path placeOfFile() {
        String named = System.getProperty(FILE, "");
        if (named.isEmpty())
            named = environment("SLIDECAM_SERVER_FILE", "");
        if (!named.isEmpty())
            return Path.of(named);
        String home = System.getProperty("user.home");
        String system = System.getProperty("os.name").toLowerCase(Locale.ROOT);
        String folder = environment("XDG_STATE_HOME", home + "/.local/state");
        if (system.contains("win"))
            folder = environment("LOCALAPPDATA", home + "/AppData/Local");
        if (system.contains("mac"))
            folder = home + "/Library/Application Support";
        return Path.of(folder, "slidecam", "server.json");
    }

    private static String environment(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    @Override
    public void predict(Call call, Heed heed) throws IOException, InterruptedException {
        JsonObject options = new JsonObject();
        call.options().forEach((name, value) -> options.add(name, plain(value)));
        Slide slide = call.slide();
        JsonArray size = new JsonArray();
        size.add(slide.width());
        size.add(slide.height());
        JsonObject shown = new JsonObject();
        shown.add("*", size);
        options.add("shown", shown);
        if (slide.series() > 0)
            options.addProperty("image", Integer.toString(slide.image()));
        if (slide.mpp() != null)
            options.addProperty("mpp", slide.mpp());
        if (call.mask() != null)
            options.add("mask", call.mask());
        JsonArray slides = new JsonArray();
        slides.add(slide.path().toString());
        JsonObject request = new JsonObject();
        request.add("slides", slides);
        request.add("options", options);
        if (!call.model().isEmpty())
            request.addProperty("model", call.model());
        if (!call.out().isEmpty())
            request.addProperty("out", call.out());
        String job = Heed.text(answered("POST", "/v1/jobs", request), "id");
        LOG.info("{}: job {}", url, job);
        follow(job, heed);
    }

    private void follow(String job, Heed heed) throws IOException, InterruptedException {
        boolean over = false;
        try {
            HttpResponse<InputStream> response = client.send(
                    request("GET", "/v1/jobs/" + job + "/events", null), BodyHandlers.ofInputStream());
            try (InputStream events = response.body()) {
                Lines lines = new Lines(events, LOG);
                for (JsonObject event = lines.next(); event != null; event = lines.next()) {
                    over = over || Heed.text(event, "event").equals("JobEnded");
                    heed.event(event);
                }
            }
            if (!over)
                throw new IOException(url + " broke off. Look into its log; what was classified is kept.");
        } finally {
            if (!over)
                cancel(job);
        }
    }

    private void cancel(String job) {
        boolean interrupted = Thread.interrupted(); // or the client would not send
        try {
            send("DELETE", "/v1/jobs/" + job, null);
            LOG.info("{}: job {} is cancelled", url, job);
        } catch (IOException | InterruptedException error) {
            LOG.warn("job {} could not be cancelled: {}", job, error.getMessage());
        }
        if (interrupted)
            Thread.currentThread().interrupt();
    }

    /** Numbers as numbers, lists of methods as the text that they are. */
    private static JsonPrimitive plain(String text) {
        if (text.matches("-?\\d{1,9}"))
            return new JsonPrimitive(Integer.parseInt(text));
        if (text.matches("-?\\d*\\.\\d+"))
            return new JsonPrimitive(Double.parseDouble(text));
        return new JsonPrimitive(text);
    }

    private JsonObject answered(String method, String path, JsonObject body)
            throws IOException, InterruptedException {
        HttpResponse<String> response = send(method, path, body);
        JsonObject said = new Gson().fromJson(response.body(), JsonObject.class);
        if (response.statusCode() < WRONG)
            return said;
        String words = said == null ? "" : Heed.text(said, "error") + " " + Heed.text(said, "remedy");
        throw new IOException("slidecam serve (" + response.statusCode() + "): " + words
                + " (engine=process goes past the server.)");
    }

    private HttpResponse<String> send(String method, String path, JsonObject body)
            throws IOException, InterruptedException {
        return client.send(request(method, path, body), BodyHandlers.ofString());
    }

    private HttpRequest request(String method, String path, JsonObject body) {
        HttpRequest.Builder builder = HttpRequest.newBuilder(URI.create(url + path))
                .header("Authorization", "Bearer " + token);
        if (!path.endsWith("/events"))
            builder.timeout(Duration.ofSeconds(30));
        if (body == null)
            return builder.method(method, HttpRequest.BodyPublishers.noBody()).build();
        String text = new GsonBuilder().serializeNulls().create().toJson(body);
        return builder.header("Content-Type", "application/json")
                .method(method, HttpRequest.BodyPublishers.ofString(text)).build();
    }
}
