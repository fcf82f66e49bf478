"""`tiles.geojson` holds nothing that makes QuPath refuse a file.

`refusals` is the oracle: what QuPath 0.6 and 0.7 were seen to do with each kind of feature, and
what its `PathClass` says of names. It is first shown to notice every bad case, then let loose on
what we write, with whatever names, colours and numbers hypothesis thinks of.
"""

from __future__ import annotations

import gzip
import json
import re
import uuid
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidecam.classes import ClassSet
from slidecam.exchange import tables
from slidecam.exchange.geojson import (
    NAMESPACE,
    _uuid5,
    qupath_class_name,
    read_tiles_geojson,
    write_tiles_geojson,
)
from slidecam.foreground.files import read_content
from slidecam.geometry import Box
from slidecam.runs.tiles import TileTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tile_tables import TableMaker

    Breaker = Callable[[dict[str, Any]], object]

NAN = float("nan")


def refusals(collection: dict[str, Any]) -> list[str]:
    """Return why QuPath would refuse this file or import something else than tiles.

    Empty if it would not.
    """
    assert collection["type"] == "FeatureCollection"
    return [reason for feature in collection["features"] for reason in _feature_refusals(feature)]


def _feature_refusals(feature: dict[str, Any]) -> Iterator[str]:
    if feature.get("type") != "Feature":
        yield "not a feature"
    if "id" in feature and not isinstance(feature["id"], str):
        yield "id null"
    if "geometry" not in feature or not _is_closed_polygon(feature["geometry"]):
        yield "geometry"
    properties = feature.get("properties", {})
    if not isinstance(properties, dict):
        yield "properties null"
        return
    if properties.get("objectType") != "tile":
        yield "not a tile"
    if "name" in properties and not isinstance(properties["name"], str):
        yield "name null"
    if not isinstance(properties.get("isLocked", False), bool):
        yield "isLocked"
    metadata = properties.get("metadata", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        yield "metadata"
    if "classification" in properties:
        yield from _classification_refusals(properties["classification"])
    yield from _measurement_refusals(properties.get("measurements", {}))


def _is_closed_polygon(geometry: object) -> bool:
    if not isinstance(geometry, dict) or geometry.get("type") != "Polygon":
        return False
    corners = [corner for ring in geometry["coordinates"] for corner in ring]
    if not all(
        len(corner) == 2 and all(_is_number(value) for value in corner) for corner in corners
    ):
        return False
    return all(len(ring) >= 4 and ring[0] == ring[-1] for ring in geometry["coordinates"])


def _is_number(value: object) -> bool:
    return type(value) in {int, float} and bool(np.isfinite(value))  # type: ignore[call-overload]


def _classification_refusals(classification: object) -> Iterator[str]:
    if not isinstance(classification, dict):
        yield "classification"
        return
    name, color = classification.get("name"), classification.get("color")
    if not isinstance(name, str) or not all(_is_class_name(part) for part in name.split(":")):
        yield "class name"
    if not (
        isinstance(color, list) and len(color) == 3 and all(_is_byte(value) for value in color)
    ):
        yield "class color"


def _is_byte(value: object) -> bool:
    return type(value) is int and 0 <= value <= 255


def _is_class_name(part: str) -> bool:
    return bool(part.strip()) and "\n" not in part and "\r" not in part


def _measurement_refusals(measurements: object) -> Iterator[str]:
    if not isinstance(measurements, dict):
        yield "measurements"
        return
    for value in measurements.values():
        if type(value) is not float or not np.isfinite(value):
            yield "measurement"


GOOD: dict[str, Any] = {
    "type": "Feature",
    "id": "6f1b0a3e-2c1a-4a5e-9d1c-0f0a5b1f2a11",
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[512, 1024], [768, 1024], [768, 1280], [512, 1280], [512, 1024]]],
    },
    "properties": {
        "objectType": "tile",
        "classification": {"name": "Tumor", "color": [200, 0, 0]},
        "measurements": {"prob_Tumor": 0.93, "prob_Stroma": 0.07},
    },
}

BAD: dict[str, Breaker] = {
    "classification without color": lambda f: f["properties"]["classification"].pop("color"),
    "color as text": lambda f: f["properties"]["classification"].update(color="#c80000"),
    "class name null": lambda f: f["properties"]["classification"].update(name=None),
    "class name blank": lambda f: f["properties"]["classification"].update(name=" "),
    "class name of two lines": lambda f: f["properties"]["classification"].update(name="a\nb"),
    "subclass blank": lambda f: f["properties"]["classification"].update(name=": b"),
    "color out of range": lambda f: f["properties"]["classification"].update(color=[256, 0, 0]),
    "color of four": lambda f: f["properties"]["classification"].update(color=[0, 0, 0, 0]),
    "classification a list": lambda f: f["properties"].update(classification=["Tumor"]),
    "isLocked as text": lambda f: f["properties"].update(isLocked="yes"),
    "metadata nested": lambda f: f["properties"].update(metadata={"run": {"id": 1}}),
    "corner as text": lambda f: f["geometry"]["coordinates"][0].__setitem__(1, ["512", 1024]),
    "corner null": lambda f: f["geometry"]["coordinates"][0].__setitem__(1, [None, 1024]),
    "measurements a list": lambda f: f["properties"].update(measurements=[1.0]),
    "name null": lambda f: f["properties"].update(name=None),
    "id null": lambda f: f.update(id=None),
    "properties null": lambda f: f.update(properties=None),
    "geometry null": lambda f: f.update(geometry=None),
    "geometry empty": lambda f: f.update(geometry={}),
    "geometry absent": lambda f: f.pop("geometry"),
    "geometry a collection": lambda f: f.update(
        geometry={"type": "GeometryCollection", "geometries": []}
    ),
    "ring not closed": lambda f: f["geometry"]["coordinates"][0].pop(),
    "text in measurements": lambda f: f["properties"]["measurements"].update(prob_Tumor="high"),
    "measurement not a number": lambda f: f["properties"]["measurements"].update(prob_Tumor=NAN),
    "measurement null": lambda f: f["properties"]["measurements"].update(prob_Tumor=None),
    "object type absent": lambda f: f["properties"].pop("objectType"),
    "object type an annotation": lambda f: f["properties"].update(objectType="annotation"),
}


def written(table: object, folder: Path) -> dict[str, Any]:
    write_tiles_geojson(table, folder / "tiles.geojson")  # type: ignore[arg-type]
    text = (folder / "tiles.geojson").read_text(encoding="ascii")
    collection: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return collection


def test_the_oracle_takes_a_good_file() -> None:
    assert refusals({"type": "FeatureCollection", "features": [GOOD]}) == []


@pytest.mark.parametrize("case", BAD)
def test_the_oracle_notices(case: str) -> None:
    feature = deepcopy(GOOD)
    BAD[case](feature)
    assert refusals({"type": "FeatureCollection", "features": [GOOD, feature]}) != []


def test_what_we_write_is_taken(make_table: TableMaker, tmp_path: Path) -> None:
    table = make_table(
        [[0.2, 0.8], [NAN, NAN], [NAN, 0.4], [1e-30, 1.0]],
        status=np.array([1, 2, 1, 1], np.uint8),
        class_names=("Tumor:\nHigh", ' "Größe"\\ '),
    )
    collection = written(table, tmp_path)
    assert len(collection["features"]) == 3
    assert refusals(collection) == []


def test_one_tile_in_full(make_table: TableMaker, tmp_path: Path) -> None:
    (feature,) = written(make_table([[0.25, 0.75]]), tmp_path)["features"]
    assert str(UUID(feature.pop("id")))
    assert feature == {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[0, 50], [100, 50], [100, 130], [0, 130], [0, 50]]],
        },
        "properties": {
            "objectType": "tile",
            "classification": {"name": "Stroma", "color": [150, 200, 150]},
            "metadata": {"slidecam": "tile"},
            "isLocked": True,
            "measurements": {"prob_Tumor": 0.25, "prob_Stroma": 0.75},
        },
    }


def test_places_are_counted_from_the_corner_that_qupath_shows(
    make_table: TableMaker, tmp_path: Path
) -> None:
    table = make_table([[0.25, 0.75]], bounds=Box(30, 20, 1000, 1000))
    (feature,) = written(table, tmp_path)["features"]
    assert feature["geometry"]["coordinates"][0][0] == [-30, 30]
    assert feature["geometry"]["coordinates"][0][2] == [70, 110]


def test_a_tile_without_a_winner_has_no_classification(
    make_table: TableMaker, tmp_path: Path
) -> None:
    low, high = written(make_table([[0.2], [0.8]], activation="sigmoid"), tmp_path)["features"]
    assert "classification" not in low["properties"]
    assert low["properties"]["measurements"] == {"prob_Tumor": pytest.approx(0.2)}
    assert high["properties"]["classification"]["name"] == "Tumor"


def test_tiles_come_back_where_they_lie_with_class_and_colour(
    make_table: TableMaker, tmp_path: Path
) -> None:
    bounds = Box(30, 20, 1000, 1000)
    table = make_table([[0.25, 0.75], [0.9, 0.1]], bounds=bounds)
    for name in ("tiles.geojson", "tiles.geojson.gz"):
        write_tiles_geojson(table, tmp_path / name)
        found = read_tiles_geojson(tmp_path / name, bounds)
        np.testing.assert_array_equal(found.boxes, table.boxes)
        assert found.names == tuple(table.class_names[winner] for winner in table.winners)
        colors = dict(zip(table.class_names, table.class_colors, strict=True))
        assert found.colors == {name: colors[name] for name in found.names}


def test_what_is_not_a_number_is_left_out(make_table: TableMaker, tmp_path: Path) -> None:
    (feature,) = written(make_table([[NAN, 0.5, float("inf")]]), tmp_path)["features"]
    assert feature["properties"]["measurements"] == {"prob_Stroma": 0.5}


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
"""Whatever a text can hold but half characters, which no file can."""

NUMBERS = st.floats(width=32) | st.sampled_from([NAN, float("inf"), 0.0, -0.0, 1e-45])
COLOUR = st.tuples(*[st.integers(0, 255)] * 3)
FAR = 2**40


@given(
    names=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    boxes=st.lists(
        st.tuples(*[st.integers(-FAR, FAR)] * 2, *[st.integers(1, FAR)] * 2), max_size=5
    ),
    corner=st.tuples(*[st.integers(-FAR, FAR)] * 2),
    gzipped=st.booleans(),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_whatever_is_written_is_taken_and_every_coordinate_comes_back(
    names: list[str],
    boxes: list[tuple[int, ...]],
    corner: tuple[int, int],
    *,
    gzipped: bool,
    data: st.DataObject,
) -> None:
    values = data.draw(
        st.lists(st.tuples(*[NUMBERS] * len(names)), min_size=len(boxes), max_size=len(boxes))
    )
    colors = data.draw(st.tuples(*[COLOUR] * len(names)))
    table = TileTable(
        np.array(boxes, np.int64).reshape(-1, 4),
        np.ones(len(boxes), np.uint8),
        np.array(values, np.float32).reshape(-1, len(names)),
        ClassSet(tuple(names), "softmax", colors),
        Box(*corner, 1, 1),
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("tiles.geojson.gz" if gzipped else "tiles.geojson")
        write_tiles_geojson(table, path)
        text = read_content(path).decode("ascii")
    collection = json.loads(text, parse_constant=pytest.fail)
    assert refusals(collection) == []
    _check_numbers(collection, table)
    if boxes:
        rings = [each["geometry"]["coordinates"][0] for each in collection["features"]]
        low = np.array(rings).min(axis=1) + corner
        size = np.ptp(np.array(rings), axis=1)
        np.testing.assert_array_equal(np.concatenate([low, size], axis=1), table.boxes)


def _check_numbers(collection: dict[str, Any], table: TileTable) -> None:
    """Every finite probability comes back as the same float32 under its class's name.

    Nothing else does.
    """
    for feature, row in zip(collection["features"], table.probabilities, strict=True):
        known = {
            f"prob_{name}": value
            for name, value in zip(table.class_names, row, strict=True)
            if np.isfinite(value)
        }
        assert {
            key: np.float32(value) for key, value in feature["properties"]["measurements"].items()
        } == known


def test_a_gzipped_file_holds_the_same(make_table: TableMaker, tmp_path: Path) -> None:
    for name in ("plain.geojson", "packed.geojson.gz"):
        write_tiles_geojson(make_table([[0.25, 0.75]]), tmp_path / name)
    assert (
        gzip.decompress((tmp_path / "packed.geojson.gz").read_bytes())
        == (tmp_path / "plain.geojson").read_bytes()
    )


def test_two_runs_write_the_same_bytes(make_table: TableMaker, tmp_path: Path) -> None:
    table = make_table([[0.1, 0.9], [0.1, 0.9], [0.3, 0.7]])
    for name in ("a", "b"):
        write_tiles_geojson(table, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    ids = re.findall(rb'"id":"(.*?)"', (tmp_path / "a").read_bytes())
    assert len(set(ids)) == 3


def test_pieces_join_to_one_collection(
    make_table: TableMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "VALUES_AT_ONCE", 20)
    features = written(make_table([[i / 100, 0] for i in range(11)]), tmp_path)["features"]
    assert [feature["geometry"]["coordinates"][0][0][0] for feature in features] == list(
        range(0, 1100, 100)
    )


def test_a_slide_without_tiles_is_an_empty_collection(
    make_table: TableMaker, tmp_path: Path
) -> None:
    table = make_table([[0.1, 0.9]], status=np.array([2], np.uint8))
    assert written(table, tmp_path) == {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Tumor", "Tumor"),
        ("Tumor: Ki67", "Tumor: Ki67"),
        (" a \n b ", "a b"),
        ("::x:", "x"),
        (" : ", "Unnamed"),
        ("", "Unnamed"),
    ],
)
def test_class_names_are_written_as_qupath_takes_them(name: str, written: str) -> None:
    assert qupath_class_name(name) == written


@given(st.text(max_size=40))
def test_ids_are_pythons_uuids_of_version_5(name: str) -> None:
    assert _uuid5(name) == str(uuid.uuid5(NAMESPACE, name))
