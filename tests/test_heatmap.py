"""Maps of single tiles painted into one raster, against interpolation written out pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam import heatmap
from slidecam.geometry import Size
from slidecam.heatmap import Raster, Scale, TileMaps, paint_bands, plan_raster, slide_scale
from slidecam.store import RunStore, StorePlan, TileResults

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

UNIT = Scale(0.0, 1.0)


def tile_maps(folder: Path, boxes: list[list[int]], maps: NDArray[np.float64], step: int) -> TileMaps:
    count = len(boxes)
    rows = [np.arange(count)] if count else []
    plan = StorePlan(np.array(boxes, np.int64).reshape(-1, 4), rows, step, 1, (1, *maps.shape[1:]))
    store = RunStore.create(folder, plan)
    if count:
        ones = np.ones((count, 1), np.float32)
        store.commit(0, TileResults(ones, ones, maps[:, None].astype(np.float32), {}))
    assert store.maps is not None
    return TileMaps(store, store.maps)


def painted(maps: TileMaps, raster: Raster, scale: Scale = UNIT) -> NDArray[np.float32]:
    return np.concatenate(list(paint_bands(maps, raster, scale)), axis=1)


def by_definition(maps: TileMaps, raster: Raster) -> NDArray[np.float64]:
    """Sum over all cells of all tiles, one raster pixel at a time."""
    values, (_classes, rows, columns) = maps.read(np.arange(len(maps)))[:, 0], maps.shape
    out = np.full((raster.size.height, raster.size.width), np.nan)
    for j, i in np.ndindex(out.shape):
        x, y = (i + 0.5) * raster.pitch, (j + 0.5) * raster.pitch
        total = weight = 0.0
        inside = False
        for (left, top, width, height), tile in zip(maps.boxes, values, strict=True):
            inside |= bool(left <= x < left + width and top <= y < top + height)
            for r, c in np.ndindex(rows, columns):
                cell_x, cell_y = max(width / columns, raster.pitch), max(height / rows, raster.pitch)
                tent_x = max(0.0, 1 - abs(x - left - (c + 0.5) * width / columns) / cell_x)
                tent_y = max(0.0, 1 - abs(y - top - (r + 0.5) * height / rows) / cell_y)
                hann = np.sin(np.pi * (r + 0.5) / rows) ** 2 * np.sin(np.pi * (c + 0.5) / columns) ** 2
                share = tent_x * tent_y * (hann if maps.overlapping else 1.0)
                total += share * tile[r, c]
                weight += share
        if inside and weight:
            out[j, i] = total / weight
    return out


@pytest.mark.parametrize(
    ("boxes", "step"),
    [
        ([[0, 0, 40, 40], [40, 0, 40, 40], [0, 40, 40, 40]], 40),
        ([[3, 5, 40, 40], [23, 5, 40, 40], [3, 25, 40, 40], [23, 25, 40, 40]], 20),
        ([[-7, -9, 40, 40], [61, 47, 40, 40]], 40),
    ],
)
def test_painting_equals_its_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boxes: list[list[int]], step: int
) -> None:
    monkeypatch.setattr(heatmap, "BAND", 7)
    maps = tile_maps(tmp_path, boxes, np.random.default_rng(1).random((len(boxes), 4, 4)), step)
    raster = Raster(5, Size(18, 15))
    np.testing.assert_allclose(painted(maps, raster)[0], by_definition(maps, raster), atol=2e-6)


def test_background_is_not_a_number_and_not_zero(tmp_path: Path) -> None:
    maps = tile_maps(tmp_path, [[20, 0, 20, 20]], np.zeros((1, 2, 2)), 20)
    row = painted(maps, Raster(10, Size(6, 2)))[0, 0]
    assert np.isnan(row).tolist() == [True, True, False, False, True, True]
    assert row[2] == 0


def test_values_run_on_smoothly_over_a_border_between_tiles(tmp_path: Path) -> None:
    # One linear ramp, sampled by two abutting tiles: painted, it is the same ramp, with no step at the border.
    cells = (np.arange(8) + 0.5) / 8
    ramp = np.repeat(cells[None], 4, axis=0)
    maps = tile_maps(tmp_path, [[0, 0, 64, 64], [64, 0, 64, 64]], np.stack([ramp[:, :4], ramp[:, 4:]]), 64)
    line = painted(maps, Raster(4, Size(32, 16)))[0, 8, 4:-4]
    np.testing.assert_allclose(np.diff(line), 4 / 128, atol=1e-3)


def test_a_constant_map_stays_constant_whatever_the_overlap(tmp_path: Path) -> None:
    boxes = [[x, y, 32, 32] for x in (0, 8, 16, 24) for y in (0, 8, 16)]
    maps = tile_maps(tmp_path, boxes, np.full((12, 4, 4), 0.5), 8)
    np.testing.assert_allclose(painted(maps, Raster(4, Size(14, 12))), 0.5, atol=1e-6)


def test_one_scale_serves_the_whole_slide(tmp_path: Path) -> None:
    # A tile of weak activations next to a strong one stays weak; scaled by itself it would glow.
    maps = tile_maps(
        tmp_path, [[0, 0, 20, 20], [100, 0, 20, 20]], np.stack([np.full((2, 2), 0.1), np.full((2, 2), 8)]), 20
    )
    scale = slide_scale(maps)
    weak, strong = (painted(maps, Raster(10, Size(12, 2)), scale)[0, 0, i] for i in (0, 10))
    assert scale == Scale(0.0, 8.0)
    assert (weak, strong) == (pytest.approx(0.1 / 8, abs=1e-4), 1.0)


def test_a_slide_of_zeros_has_a_scale(tmp_path: Path) -> None:
    assert slide_scale(tile_maps(tmp_path, [[0, 0, 20, 20]], np.zeros((1, 2, 2)), 20)) == Scale(0.0, 1.0)


def test_a_slide_without_tiles_is_all_background(tmp_path: Path) -> None:
    maps = tile_maps(tmp_path, [], np.zeros((0, 7, 7)), 20)
    raster = plan_raster(maps, Size(300, 200))
    assert np.isnan(painted(maps, raster, slide_scale(maps))).all()


@pytest.mark.parametrize(("cells", "edge", "pitch"), [(7, 224, 8), (7, 448, 16), (16, 128, 4), (56, 224, 4), (7, 7, 1)])
def test_the_raster_is_about_28_pixels_to_a_tile(tmp_path: Path, cells: int, edge: int, pitch: int) -> None:
    maps = tile_maps(tmp_path, [[0, 0, edge, edge]], np.zeros((1, cells, cells)), edge)
    assert plan_raster(maps, Size(1000, 500)) == Raster(pitch, Size(-(-1000 // pitch), -(-500 // pitch)))


def test_failed_tiles_leave_a_hole(tmp_path: Path) -> None:
    plan = StorePlan(np.array([[0, 0, 8, 8], [8, 0, 8, 8]], np.int64), [np.arange(2)], 8, 1, (1, 2, 2))
    store = RunStore.create(tmp_path, plan)
    ones = np.ones((2, 1), np.float32)
    store.commit(0, TileResults(ones, ones, np.ones((2, 1, 2, 2), np.float32), {1: "broken"}))
    assert store.maps is not None
    row = painted(TileMaps(store, store.maps), Raster(8, Size(2, 1)))[0, 0]
    assert np.isnan(row).tolist() == [False, True]


def test_a_few_exploding_cells_do_not_set_the_scale(tmp_path: Path) -> None:
    cells = np.random.default_rng(2).random((10, 20, 20))
    cells[0, 0, 0] = 1000
    scale = slide_scale(tile_maps(tmp_path, [[40 * i, 0, 40, 40] for i in range(10)], cells, 40))
    assert 0.99 < scale.high < 1.01


def test_a_wide_slide_is_painted_in_thin_bands_that_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [[x, y, 32, 32] for x in (0, 16, 32) for y in (0, 16, 32)]
    maps = tile_maps(tmp_path, boxes, np.random.default_rng(4).random((9, 4, 4)), 16)
    raster = Raster(2, Size(32, 32))
    whole = painted(maps, raster)
    monkeypatch.setattr(heatmap, "BAND_VALUES", 32 * 5)
    monkeypatch.setattr(heatmap, "READ_VALUES", 40)
    bands = list(paint_bands(maps, raster, UNIT))
    assert {band.shape for band in bands} == {(1, 4, 32)}
    np.testing.assert_allclose(np.concatenate(bands, axis=1), whole, atol=1e-6)
