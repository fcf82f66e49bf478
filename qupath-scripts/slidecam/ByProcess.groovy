package slidecam

import java.util.concurrent.TimeUnit

/** slidecam as a process of its own: no shell, JSON lines on stdout, stderr drained into the log. */
class ByProcess {

    /** Seconds that slidecam gets to put away what it was doing. */
    static final int PATIENCE = 20

    /** The beginning of the command: a Python that has slidecam, or `slidecam` on the PATH. */
    List<String> command
    def log

    static ByProcess with(String python, log) {
        String known = python ?: System.getenv('SLIDECAM_PYTHON') ?: ''
        return new ByProcess(command: known ? [known, '-m', 'slidecam'] : ['slidecam'], log: log)
    }

    /** Classify and return the folder of the slide's results. */
    File predict(Work work) {
        File mask = null
        try {
            List<String> call = ['predict', work.slide.path.toString(), '--json', '--model', work.model, '--out', work.out, '--shown', work.slide.shown]
            if (work.slide.mpp != null)
                call += ['--mpp', work.slide.mpp.toString()]
            if (work.mask != null) {
                mask = File.createTempFile('slidecam-', '.geojson')
                mask.setText(work.mask, 'UTF-8')
                call += ['--mask', mask.path]
            }
            call += work.options.collectMany { name, value -> asOptions(name.toString(), value.toString()) }
            File folder = null
            run(call) { Map event -> folder = work.heed(event, log) ?: folder }
            return folder
        } finally {
            mask?.delete()
        }
    }

    private static List<String> asOptions(String name, String value) {
        if (name == 'existing')
            return value == 'refuse' ? [] : ['--' + value]
        return ['--' + name.replace('_', '-'), value]
    }

    /** Run slidecam and give each of its JSON lines to `heed`. */
    void run(List<String> call, Closure heed) {
        Process process = start(command + call)
        List<String> said = Collections.synchronizedList([])
        Thread errors = Thread.startDaemon('slidecam-stderr') {
            try {
                process.errorStream.eachLine('UTF-8') { String line -> log.info('{}', line); said << line }
            } catch (IOException ignored) {
                // The process was ended in the middle of a line; why, is told by who ended it.
            }
        }
        try {
            new Lines(process.inputStream, log).each(heed)
            int code = process.waitFor()
            errors.join(1000)
            if (!(code in [0, 3]))
                throw new IOException("slidecam ended with ${code}. ${said.takeRight(3).join(' ')}")
        } finally {
            stop(process)
        }
    }

    private Process start(List<String> call) {
        log.info('{}', call.join(' '))
        ProcessBuilder builder = new ProcessBuilder(call)
        Map<String, String> environment = builder.environment()
        ['PYTHONHOME', 'PYTHONPATH'].each { environment.remove(it) }
        environment.putAll([PYTHONUNBUFFERED: '1', PYTHONUTF8: '1'])
        try {
            return builder.start()
        } catch (IOException error) {
            throw new IOException("${call[0]} cannot be started (${error.message}). Install slidecam, and set python= in the script or " +
                'the environment variable SLIDECAM_PYTHON to the Python that has it.', error)
        }
    }

    private static void stop(Process process) {
        if (!process.alive)
            return
        boolean interrupted = Thread.interrupted()  // or waitFor would not wait
        process.destroy()
        if (!process.waitFor(PATIENCE, TimeUnit.SECONDS))
            process.destroyForcibly()
        if (interrupted)
            Thread.currentThread().interrupt()
    }
}
