"""Masks on disk: QuPath's GeoJSON, PNG, and what is neither."""

from __future__ import annotations

import gzip
import json
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shapely import Polygon, contains_xy

from slidecam.errors import MaskError
from slidecam.foreground import Foreground, load_foreground, save_foreground
from slidecam.foreground.annotations import rasterise
from slidecam.geometry import Size

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

SIZE = Size(100, 80)
OUTER = [[10, 10], [60, 10], [60, 60], [10, 60], [10, 10]]
HOLE = [[20, 20], [40, 20], [40, 40], [20, 40], [20, 20]]
POLYGON = {"type": "Polygon", "coordinates": [OUTER, HOLE]}
WITH_HOLE = 50 * 50 - 20 * 20


def feature(geometry: object) -> dict[str, object]:
    return {"type": "Feature", "id": "PathAnnotationObject", "geometry": geometry, "properties": {}}


def collection(*geometries: object) -> dict[str, object]:
    return {"type": "FeatureCollection", "features": [feature(geometry) for geometry in geometries]}


def written(folder: Path, document: object) -> Path:
    path = folder / "annotations.geojson"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "document",
    [
        POLYGON,
        feature(POLYGON),
        collection(POLYGON),
        [feature(POLYGON)],
        [POLYGON],
        {"type": "MultiPolygon", "coordinates": [POLYGON["coordinates"]]},
        {"type": "GeometryCollection", "geometries": [POLYGON]},
        collection({"type": "Point", "coordinates": [1, 1]}, POLYGON, None),
        {"type": "Polygon", "coordinates": [OUTER[:-1], HOLE[:-1]]},
        {
            "type": "Polygon",
            "coordinates": [[[*corner, 0] for corner in ring] for ring in (OUTER, HOLE)],
        },
    ],
    ids=[
        "geometry",
        "feature",
        "collection",
        "list",
        "bare",
        "multi",
        "geometries",
        "mixed",
        "unclosed",
        "3-d",
    ],
)
def test_every_shape_of_geojson_gives_its_area_without_its_holes(
    tmp_path: Path, document: object
) -> None:
    found = load_foreground(written(tmp_path, document), SIZE)
    assert found.mask.sum() == WITH_HOLE
    assert found.contains(np.array([[15, 15], [30, 30], [70, 15]])).tolist() == [True, False, False]
    assert found.origin == "file annotations.geojson"


def test_an_area_over_another_ones_hole_fills_it(tmp_path: Path) -> None:
    document = collection(POLYGON, {"type": "Polygon", "coordinates": [HOLE]})
    assert load_foreground(written(tmp_path, document), SIZE).mask.sum() == 50 * 50


def test_the_offset_moves_coordinates_of_a_cropped_view(tmp_path: Path) -> None:
    found = load_foreground(written(tmp_path, POLYGON), SIZE, offset=(30, 15))
    assert found.contains(np.array([[41, 26], [39, 26], [41, 24]])).tolist() == [True, False, False]


def test_what_overhangs_the_slide_is_cut_off(tmp_path: Path) -> None:
    assert load_foreground(written(tmp_path, POLYGON), SIZE, offset=(80, 0)).mask.sum() == 10 * 50


def test_gzipped_geojson_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "annotations.geojson.gz"
    path.write_bytes(gzip.compress(json.dumps(POLYGON).encode("utf-8-sig")))
    assert load_foreground(path, SIZE).mask.sum() == WITH_HOLE


def zipped(folder: Path, **members: object) -> Path:
    path = folder / "annotations.geojson.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, document in members.items():
            archive.writestr(f"{name}.geojson", json.dumps(document))
    return path


def test_zipped_geojson_is_read_and_an_archive_of_several_files_refused(tmp_path: Path) -> None:
    assert load_foreground(zipped(tmp_path, all=POLYGON), SIZE).mask.sum() == WITH_HOLE
    with pytest.raises(MaskError, match="holds 2 files"):
        load_foreground(zipped(tmp_path, one=POLYGON, two=POLYGON), SIZE)


def square(x: int, y: int, edge: int, plane: dict[str, int] | None = None) -> dict[str, Any]:
    ring = [[x, y], [x + edge, y], [x + edge, y + edge], [x, y + edge], [x, y]]
    geometry: dict[str, Any] = {"type": "Polygon", "coordinates": [ring]}
    return geometry | ({"plane": plane} if plane else {})


def of_class(geometry: object, name: str) -> dict[str, object]:
    return {**feature(geometry), "properties": {"classification": {"name": name}}}


def test_missing_tma_cores_are_no_tissue(tmp_path: Path) -> None:
    cores = collection(square(0, 0, 20), square(40, 0, 20), square(70, 0, 20))
    for one, missing in zip(cores["features"], (False, True, True), strict=True):  # type: ignore[call-overload]
        one["properties"] = {"objectType": "tmaCore", "isMissing": missing}
    found = load_foreground(written(tmp_path, cores), SIZE)
    assert found.mask.sum() == 20 * 20
    assert found.readings == ("annotations.geojson: TMA cores that are missing, left out: 2.",)


@pytest.mark.parametrize("kind", ["tile", "cell", "detection"])
def test_what_a_program_found_is_no_tissue_that_somebody_drew(tmp_path: Path, kind: str) -> None:
    areas = collection(square(0, 0, 20), square(40, 0, 20), square(70, 0, 20))
    for one, said in zip(areas["features"], ("annotation", kind, kind), strict=True):  # type: ignore[call-overload]
        one["properties"] = {"objectType": said}
    found = load_foreground(written(tmp_path, areas), SIZE)
    assert found.mask.sum() == 20 * 20
    left = "detections, tiles or cells, which nobody drew, left out: "
    assert found.readings == (f"annotations.geojson: {left}2.",)
    areas["features"] = areas["features"][1:]  # type: ignore[index]
    with pytest.raises(MaskError, match=f"{left}2"):
        load_foreground(written(tmp_path, areas), SIZE)


def test_classes_that_qupath_sets_apart_are_no_tissue_and_ignore_is_cut_out(
    tmp_path: Path,
) -> None:
    drawn = [
        of_class(square(0, 0, 40), "Tumor"),
        of_class(square(60, 0, 30), "Region*"),
        of_class(square(10, 10, 10), "Ignore*"),
    ]
    document = {"type": "FeatureCollection", "features": drawn}
    found = load_foreground(written(tmp_path, document), SIZE)
    assert found.mask.sum() == 40 * 40 - 10 * 10
    assert found.readings == (
        "annotations.geojson: the class Region* is left out, as in QuPath.",
        "annotations.geojson: the class Ignore* is left out, as in QuPath.",
    )
    with pytest.raises(MaskError, match=r"no area .* is tissue.*Region\* is left out"):
        load_foreground(written(tmp_path, drawn[1:]), SIZE)


def test_areas_off_the_slide_and_on_other_planes_are_said(tmp_path: Path) -> None:
    areas = [square(0, 0, 20), square(300, 0, 20), square(40, 0, 20, {"c": -1, "z": 3, "t": 0})]
    found = load_foreground(written(tmp_path, collection(*areas)), SIZE)
    assert found.mask.sum() == 2 * 20 * 20
    assert found.readings == (
        (
            "annotations.geojson: areas drawn on another plane of a stack (z 3, t 0), taken as if"
            " drawn on the one that is read: 1."
        ),
        "annotations.geojson: areas that lie off the slide, passed over: 1 of 3.",
    )


def test_a_small_annotation_survives_on_a_large_slide(tmp_path: Path) -> None:
    for edge in (90, 3):
        square = [
            [50_000, 50_000],
            [50_000 + edge, 50_000],
            [50_000 + edge, 50_000 + edge],
            [50_000, 50_000 + edge],
        ]
        document = {"type": "Polygon", "coordinates": [square]}
        found = load_foreground(written(tmp_path, document), Size(100_000, 60_000))
        assert found.mask.shape == (4915, 8192)
        assert found.contains(np.array([[50_000 + edge / 2, 50_000 + edge / 2]])).all()
        assert found.mask.sum() in {1, 7 * 7, 7 * 8, 8 * 8}


corner = st.tuples(st.floats(-20, 60), st.floats(-20, 60))


@settings(deadline=None)  # a loaded machine is no failure
@given(st.lists(corner, min_size=3, max_size=8))
def test_a_mask_pixel_belongs_to_a_polygon_if_its_centre_does(
    corners: list[tuple[float, float]],
) -> None:
    polygon = Polygon(corners)
    if not polygon.is_valid or min(np.ptp(corners, axis=0)) < 1:
        return
    rows, columns = np.mgrid[:40, :40] + 0.5
    inside = contains_xy(polygon, columns, rows)
    near = polygon.boundary.buffer(1e-6)
    mask = rasterise([[np.array(corners)]], Size(40, 40))
    if inside.any():
        assert ((mask == inside) | contains_xy(near, columns, rows)).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "neither GeoJSON nor PNG"),
        (b"II*\0 a tiff", "neither GeoJSON nor PNG"),
        (b'{"type": "Poly', "damaged"),
        (b"\x1f\x8b not gzip", "cannot be read"),
        (b'{"type": "\xff"}', "not UTF-8"),
        (b"[]", "no area"),
        (b"[3]", "GeoJSON object"),
        (b'{"a": 1}', "no type of GeoJSON"),
        (b'{"type": "Point", "coordinates": [1, 2]}', "no area"),
        (b'{"type": "Polygon"}', "coordinates 'None'"),
        (b'{"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}', "no ring"),
        (b'{"type": "Polygon", "coordinates": [[[1, 2], ["x", 4], [5, 6]]]}', "no ring"),
        (b'{"type": "Polygon", "coordinates": [[[1, 2], [NaN, 4], [5, 6]]]}', "no ring"),
        (
            b'{"type": "Polygon", "coordinates": [[[500, 2], [600, 4], [500, 6]]]}',
            "x 500..600 .* 100 x 80",
        ),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x64\0\0\0\x50", "damaged"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0", "65536 x 65536 px"),
    ],
)
def test_what_is_no_mask_is_named_with_a_remedy(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "mask"
    path.write_bytes(content)
    with pytest.raises(MaskError, match=says) as caught:
        load_foreground(path, SIZE)
    assert str(path) in caught.value.problem
    assert caught.value.remedy


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"nowhere\.png"):
        load_foreground(tmp_path / "nowhere.png", SIZE)


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB", "RGBA", "LA"])
def test_in_a_png_of_any_kind_what_is_not_zero_is_tissue(tmp_path: Path, mode: str) -> None:
    grey = np.zeros((8, 10), np.uint8)
    grey[2:5, 3:7] = 1 if mode == "P" else 255
    picture = Image.fromarray(grey)
    if mode == "P":
        picture.putpalette([255, 255, 255, 0, 0, 0])
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(load_foreground(tmp_path / "mask.png", SIZE).mask, grey > 0)


def test_a_transparent_pixel_is_no_tissue(tmp_path: Path) -> None:
    pixels = np.full((8, 10, 4), 255, np.uint8)
    pixels[:, :5, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert load_foreground(tmp_path / "mask.png", SIZE).share == 0.5


@pytest.mark.parametrize(
    ("columns", "rows", "fits"), [(1000, 815, True), (1000, 820, False), (800, 1000, False)]
)
def test_a_png_must_have_the_slides_shape(
    tmp_path: Path, columns: int, rows: int, *, fits: bool
) -> None:
    Image.new("L", (columns, rows), 1).save(tmp_path / "mask.png")
    if fits:
        assert load_foreground(tmp_path / "mask.png", SIZE).share == 1
        return
    with pytest.raises(MaskError, match=rf"{columns} x {rows} px.*100 x 80"):
        load_foreground(tmp_path / "mask.png", SIZE)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (13, 17), (20, 2048), (2048, 20)])
def test_a_saved_mask_is_loaded_exactly(tmp_path: Path, rows: int, columns: int) -> None:
    mask = np.random.default_rng(0).random((rows, columns)) < 0.5
    size = Size(columns * 49 - 20, rows * 49 + 20)
    save_foreground(Foreground(mask, size, "test"), tmp_path / "mask.png")
    np.testing.assert_array_equal(load_foreground(tmp_path / "mask.png", size).mask, mask)
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]


def test_an_empty_mask_is_saved_and_loaded_as_empty(tmp_path: Path) -> None:
    save_foreground(Foreground(np.zeros((8, 10), np.bool_), SIZE, "test"), tmp_path / "mask.png")
    assert not load_foreground(tmp_path / "mask.png", SIZE).mask.any()


def test_a_mask_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="cannot be written"):
        save_foreground(
            Foreground(np.ones((1, 1), np.bool_), SIZE, "test"), tmp_path / "no" / "mask.png"
        )
    assert not list(tmp_path.iterdir())


def shown(width: int, height: int) -> dict[str, object]:
    """Return a mask as our QuPath scripts write it.

    With the size of the image that it was drawn on.
    """
    return {
        **collection(POLYGON),
        "slidecam": {"image": {"size_px": [width, height], "um_px": 0.5}},
    }


@pytest.mark.parametrize(("size", "left"), [((100, 80), 10), ((70, 65), 35)])
def test_a_mask_that_says_what_it_was_drawn_on_lands_there(
    tmp_path: Path, size: tuple[int, int], left: int
) -> None:
    # The slide was scanned from 25, 15 on; QuPath showed it whole, or cropped to that.
    mask = load_foreground(written(tmp_path, shown(*size)), SIZE, (25.0, 15.0)).mask
    assert int(mask.any(axis=0).argmax()) * SIZE.width / mask.shape[1] == left


@pytest.mark.parametrize(("size", "corner"), [((50, 40), (0.0, 0.0)), ((90, 40), (25.0, 15.0))])
def test_a_mask_that_was_drawn_on_something_else_is_refused(
    tmp_path: Path, size: tuple[int, int], corner: tuple[float, float]
) -> None:
    with pytest.raises(MaskError, match=f"image of {size[0]} x {size[1]} px"):
        load_foreground(written(tmp_path, shown(*size)), SIZE, corner)


def test_what_else_goes_by_our_name_in_a_mask_is_passed_over(tmp_path: Path) -> None:
    endless = {"image": {"size_px": [float("inf"), 3]}}
    for odd in (1, {"image": None}, {"image": {"size_px": ["a", "b"]}}, endless):
        path = written(tmp_path, {**collection(POLYGON), "slidecam": odd})
        assert load_foreground(path, SIZE).mask.any()
