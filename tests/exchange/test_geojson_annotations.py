"""What was drawn comes back as it was, through GeoJSON that QuPath reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.errors import MaskError
from slidecam.exchange.geojson import Annotation, read_annotations, write_annotations
from slidecam.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def some_annotations(corner: tuple[int, int] = (0, 0)) -> list[Annotation]:
    rng = np.random.default_rng(4)
    outer = rng.uniform(0, 1e5, (7, 2)) + corner
    hole = rng.uniform(0, 1e3, (4, 2)) + corner
    return [
        Annotation("tumour", (outer, hole), (200, 0, 40), "first"),
        Annotation(
            "tumour: necrosis",
            (np.array([[0.1, 0.2], [3.3, 0.7], [1 / 3, 9.9]]) + corner,),
            (1, 2, 3),
        ),
        Annotation("", (np.array([[0, 0], [5, 0], [5, 5]]) + corner,)),
    ]


def assert_same(found: Sequence[Annotation], expected: Sequence[Annotation]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.class_name, one.name) == (other.class_name, other.name)
        assert one.color == other.color
        for ring, same in zip(one.area, other.area, strict=True):
            np.testing.assert_array_equal(ring, same)


def test_annotations_come_back_to_the_last_digit(tmp_path: Path) -> None:
    write_annotations(tmp_path / "a.geojson", some_annotations())
    assert_same(read_annotations(tmp_path / "a.geojson"), some_annotations())


def test_qupaths_corner_is_taken_off_and_put_back_exactly(tmp_path: Path) -> None:
    bounds = Box(1234, 777, 10**5, 10**5)
    drawn = some_annotations((1234, 777))
    write_annotations(tmp_path / "a.geojson", drawn, bounds)
    assert_same(read_annotations(tmp_path / "a.geojson", bounds), drawn)
    shifted = read_annotations(tmp_path / "a.geojson")
    np.testing.assert_array_equal(shifted[2].area[0], [[0, 0], [5, 0], [5, 5]])


def test_the_file_is_what_qupath_takes(tmp_path: Path) -> None:
    write_annotations(
        tmp_path / "a.geojson", [*some_annotations()[1:], Annotation("plain", (np.eye(3, 2) * 8,))]
    )
    record = json.loads((tmp_path / "a.geojson").read_text(encoding="ascii"))
    assert record["type"] == "FeatureCollection"
    for feature in record["features"]:
        assert feature["properties"]["objectType"] == "annotation"
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
    assert "classification" not in record["features"][1]["properties"]
    assert record["features"][2]["properties"]["classification"] == {
        "name": "plain",
        "color": [128, 128, 128],
    }
    assert len({feature["id"] for feature in record["features"]}) == 3


def test_colours_of_older_qupaths_are_read(tmp_path: Path) -> None:
    packed = (200 << 16 | 10 << 8 | 30) - (1 << 24)
    ring = [[0, 0], [4, 0], [4, 4], [0, 0]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "Tumor", "colorRGB": packed}},
    }
    (tmp_path / "a.geojson").write_text(json.dumps(feature), encoding="utf-8")
    (found,) = read_annotations(tmp_path / "a.geojson")
    assert found.color == (200, 10, 30)


def test_no_annotations_are_a_file_too(tmp_path: Path) -> None:
    write_annotations(tmp_path / "a.geojson", [])
    assert read_annotations(tmp_path / "a.geojson") == ()


@pytest.mark.parametrize("ring", [np.zeros((2, 2)), np.zeros((4, 3)), np.full((3, 2), np.nan)])
def test_what_is_no_ring_is_refused(ring: np.ndarray) -> None:
    with pytest.raises(MaskError, match="three corners"):
        Annotation("A", (ring,))
