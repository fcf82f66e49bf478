"""A map on the pixels of its tile."""

from __future__ import annotations

import cv2
import numpy as np

from slidecam.faithfulness.mapping import enlarged


def test_enlarging_is_what_opencv_calls_linear() -> None:
    grid = np.random.default_rng(0).random((7, 5), np.float32)
    expected = cv2.resize(grid, (64, 48), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(enlarged(grid, (48, 64)), expected, atol=1e-6)


def test_a_map_of_the_tiles_size_is_left_alone() -> None:
    grid = np.random.default_rng(0).random((9, 9), np.float32)
    assert enlarged(grid, (9, 9)) is grid
