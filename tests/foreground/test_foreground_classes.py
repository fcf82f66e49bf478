"""What was drawn and named on a slide.

Classes, how much of a place is of which, and which a tile is of.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from shapely import Polygon, box, union_all

from slidecam.errors import MaskError, UsageError
from slidecam.foreground import AMBIGUOUS, UNANNOTATED, LabelRule, load_classes, pair_annotations
from slidecam.geometry import Size

if TYPE_CHECKING:
    from pathlib import Path

SIZE = Size(400, 300)
TUMOUR = {"name": "Tumor", "color": [200, 0, 0]}


def square(x: float, y: float, edge: float) -> list[list[float]]:
    return [[x, y], [x + edge, y], [x + edge, y + edge], [x, y + edge], [x, y]]


def feature(
    ring: list[list[float]], classification: object, kind: str = "annotation", **more: Any
) -> dict[str, Any]:
    properties = {
        "objectType": kind,
        **({} if classification is None else {"classification": classification}),
    }
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "geometry": geometry, "properties": properties} | more


def written(folder: Path, *features: Any) -> Path:
    path = folder / "a.geojson"
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": list(features)}), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize(
    ("classification", "name"),
    [
        (TUMOUR, "Tumor"),
        ("Tumor", "Tumor"),
        ({"name": "Tumor: High", "colorRGB": -3}, "Tumor: High"),
        ({"names": ["Tumor", "High"]}, "Tumor: High"),
    ],
)
def test_a_class_is_read_in_every_form_that_qupath_writes(
    tmp_path: Path, classification: object, name: str
) -> None:
    classes = load_classes(written(tmp_path, feature(square(0, 0, 90), classification)), SIZE)
    assert classes.names == (name,)
    assert classes.notes == ()


def test_shares_are_those_of_exact_geometry(tmp_path: Path) -> None:
    triangle = [[10.0, 20.0], [210.0, 60.0], [90.0, 260.0], [10.0, 20.0]]
    path = written(
        tmp_path,
        feature(triangle, "a"),
        feature(square(150, 100, 100), "b"),
        feature(square(0, 0, 50), "a"),
    )
    boxes = np.array(
        [[x, y, 64, 64] for x in range(0, 400, 50) for y in range(0, 300, 50)], np.int64
    )
    found = load_classes(path, SIZE).coverage(boxes)
    drawn = [union_all([Polygon(triangle), box(0, 0, 50, 50)]), box(150, 100, 250, 200)]
    tiles = [box(x, y, x + 64, y + 64) for x, y, _width, _height in boxes.tolist()]
    exact = [[shape.intersection(tile).area / 64**2 for shape in drawn] for tile in tiles]
    np.testing.assert_allclose(found, exact, atol=0.01)


def test_holes_and_multipolygons_count_as_drawn(tmp_path: Path) -> None:
    geometry = {
        "type": "MultiPolygon",
        "coordinates": [[square(0, 0, 100), square(20, 20, 40)], [square(200, 0, 50)]],
    }
    path = written(tmp_path, feature([], "a", geometry=geometry))
    shares = load_classes(path, SIZE).coverage(
        np.array([[0, 0, 100, 100], [20, 20, 40, 40], [200, 0, 100, 100]])
    )
    np.testing.assert_allclose(shares[:, 0], [1 - 0.16, 0, 0.25], atol=1e-6)


def test_results_are_no_annotations(tmp_path: Path) -> None:
    results = [feature(square(0, 0, 50), "b", kind) for kind in ("tile", "detection", "cell")]
    path = written(tmp_path, *results, feature(square(0, 0, 50), "a"))
    assert load_classes(path, SIZE).names == ("a",)


def test_what_has_no_class_is_passed_over_and_noted(tmp_path: Path) -> None:
    bare = {"type": "Polygon", "coordinates": [square(9, 9, 9)]}
    path = written(
        tmp_path, feature(square(0, 0, 50), None), feature(square(50, 0, 50), TUMOUR), bare
    )
    classes = load_classes(path, SIZE)
    assert classes.names == ("Tumor",)
    assert classes.notes == ("a.geojson: areas without a class, passed over: 2.",)


def test_starred_classes_are_passed_over_and_ignore_is_cut_out(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        feature(square(0, 0, 100), TUMOUR),
        feature(square(0, 0, 50), "Ignore*"),
        feature(square(50, 50, 50), "Region*"),
    )
    classes = load_classes(path, SIZE)
    assert classes.names == ("Tumor",)
    shares = classes.coverage(np.array([[0, 0, 100, 100], [0, 0, 50, 50]]))
    np.testing.assert_allclose(shares[:, 0], [0.75, 0], atol=1e-6)
    assert classes.notes == (
        "a.geojson: the class Ignore* is left out, as in QuPath.",
        "a.geojson: the class Region* is left out, as in QuPath.",
    )


def test_areas_off_the_slide_and_on_other_planes_are_said(tmp_path: Path) -> None:
    deep = feature(square(0, 0, 50), "a")
    deep["geometry"]["plane"] = {"c": -1, "z": 1, "t": 2}
    classes = load_classes(written(tmp_path, deep, feature(square(500, 0, 50), "b")), SIZE)
    assert classes.notes == (
        "a.geojson: areas that lie off the slide, passed over: 1 of 2.",
        (
            "a.geojson: areas drawn on another plane of a stack (z 1, t 2), taken as if drawn on"
            " the one that is read: 1."
        ),
    )


def test_classes_can_be_renamed_into_one(tmp_path: Path) -> None:
    path = written(
        tmp_path, feature(square(0, 0, 50), "Invasive"), feature(square(50, 0, 50), "In situ")
    )
    classes = load_classes(path, SIZE, renamed={"Invasive": "tumour", "In situ": "tumour"})
    np.testing.assert_allclose(classes.coverage(np.array([[0, 0, 100, 100]])), [[0.5]], atol=1e-6)
    assert classes.names == ("tumour",)


def test_coordinates_of_a_cropped_view_are_moved_by_its_corner(tmp_path: Path) -> None:
    path = written(tmp_path, feature(square(0, 0, 50), "a"))
    shares = load_classes(path, SIZE, offset=(100, 40)).coverage(
        np.array([[0, 0, 50, 50], [100, 40, 50, 50]])
    )
    np.testing.assert_allclose(shares[:, 0], [0, 1], atol=1e-6)


def test_gzipped_annotations_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson.gz"
    path.write_bytes(gzip.compress(json.dumps([feature(square(0, 0, 9), "a")]).encode()))
    assert load_classes(path, SIZE).names == ("a",)


@pytest.mark.parametrize(
    ("features", "word"),
    [
        ([feature(square(0, 0, 9), None)], "No area has a class"),
        ([], "No area has a class"),
        ([feature(square(500, 0, 9), "a")], r"none lies on the slide of 400 x 300 px"),
        ([feature(square(0, 0, 9), ["a"])], "is no name of a class"),
        ([feature([[0, 0], [1, 1]], "a")], "is no ring"),
        ([7], "stands where a GeoJSON object should"),
    ],
)
def test_annotations_that_cannot_be_used_are_named(
    tmp_path: Path, features: list[Any], word: str
) -> None:
    with pytest.raises(MaskError, match=rf"{word}.*a\.geojson"):
        load_classes(written(tmp_path, *features), SIZE)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.geojson").write_bytes(content)
    with pytest.raises(MaskError, match=r"b\.geojson"):
        load_classes(tmp_path / "b.geojson", SIZE)


def test_a_tile_is_of_the_class_that_has_most_of_it_if_no_other_has_much() -> None:
    shares = np.array(
        [[0.6, 0.1], [0.4, 0.0], [0.5, 0.2], [0.7, 0.3], [0.2, 0.9], [1.0, 1.0], [0.0, 0.0]]
    )
    found = LabelRule(min_share=0.5, most_other=0.25).labels(shares)
    assert found.tolist() == [0, UNANNOTATED, 0, AMBIGUOUS, 1, AMBIGUOUS, UNANNOTATED]
    assert found.dtype == np.int64
    tolerant = LabelRule(min_share=0.5, most_other=1).labels(shares)
    assert tolerant.tolist() == [0, UNANNOTATED, 0, 0, 1, AMBIGUOUS, UNANNOTATED]


def test_one_class_alone_is_labelled_too() -> None:
    assert LabelRule().labels(np.array([[0.6], [0.4]])).tolist() == [0, UNANNOTATED]


@pytest.mark.parametrize("rule", [{"min_share": 0.0}, {"min_share": 1.1}, {"most_other": -0.1}])
def test_a_rule_out_of_range_is_refused(rule: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="out of range"):
        LabelRule(**rule)


def test_slides_are_paired_with_files_of_their_stem(tmp_path: Path) -> None:
    slides, drawn = tmp_path / "slides", tmp_path / "drawn"
    slides.mkdir()
    drawn.mkdir()
    for name in ("a.tif", "b.svs", "c.tif"):
        (slides / name).touch()
    (drawn / "a.geojson").touch()
    (drawn / "b.json").touch()
    pairs, notes = pair_annotations([slides], drawn)
    assert [(slide.name, path.name) for slide, path in pairs] == [
        ("a", "a.geojson"),
        ("b", "b.json"),
    ]
    assert notes == ["c has no annotations and was passed over."]
    ((_slide, path),), notes = pair_annotations([slides / "c.tif"], drawn / "a.geojson")
    assert path == drawn / "a.geojson"
    assert notes == []


def test_pairs_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    (tmp_path / "b.tif").touch()
    (tmp_path / "x.geojson").touch()
    with pytest.raises(UsageError, match=r"one file for 2 slides.*x\.geojson"):
        pair_annotations([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "x.geojson")
    with pytest.raises(UsageError, match=r"There is no a\.geojson in the folder"):
        pair_annotations([tmp_path / "a.tif"], tmp_path)
    with pytest.raises(UsageError, match="There is no such file"):
        pair_annotations([tmp_path / "a.tif"], tmp_path / "gone")
