package qupath.lib.io;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonSerializer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.locationtech.jts.geom.Coordinate;
import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.geom.LineString;
import org.locationtech.jts.geom.MultiPolygon;
import org.locationtech.jts.geom.Polygon;
import qupath.lib.images.servers.ImageServerBuilder;
import qupath.lib.images.servers.StandInServer;
import qupath.lib.objects.PathObject;
import qupath.lib.objects.TMACoreObject;
import qupath.lib.roi.interfaces.ROI;

public class GsonTools {
    public static Gson getInstance() {
        // QuPath tells builders apart by `builderType`.
        JsonSerializer<StandInServer.Builder<?>> builders =
                (builder, type, context) -> context.serialize(builder.written());
        JsonSerializer<ImageServerBuilder.ServerBuilder<?>> all =
                (builder, type, context) -> context.serialize(((StandInServer.Builder<?>) builder).written());
        return new GsonBuilder().registerTypeHierarchyAdapter(StandInServer.Builder.class, builders)
                .registerTypeHierarchyAdapter(ImageServerBuilder.ServerBuilder.class, all).create();
    }

    /** What `exportObjectsToGeoJson` writes. */
    public static Map<String, Object> collection(Collection<? extends PathObject> objects) {
        return Map.of("type", "FeatureCollection", "features",
                objects.stream().map(GsonTools::feature).toList());
    }

    private static Map<String, Object> feature(PathObject each) {
        Map<String, Object> properties = new LinkedHashMap<>();
        properties.put("objectType", each.isTMACore() ? "tmaCore" : each.isTile() ? "tile" : "annotation");
        if (each.getPathClass() != null)
            properties.put("classification",
                    Map.of("name", each.getPathClass().toString(), "color", List.of(200, 0, 0)));
        if (each instanceof TMACoreObject core)
            properties.put("isMissing", core.isMissing());
        if (!each.getMetadata().isEmpty())
            properties.put("metadata", each.getMetadata());
        return Map.of("type", "Feature", "id", each.getID().toString(),
                "geometry", geometry(each.getROI()), "properties", properties);
    }

    private static Map<String, Object> geometry(ROI roi) {
        Geometry geometry = roi.getGeometry();
        Map<String, Object> written = new LinkedHashMap<>();
        if (geometry instanceof MultiPolygon) {
            List<Object> parts = new ArrayList<>();
            for (int i = 0; i < geometry.getNumGeometries(); i++)
                parts.add(rings((Polygon) geometry.getGeometryN(i)));
            written.put("type", "MultiPolygon");
            written.put("coordinates", parts);
        } else {
            written.put("type", "Polygon");
            written.put("coordinates", rings((Polygon) geometry));
        }
        if (roi.getZ() != 0 || roi.getT() != 0)
            written.put("plane", Map.of("c", -1, "z", roi.getZ(), "t", roi.getT()));
        return written;
    }

    private static List<Object> rings(Polygon polygon) {
        List<Object> rings = new ArrayList<>(List.of(corners(polygon.getExteriorRing())));
        for (int i = 0; i < polygon.getNumInteriorRing(); i++)
            rings.add(corners(polygon.getInteriorRingN(i)));
        return rings;
    }

    private static List<Object> corners(LineString ring) {
        List<Object> corners = new ArrayList<>();
        for (Coordinate corner : ring.getCoordinates())
            corners.add(List.of(corner.x, corner.y));
        return corners;
    }
}
