package slidecam

import com.google.gson.Gson
import java.util.zip.GZIPInputStream
import qupath.lib.common.ColorTools
import qupath.lib.objects.PathObject
import qupath.lib.objects.PathObjects
import qupath.lib.objects.classes.PathClass
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.ROIs

/**
 * Results as slidecam wrote them for QuPath, in QuPath's pixels already: `qupath/` in a slide's folder.
 *
 * Tiles come from a table and not from GeoJSON: 100,000 of them take QuPath 7 s and 1.1 GB as GeoJSON.
 */
class Results {

    /** Where the image remembers its results, so that the other scripts find them. */
    static final String PROPERTY = 'slidecam.results'
    /** Metadata of our annotations: a person may rename them. Tiles are named instead, which costs no memory. */
    static final String MADE_BY = 'slidecam'
    static final String INDEX = 'slidecam.json'
    /** Metadata of a tile that is called several classes, as in tiles.geojson. */
    static final String CALLED = 'called classes'

    final File folder
    final Map index

    /** Open the results in a slide's folder. */
    Results(File slideFolder) {
        folder = new File(slideFolder, 'qupath')
        File file = new File(folder, INDEX)
        if (!file.isFile())
            throw new FileNotFoundException("${file} is not there. Write it with: slidecam export \"${slideFolder}\" --to qupath")
        index = new Gson().fromJson(file.getText('UTF-8'), Map)
        if (index.format != 'slidecam-qupath' || !(index.version in [1.0d, 2.0d]))
            throw new IOException("${file} is of another version of slidecam. Use the scripts that came with it.")
    }

    /** Open what the image remembers, or what a setting names: a slide's folder, or the folder above it. */
    static Results of(imageData, String named, Slide slide) {
        String told = named ?: imageData.getProperty(PROPERTY)?.toString()
        if (!told)
            throw new IllegalStateException('No results of slidecam are known for this image. Run 1_classify_slide, or set results= to their folder.')
        File folder = new File(told)
        File below = new File(folder, slide.stem)
        Results found = new Results(new File(below, 'qupath').isDirectory() ? below : folder)
        found.refuseAnotherView(slide)
        return found
    }

    /** Results of a cropped view would lie beside their places on one that is not cropped, or on another slide. */
    private void refuseAnotherView(Slide slide) {
        List<Integer> size = (index.size_px ?: []).collect { it as int }
        if (size && size != [slide.width, slide.height])
            throw new IllegalStateException("${folder} is for a slide that is shown as ${size.join(' x ')} px, and QuPath shows this one as " +
                "${slide.width} x ${slide.height} px. For a view without crop, write it again: " +
                "slidecam export \"${folder.parent}\" --to qupath --shown ${slide.shown}")
    }

    /** The classes by the name that QuPath knows them by, with their measurements. */
    Map<String, String> getMeasurements() { index.classes.collectEntries { [it.qupath, it.measurement] } }

    /** Return the tiles as new objects; nothing is added to the image yet. */
    List<PathObject> tiles() {
        Map<String, PathClass> classes = index.classes.collectEntries { told ->
            def (red, green, blue) = told.color.collect { it as int }
            [told.qupath, PathClass.fromString(told.qupath, ColorTools.packRGB(red, green, blue))]
        }
        String[] names = (index.classes.collect { it.measurement } + (index.tiles.disagreement ? [index.tiles.disagreement] : [])) as String[]
        List<String> called = index.tiles.called ? index.classes.collect { it.qupath } : []
        List<PathObject> tiles = []
        new GZIPInputStream(new FileInputStream(new File(folder, index.tiles.file))).withReader('UTF-8') { reader ->
            reader.readLine()
            reader.eachLine { String line -> tiles << tile(line, names, classes, called) }
        }
        return tiles
    }

    private PathObject tile(String line, String[] names, Map<String, PathClass> classes, List<String> called) {
        String[] cells = line.split(',', -1)
        int first = cells.length - names.length - (called ? 1 : 0)
        // A class's name may hold commas, and is quoted then.
        String name = first == 5 ? cells[4] : cells[4..<first].join(',')
        if (name.startsWith('"'))
            name = name[1..-2].replace('""', '"')
        def roi = ROIs.createRectangleROI(cells[0] as double, cells[1] as double, cells[2] as double, cells[3] as double, ImagePlane.getDefaultPlane())
        PathObject tile = PathObjects.createTileObject(roi, name ? classes[name] : null)
        def list = tile.getMeasurementList()
        for (int i = 0; i < names.length; i++)
            if (!cells[first + i].isEmpty())
                list.put(names[i], cells[first + i] as double)
        list.close()
        // QuPath has one class for a tile; of one that is called several, all stand in its metadata.
        if (called && !cells[-1].isEmpty())
            tile.getMetadata().put(CALLED, cells[-1].tokenize('+').collect { called[it as int] }.join(' + '))
        tile.setName(index.mark)
        tile.setLocked(true)
        return tile
    }

    /** Our tiles on an image. */
    static List<PathObject> tilesOn(hierarchy) {
        hierarchy.getTileObjects().toList().findAll { it.getName() == MADE_BY }
    }

    /** Our annotations on an image. */
    static List<PathObject> regionsOn(hierarchy) {
        hierarchy.getAnnotationObjects().toList().findAll { it.getMetadata().containsKey(MADE_BY) }
    }

    /** Put the tiles on the image in the place of earlier ones of ours, those that `replaced` says; return them. */
    List<PathObject> show(imageData, Closure<Boolean> replaced = { true }) {
        def hierarchy = imageData.getHierarchy()
        List<PathObject> old = tilesOn(hierarchy).findAll(replaced)
        List<PathObject> fresh = tiles()
        hierarchy.removeObjects(old, true)
        hierarchy.addObjects(fresh)
        imageData.setProperty(PROPERTY, folder.parentFile.absolutePath)
        return fresh
    }
}
