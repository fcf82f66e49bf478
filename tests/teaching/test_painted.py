"""Painted labels become areas and the same labels again, whatever their shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from shapely.geometry import Polygon

from slidecam.errors import UsageError
from slidecam.teaching import PaintedLabels, paint_labels, read_annotations, write_annotations

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = {1: "A", 2: "B"}
PLACE = (3.7, 1.3), (1001.3, -7.25)


@settings(deadline=None, max_examples=150)
@given(arrays(np.int8, (7, 8), elements=st.integers(0, 2)))
def test_any_painting_comes_back_exactly(labels: NDArray[np.int8]) -> None:
    painted = PaintedLabels(labels, CLASSES, *PLACE)
    again = paint_labels(painted.annotations(), CLASSES, (7, 8), *PLACE)
    np.testing.assert_array_equal(again.labels, labels)


@settings(deadline=None, max_examples=80)
@given(arrays(np.int8, (6, 6), elements=st.integers(0, 1)))
def test_every_outline_is_a_valid_polygon_of_the_right_area(labels: NDArray[np.int8]) -> None:
    annotations = PaintedLabels(labels, CLASSES).annotations()
    assert len(annotations) == ndimage.label(labels)[1]
    polygons = [Polygon(each.area[0], each.area[1:]) for each in annotations]
    assert all(polygon.is_valid for polygon in polygons)
    assert sum(polygon.area for polygon in polygons) == pytest.approx(int(labels.sum()))


def test_a_ring_has_a_hole_and_only_its_corners(tmp_path: Path) -> None:
    labels = np.ones((4, 5), np.int64)
    labels[1:3, 1:4] = 0
    (found,) = PaintedLabels(labels, CLASSES, (10, 10), (100, 0), {"A": (9, 8, 7)}).annotations()
    assert [len(ring) for ring in found.area] == [4, 4]
    assert found.color == (9, 8, 7)
    assert {tuple(corner) for corner in found.area[0].tolist()} == {
        (100, 0),
        (150, 0),
        (150, 40),
        (100, 40),
    }
    write_annotations(tmp_path / "a.geojson", [found])
    again = paint_labels(
        read_annotations(tmp_path / "a.geojson"), CLASSES, (4, 5), (10, 10), (100, 0)
    )
    np.testing.assert_array_equal(again.labels, labels)
    assert again.colors == {"A": (9, 8, 7)}


def test_a_label_without_a_class_is_refused() -> None:
    with pytest.raises(UsageError, match="label 3 was painted"):
        PaintedLabels(np.array([[0, 3]]), CLASSES)
    with pytest.raises(UsageError, match="whole numbers"):
        PaintedLabels(np.zeros((2, 2)), CLASSES)  # type: ignore[arg-type]
