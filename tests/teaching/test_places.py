"""Tiles that touch are one place, and large places come in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from slidecam.teaching.places import BLOCK, places_of


@pytest.mark.parametrize("step", [10, 5])
def test_tiles_that_touch_are_one_place(step: int) -> None:
    rng = np.random.default_rng(step)
    corners = np.unique(rng.integers(0, 60, (45, 2)), axis=0) * step
    boxes = np.concatenate([corners, np.full_like(corners, 10)], axis=1)
    group = list(range(len(boxes)))
    for _round in boxes:
        for i, (x, y, _w, _h) in enumerate(boxes.tolist()):
            for j, (u, v, _a, _b) in enumerate(boxes.tolist()):
                if abs(x - u) <= 10 and abs(y - v) <= 10:
                    group[i] = group[j] = min(group[i], group[j])
    found = places_of(boxes)
    for i in range(len(boxes)):
        for j in range(i):
            near = np.abs(boxes[i, :2] - boxes[j, :2]).max() < BLOCK * 10
            if found[i] == found[j]:
                assert group[i] == group[j]
                assert near
    assert len(set(found.tolist())) >= len(set(group))


def test_a_large_area_is_cut_into_pieces() -> None:
    y, x = (axis.ravel() for axis in np.mgrid[0:8, 0:10])
    boxes = np.stack([x * 10 + 3, y * 10 + 7, np.full(80, 10), np.full(80, 10)], axis=1)
    found = places_of(boxes)
    assert len(set(found.tolist())) == 2 * 3
    for place in set(found.tolist()):
        assert np.ptp(x[found == place]) < BLOCK
        assert np.ptp(y[found == place]) < BLOCK


def test_no_tile_is_in_no_place() -> None:
    assert places_of(np.zeros((0, 4), np.int64)).tolist() == []
