package slidecam

import com.google.gson.Gson
import com.google.gson.GsonBuilder
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse
import java.net.http.HttpResponse.BodyHandlers
import java.time.Duration

/** slidecam as the server that `slidecam serve` started on this computer: its model is warm, nothing has to be loaded. */
class ByServer {

    String url
    String token
    def log
    private final HttpClient client =
        HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(5)).build()

    /** Return the server that runs, or null. */
    static ByServer running(log) {
        File told = placeOfFile()
        if (!told.canRead())
            return null
        try {
            Map server = new Gson().fromJson(told.getText('UTF-8'), Map)
            if (server?.format != 'slidecam-server' || server.version != 1.0d)
                return null
            ByServer found = new ByServer(url: server.url, token: server.token, log: log)
            return found.send('GET', '/v1/status', null).statusCode() == 200 ? found : null
        } catch (IOException | com.google.gson.JsonParseException error) {
            log.info('{} names a server that does not answer ({}).', told, error.message ?: error.class.simpleName)
            return null
        }
    }

    private static File placeOfFile() {
        String named = System.getProperty('slidecam.server.file') ?: System.getenv('SLIDECAM_SERVER_FILE')
        if (named)
            return new File(named)
        String home = System.getProperty('user.home')
        String system = System.getProperty('os.name').toLowerCase()
        if (system.contains('win'))
            return new File(System.getenv('LOCALAPPDATA') ?: "${home}/AppData/Local", 'slidecam/server.json')
        if (system.contains('mac'))
            return new File(home, 'Library/Application Support/slidecam/server.json')
        return new File(System.getenv('XDG_STATE_HOME') ?: "${home}/.local/state", 'slidecam/server.json')
    }

    /** Classify and return the folder of the slide's results. */
    File predict(Work work) {
        Map options = work.options.collectEntries { name, value -> [name, plain(value)] }
        options.shown = ['*': [work.slide.width, work.slide.height]]
        if (work.slide.mpp != null)
            options.mpp = work.slide.mpp
        if (work.mask != null)
            options.mask = new Gson().fromJson(work.mask, Map)
        Map request = [slides: [work.slide.path.toString()], options: options]
        if (work.model)
            request.model = work.model
        if (work.out)
            request.out = work.out
        String job = answered('POST', '/v1/jobs', request).id
        log.info('{}: job {}', url, job)
        return followed(job, work)
    }

    private File followed(String job, Work work) {
        boolean over = false
        InputStream events = null
        try {
            HttpResponse<InputStream> response = client.send(request('GET', "/v1/jobs/${job}/events", null), BodyHandlers.ofInputStream())
            events = response.body()
            File folder = null
            new Lines(events, log).each { Map event ->
                over = over || event.event == 'JobEnded'
                folder = work.heed(event, log) ?: folder
            }
            if (!over)
                throw new IOException("${url} broke off. Look into its log; what was classified is kept.")
            return folder
        } finally {
            if (!over)
                cancel(job)
            events?.close()
        }
    }

    private void cancel(String job) {
        boolean interrupted = Thread.interrupted()  // or the client would not send
        try {
            send('DELETE', "/v1/jobs/${job}", null)
            log.info('{}: job {} is cancelled', url, job)
        } catch (IOException error) {
            log.warn('job {} could not be cancelled: {}', job, error.message)
        }
        if (interrupted)
            Thread.currentThread().interrupt()
    }

    /** Numbers as numbers, lists of methods as the text that they are. */
    private static Object plain(value) {
        String text = value.toString()
        return text.isInteger() ? text.toInteger() : text.isDouble() ? text.toDouble() : text
    }

    private Map answered(String method, String path, Map body) {
        HttpResponse<String> response = send(method, path, body)
        Map said = new Gson().fromJson(response.body(), Map)
        if (response.statusCode() >= 400)
            throw new IOException("slidecam serve: ${said?.error ?: response.statusCode()} ${said?.remedy ?: ''} (engine=process goes past the server.)")
        return said
    }

    private HttpResponse<String> send(String method, String path, Map body) {
        return client.send(request(method, path, body), BodyHandlers.ofString())
    }

    private HttpRequest request(String method, String path, Map body) {
        def builder = HttpRequest.newBuilder(URI.create(url + path)).header('Authorization', "Bearer ${token}")
        if (!path.endsWith('/events'))
            builder.timeout(Duration.ofSeconds(30))
        if (body == null)
            return builder.method(method, HttpRequest.BodyPublishers.noBody()).build()
        String text = new GsonBuilder().serializeNulls().create().toJson(body)
        return builder.header('Content-Type', 'application/json').method(method, HttpRequest.BodyPublishers.ofString(text)).build()
    }
}
