package slidecam

/** One call of `slidecam predict`, as both doors of the engine understand it. */
class Work {

    Slide slide
    /** Folder of the bundle; empty for the server's own. */
    String model = ''
    /** Absolute folder for the results; empty for the server's own. */
    String out = ''
    /** GeoJSON text of where to look, or null for all tissue. */
    String mask
    /** Options of predict by their names there: heatmap, existing, overlap, min_tissue, … */
    Map<String, Object> options = [:]

    /** Say what an event means; return the results' folder from the one that ends the slide, else null. */
    File heed(Map event, log) {
        switch (event.event) {
            case 'Planned':
                log.info('{}: {} tiles, {} of them to do, {} µm/px ({})', event.slide, whole(event.tiles), whole(event.pending), event.spacing, event.spacing_from)
                return null
            case 'BatchDone':
                log.info('{}: {} of {} tiles', event.slide, whole(event.done), whole(event.total))
                return null
            case 'TileFailed':
                log.warn('{}: a tile failed: {}', event.slide, event.reason)
                return null
            case 'Warned':
                log.warn('{}', event.message)
                return null
            case ['SlideFailed', 'Error']:
                throw new IOException("slidecam: ${event.problem} ${event.remedy}")
            case 'Stopped':
                throw new InterruptedException("slidecam: ${event.state} ${event.remedy}")
            case 'SlideFinished':
                log.info('{}: {} {}', event.slide, event.status, event.reason ?: '')
                return new File(event.folder.toString())
            default:
                return null
        }
    }

    private static long whole(number) { number == null ? 0 : (number as double) as long }
}
