"""Places: what a raster covers on the slide is what it covers in napari's world."""

from __future__ import annotations

import numpy as np
import pytest

from slidecam.geometry import Spacing
from slidecam.plugin.placing import NO_TILE, CellGrid, Placing


def edges(placed: dict[str, tuple[float, float]], shape: tuple[int, int]) -> list[float]:
    """Return top, left, bottom, right of a raster in napari's world.

    Napari draws a pixel around its translate.
    """
    scale, translate = np.array(placed["scale"]), np.array(placed["translate"])
    return [*(translate - scale / 2), *(translate + scale * (np.array(shape) - 0.5))]


def test_a_coarse_raster_covers_exactly_the_level_0_pixels_that_it_stands_for() -> None:
    placing = Placing(Spacing(0.5, 0.25))
    fine = edges(placing.raster(), (200, 100))
    coarse = edges(placing.raster((10, 20)), (10, 10))
    assert coarse == pytest.approx(fine)


def test_pixels_to_the_world_and_back() -> None:
    placing = Placing(Spacing(0.5, 0.25))
    points = np.array([[0.0, 0.0], [10.5, 20.5], [3.25, 7.75]])
    np.testing.assert_allclose(placing.to_pixels(placing.to_world(points)), points)
    assert placing.to_world(np.array([0.5, 0.5])).tolist() == [[0.0, 0.0]], (
        "the first pixel's centre is the origin"
    )


def test_without_a_spacing_there_are_no_units_and_none_is_guessed() -> None:
    placed = Placing(None).raster()
    assert "units" not in placed
    assert placed["scale"] == (1.0, 1.0)
    assert Placing(Spacing(0.5, 0.5)).raster()["units"] == ("um", "um")


def grid(step: int, tile: int = 64) -> CellGrid:
    x, y = np.meshgrid(32 + step * np.arange(5), 16 + step * np.arange(3))
    boxes = np.stack([x.ravel(), y.ravel(), np.full(15, tile), np.full(15, tile)], axis=1).astype(
        np.int64
    )
    return CellGrid(boxes[[14, 0, 3, 7]], (step, step))


@pytest.mark.parametrize("step", [64, 32, 16])
def test_every_tile_is_found_at_its_centre_and_its_cell_lies_around_it(step: int) -> None:
    cells = grid(step)
    placed = cells.placed(Placing(None))
    for row, (x, y, width, height) in enumerate(cells.boxes.tolist()):
        assert cells.tile_at(x + width / 2, y + height / 2) == row
        world = np.array(cells.places)[:, row] * placed["scale"] + placed["translate"]
        assert world.tolist() == [y + height / 2 - 0.5, x + width / 2 - 0.5]


def test_off_the_grid_and_between_tiles_there_is_none() -> None:
    cells = grid(64)
    assert cells.tile_at(-5, 20) == NO_TILE
    assert cells.tile_at(1e6, 20) == NO_TILE
    missing = (32 + 64 * 1 + 32, 16 + 32)
    assert cells.tile_at(*missing) == NO_TILE


def test_where_tiles_do_not_overlap_a_cell_is_the_tile_itself() -> None:
    cells = grid(64)
    for row, (x, y, width, height) in enumerate(cells.boxes.tolist()):
        corners = [(x + 0.01, y + 0.01), (x + width - 0.01, y + height - 0.01)]
        assert [cells.tile_at(*corner) for corner in corners] == [row, row]


def test_no_tile_at_all_is_one_empty_cell() -> None:
    cells = CellGrid(np.zeros((0, 4), np.int64), (64, 64))
    assert cells.shape == (1, 1)
    assert cells.tile_at(0, 0) == NO_TILE
