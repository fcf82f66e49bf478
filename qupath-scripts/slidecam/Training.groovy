package slidecam

import com.google.gson.GsonBuilder
import com.google.gson.JsonObject
import com.google.gson.JsonParser

/** The files that a classifier is taught from. */
class Training {

    static final String HEADER = 'slide,mpp,width,height,path'

    /** Say in a GeoJSON what QuPath showed when it was drawn; every number in it stays as it is. */
    static void addFacts(File file, Slide slide) {
        def gson = new GsonBuilder().serializeNulls().create()
        JsonObject collection = JsonParser.parseString(file.getText('UTF-8')).getAsJsonObject()
        collection.add('slidecam', gson.toJsonTree(slide.facts))
        file.setText(gson.toJson(collection), 'UTF-8')
    }

    /** Write the slide's row into a table, in the place of an earlier one; a slide without a pixel size gets none. */
    static void note(File table, Slide slide) {
        if (slide.mpp == null)
            return
        String name = cell(slide.path.fileName.toString())
        List<String> kept = table.isFile() ? table.readLines('UTF-8').drop(1).findAll { it && !it.startsWith(name + ',') } : []
        String row = [name, slide.mpp, slide.width, slide.height, cell(slide.path.toString())].join(',')
        table.setText(([HEADER] + kept + [row]).join('\n') + '\n', 'UTF-8')
    }

    private static String cell(String text) {
        text =~ /[",\n]/ ? '"' + text.replace('"', '""') + '"' : text
    }
}
