package qupath.ext.slidecam;

import java.io.IOException;
import java.nio.file.Path;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** slidecam itself, in a process of its own or as the server that runs. */
interface Engine {

    Logger LOG = LoggerFactory.getLogger("slidecam");

    /** Classify, and let every event be heeded. */
    void predict(Call call, Heed heed) throws IOException, InterruptedException;

    /**
     * Classify a slide as settings say and return the folder of its results.
     *
     * The server is asked if one runs, unless {@code engine=process}. Where no model is named, the
     * server's own is taken, else that of the preferences or of SLIDECAM_MODEL.
     */
    static Path predict(Slide slide, Settings settings, com.google.gson.JsonObject mask, Path place,
            Heed.Watcher watcher) throws IOException, InterruptedException {
        String engine = settings.of("engine", "auto");
        ByServer server = engine.equals("process") ? null : ByServer.running();
        if (engine.equals("server") && server == null)
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
