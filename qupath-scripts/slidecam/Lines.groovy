package slidecam

import com.google.gson.Gson
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit

/**
 * JSON lines from a stream, read by a thread of their own.
 *
 * A read cannot be interrupted, but waiting for a queue can: so QuPath's "Kill running script" takes effect at once.
 */
class Lines {

    private static final Object END = new Object()

    private final LinkedBlockingQueue<Object> queue = new LinkedBlockingQueue<>()

    Lines(InputStream stream, log) {
        Thread.startDaemon('slidecam-lines') {
            try {
                stream.eachLine('UTF-8') { String line -> parse(line, log) }
            } catch (IOException error) {
                log.debug('the stream ended: {}', error.message)
            } finally {
                queue.add(END)
            }
        }
    }

    private void parse(String line, log) {
        if (line.startsWith('{'))
            queue.add(new Gson().fromJson(line, Map))
        else if (!line.isBlank())
            log.info('{}', line)
    }

    /** Give each object to `heed`, to the end; InterruptedException if the script is killed. */
    void each(Closure heed) {
        for (Map line = next(); line != null; line = next())
            heed(line)
    }

    private Map next() {
        while (true) {
            Object line = queue.poll(200, TimeUnit.MILLISECONDS)
            if (Thread.interrupted())
                throw new InterruptedException('the script was stopped')
            if (line.is(END))
                return null
            if (line != null)
                return line as Map
        }
    }
}
