package qupath.lib.io

import com.google.gson.Gson
import com.google.gson.GsonBuilder
import com.google.gson.JsonElement
import com.google.gson.JsonSerializationContext
import com.google.gson.JsonSerializer
import groovy.transform.CompileStatic
import java.lang.reflect.Type
import org.locationtech.jts.geom.Coordinate
import org.locationtech.jts.geom.Geometry
import org.locationtech.jts.geom.LinearRing
import org.locationtech.jts.geom.MultiPolygon
import org.locationtech.jts.geom.Polygon
import qupath.lib.images.servers.ImageServer
import qupath.lib.images.servers.ImageServerBuilder
import qupath.lib.objects.PathObject

@CompileStatic
class GsonTools {
    static Gson getInstance() {
        new GsonBuilder().registerTypeHierarchyAdapter(ImageServerBuilder.ServerBuilder, new BuilderWriter()).create()
    }

    /** QuPath tells builders apart by `builderType`. */
    @CompileStatic
    static class BuilderWriter implements JsonSerializer<ImageServerBuilder.ServerBuilder> {
        JsonElement serialize(ImageServerBuilder.ServerBuilder builder, Type type, JsonSerializationContext context) {
            context.serialize((builder as ImageServer.Builder).told)
        }
    }

    /** What `exportObjectsToGeoJson` writes. */
    static Map collection(Collection<? extends PathObject> objects) {
        [type: 'FeatureCollection', features: objects.collect { PathObject each -> feature(each) }]
    }

    private static Map feature(PathObject each) {
        Map<String, Object> properties = [objectType: each.isTMACore() ? 'tmaCore' : each.isTile() ? 'tile' : 'annotation'] as Map<String, Object>
        if (each.getPathClass() != null)
            properties.classification = [name: each.getPathClass().toString(), color: [200, 0, 0]]
        [type: 'Feature', id: each.getID().toString(), geometry: geometry(each.getROI().getGeometry()), properties: properties]
    }

    private static Map geometry(Geometry geometry) {
        if (geometry instanceof MultiPolygon)
            return [type: 'MultiPolygon', coordinates: (0..<geometry.getNumGeometries()).collect { Integer i -> rings(geometry.getGeometryN(i) as Polygon) }]
        [type: 'Polygon', coordinates: rings(geometry as Polygon)]
    }

    private static List rings(Polygon polygon) {
        List<LinearRing> all = [polygon.getExteriorRing()]
        for (int i = 0; i < polygon.getNumInteriorRing(); i++)
            all << polygon.getInteriorRingN(i)
        all.collect { LinearRing ring -> ring.getCoordinates().collect { Coordinate corner -> [corner.x, corner.y] } }
    }
}
