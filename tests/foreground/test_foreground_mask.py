"""The mask as data: shares of boxes and points against slow, obvious references."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slidecam.foreground import Foreground, whole_slide
from slidecam.geometry import Size

Boxes = list[tuple[int, int, int, int]]
SIDES = st.tuples(st.integers(1, 7), st.integers(1, 7))


def slow_share(mask: np.ndarray, size: Size, box: tuple[int, int, int, int]) -> float:
    """Add up, mask pixel by mask pixel, the area that a box shares with tissue."""
    rows, columns = mask.shape
    x, y, width, height = box
    tissue = 0.0
    for row, column in np.argwhere(mask):
        left, right = column * size.width / columns, (column + 1) * size.width / columns
        top, bottom = row * size.height / rows, (row + 1) * size.height / rows
        across = max(0.0, min(right, x + width) - max(left, x))
        down = max(0.0, min(bottom, y + height) - max(top, y))
        tissue += across * down
    return tissue / (width * height)


@settings(deadline=None)  # a loaded machine is no failure
@given(
    mask=arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 7))),
    size=st.builds(Size, st.integers(1, 40), st.integers(1, 40)),
    box=st.tuples(
        st.integers(-30, 45), st.integers(-30, 45), st.integers(1, 60), st.integers(1, 60)
    ),
)
def test_coverage_is_the_area_that_a_box_shares_with_tissue(
    mask: np.ndarray, size: Size, box: tuple[int, int, int, int]
) -> None:
    share = Foreground(mask, size, "test").coverage(np.array([box], np.int64))
    np.testing.assert_allclose(share, [slow_share(mask, size, box)], atol=1e-9)


def test_a_box_that_overhangs_the_slide_counts_its_outside_as_glass() -> None:
    boxes = np.array(
        [[0, 0, 10, 10], [-5, 0, 10, 10], [95, 45, 10, 10], [200, 0, 10, 10]], np.int64
    )
    np.testing.assert_allclose(whole_slide(Size(100, 50)).coverage(boxes), [1.0, 0.5, 0.25, 0.0])


def test_no_boxes_have_no_coverage() -> None:
    assert whole_slide(Size(10, 10)).coverage(np.empty((0, 4), np.int64)).shape == (0,)


def test_points_are_on_tissue_by_the_mask_pixel_they_lie_in() -> None:
    foreground = Foreground(np.array([[False, True]]), Size(10, 4), "test")
    points = np.array([[4.9, 0], [5.0, 0], [9.9, 3.9], [10, 0], [7, -0.1], [7, 4]])
    assert foreground.contains(points).tolist() == [False, True, True, False, False, False]


def test_share_is_that_of_the_slide() -> None:
    assert Foreground(np.array([[True, False], [False, False]]), Size(9, 9), "test").share == 0.25
    assert whole_slide(Size(3, 2)).share == 1.0


@given(
    mask=arrays(np.bool_, SIDES, elements=st.booleans(), fill=st.nothing()),
    size=st.builds(Size, st.integers(1, 40), st.integers(1, 40)),
    points=st.lists(st.tuples(*[st.integers(-9, 170)] * 2), min_size=5, max_size=20),
)
def test_a_point_is_on_tissue_where_the_mask_pixel_that_holds_it_is(
    mask: np.ndarray, size: Size, points: list[tuple[int, int]]
) -> None:
    quarters = np.array(points, np.float64).reshape(-1, 2) / 4 + 1 / 64
    found = Foreground(mask, size, "test").contains(quarters)
    for (x, y), told in zip(quarters.tolist(), found.tolist(), strict=True):
        inside = 0 <= x < size.width and 0 <= y < size.height
        row, column = int(y * mask.shape[0] // size.height), int(x * mask.shape[1] // size.width)
        assert told == (inside and bool(mask[row, column]))
