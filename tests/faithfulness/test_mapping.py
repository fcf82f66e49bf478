from __future__ import annotations

import cv2
import numpy as np
import pytest

from slidecam.faithfulness.mapping import cell_numbers, cell_sums, enlarged, ranks


def test_enlarging_is_what_opencv_calls_linear() -> None:
    grid = np.random.default_rng(0).random((7, 5), np.float32)
    expected = cv2.resize(grid, (64, 48), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(enlarged(grid, (48, 64)), expected, atol=1e-6)


def test_a_map_of_the_tiles_size_is_left_alone() -> None:
    grid = np.random.default_rng(0).random((9, 9), np.float32)
    assert enlarged(grid, (9, 9)) is grid


def test_the_highest_pixel_is_first_and_equals_go_row_by_row() -> None:
    values = np.array([[0, 2, 0], [5, 2, -1]], np.float32)
    np.testing.assert_array_equal(ranks(values), [[3, 1, 4], [0, 2, 5]])


@pytest.mark.parametrize(("size", "pixels"), [((28, 28), 4), ((64, 96), 24), ((17, 31), 2)])
def test_cells_are_equally_large_whatever_the_tile(size: tuple[int, int], pixels: int) -> None:
    counts = np.bincount(cell_numbers(size, 14).ravel(), minlength=197)
    assert set(counts[:196]) == {pixels}
    assert counts[196] == size[0] * size[1] - 196 * pixels


def test_the_border_that_is_left_lies_on_both_sides() -> None:
    along = cell_numbers((7, 7), 3)[3]
    np.testing.assert_array_equal(along, [3, 3, 4, 4, 5, 5, 9])


def test_sums_are_those_of_the_cells_pixels() -> None:
    values = np.random.default_rng(0).random((10, 13), np.float32)
    sums, numbers = cell_sums(values, 3), cell_numbers((10, 13), 3)
    for cell in range(9):
        assert sums[cell] == pytest.approx(values[numbers == cell].sum())
