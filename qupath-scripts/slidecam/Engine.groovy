package slidecam

/** Which door to take, and where the results go. */
class Engine {

    /** Settings that go to predict as they are, where they are not empty. */
    static final List<String> OPTIONS =
        ['heatmap', 'overlap', 'min_tissue', 'grid', 'batch', 'device', 'reader', 'existing']

    /** Classify the slide as the settings say and return the folder of its results. */
    static File predict(Slide slide, Map<String, String> settings, String mask, String place, log) {
        ByServer server = settings.engine == 'process' ? null : ByServer.running(log)
        if (settings.engine == 'server' && server == null)
            throw new IOException('No slidecam server runs. Start one with: slidecam serve --model BUNDLE')
        Work work = new Work(slide: slide, mask: mask)
        work.options = settings.subMap(OPTIONS).findAll { name, value -> value }
        work.model = settings.model ?: (server == null ? System.getenv('SLIDECAM_MODEL') ?: '' : '')
        work.out = settings.out ? new File(settings.out).absolutePath : (server == null ? place : '')
        if (server == null && !work.model)
            throw new IllegalArgumentException('No model is named. Set model= to the folder of a bundle (slidecam models lists them), ' +
                'or the environment variable SLIDECAM_MODEL.')
        File folder = (server ?: ByProcess.with(settings.python, log)).predict(work)
        if (folder == null)
            throw new IOException('slidecam told of no results; see the log above.')
        return folder
    }

    /** Where results go by default: beside the project, or beside the slide. */
    static String placeFor(Slide slide, project, String name) {
        def beside = project?.getPath()?.getParent() ?: slide.path.toAbsolutePath().parent
        return beside.resolve(name).toString()
    }
}
