package qupath.ext.slidecam;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** slidecam itself, in a process of its own or as the server that runs. */
interface Engine {

    Logger LOG = LoggerFactory.getLogger("slidecam");

    /** Classify, and let every event be heeded. */
    void predict(Call call, Heed heed) throws IOException, InterruptedException;

    /** Settings of {@code engine}: what is found; a process; the server that runs; one of our own. */
    String AUTO = "auto";
    String PROCESS = "process";
    String SERVER = "server";
    String WARM = "warm";

    /**
     * Classify a slide as settings say and return the folder of its results.
     *
     * A server that a person started is asked if it runs, unless the engine is a process or a server
     * of our own. Where no model is named, that server's is taken, else that of SLIDECAM_MODEL or of
     * the preferences.
     */
    static Path predict(Slide slide, Settings settings, com.google.gson.JsonObject mask, Path place,
            Heed.Watcher watcher) throws IOException, InterruptedException {
        String engine = settings.of("engine", AUTO);
        if (!List.of(AUTO, PROCESS, SERVER, WARM).contains(engine))
            throw new IllegalArgumentException("engine=" + engine + " is none of auto, process, server,"
                    + " warm.");
        ByServer server = engine.equals(AUTO) || engine.equals(SERVER) ? ByServer.running() : null;
        if (engine.equals(SERVER) && server == null)
            throw new IOException(
                    "No slidecam server runs. Start one with: slidecam serve --model BUNDLE");
        String model = settings.of("model");
        if (model.isEmpty() && server == null)
            model = Preferences.model();
        if (model.isEmpty() && server == null)
            throw new IllegalArgumentException("No model is named. Set model= to the folder of a bundle"
                    + " (slidecam models lists them), choose one in Extensions > slidecam > Classify,"
                    + " or set the environment variable SLIDECAM_MODEL.");
        String out = settings.of("out");
        if (!out.isEmpty())
            out = apart(slide, Path.of(out).toAbsolutePath()).toString();
        else if (server == null)
            out = apart(slide, place).toString();
        if (engine.equals(WARM))
            server = OwnServer.around(slide, model, Path.of(out), settings.of("python"));
        Call call = new Call(slide, model, out, mask, settings.only(Call.OPTIONS));
        Heed heed = new Heed(LOG, watcher);
        Engine found = server != null ? server : new ByProcess(settings.of("python"));
        found.predict(call, heed);
        if (heed.folder() == null)
            throw new IOException("slidecam told of no results; see the log above.");
        return heed.folder();
    }

    /** Pictures of one file share its name: all but the first have a folder of their own. */
    static Path apart(Slide slide, Path out) {
        return slide.series() == 0 ? out : out.resolve(slide.name());
    }
}
