"""Cells laid out in the plane; what is written is tested with the training that writes it."""

from __future__ import annotations

import numpy as np

from slidecam.learning.cells.report import plane_of


def test_classes_that_lie_apart_stay_apart_and_the_layout_is_the_same_each_time() -> None:
    lot, labels = np.random.default_rng(0), np.arange(30) % 2
    vectors = (lot.normal(size=(30, 8)) + 12 * labels[:, None]).astype(np.float32)
    plane, again = plane_of(vectors, labels), plane_of(vectors, labels)
    assert plane is not None
    assert again is not None
    assert np.array_equal(plane.points, again.points)
    assert np.array_equal(plane.labels, labels)
    centres = [plane.points[labels == index].mean(0) for index in (0, 1)]
    spread = max(plane.points[labels == index].std() for index in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


def test_too_few_cells_are_not_laid_out() -> None:
    assert plane_of(np.zeros((7, 3), np.float32), np.zeros(7, np.int64)) is None
