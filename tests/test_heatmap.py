"""Maps of single tiles painted into one raster, against interpolation written out by pixel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidecam.geometry import Size
from slidecam.heatmap import (
    Heatmap,
    PaintSpec,
    Raster,
    Scale,
    TileMaps,
    paint,
    painting,
    plan_raster,
    presence,
    slide_scales,
    slide_thresholds,
)
from slidecam.heatmap import maps as maps_module
from slidecam.store import RunStore, StorePlan, TileResults
from slidecam.thresholds import Threshold, threshold_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

UNIT = Scale(0.0, 1.0)


def run(
    folder: Path,
    boxes: list[list[int]],
    maps: NDArray[np.float64],
    step: int,
    probabilities: list[list[float]] | None = None,
) -> RunStore:
    """Return a finished run with raw ``maps`` (tiles, classes, height, width) by one method."""
    count = len(boxes)
    rows = [np.arange(count)] if count else []
    chances = np.ones((count, maps.shape[1]), np.float32)
    if probabilities is not None:
        chances = np.array(probabilities, np.float32)
    plan = StorePlan(
        np.array(boxes, np.int64).reshape(-1, 4), rows, step, chances.shape[1], (1, *maps.shape[1:])
    )
    store = RunStore.create(folder, plan)
    if count:
        store.commit(0, TileResults(chances, chances, maps[:, None].astype(np.float32), {}))
    return store


def tile_maps(
    folder: Path, boxes: list[list[int]], maps: NDArray[np.float64], step: int
) -> TileMaps:
    """Return the maps (tiles, height, width) of a run with one class that every tile is called."""
    store = run(folder, boxes, maps[:, None], step)
    assert store.maps is not None
    return TileMaps(store, store.maps)


def painted(maps: TileMaps, raster: Raster, scale: Scale = UNIT) -> NDArray[np.float32]:
    return np.concatenate(list(Heatmap(maps, raster, (scale,)).bands()), axis=1)


def painted_run(store: RunStore, slide: Size, spec: PaintSpec) -> NDArray[np.float32]:
    heatmap = paint(store, slide, spec)
    assert heatmap is not None
    return np.concatenate(list(heatmap.bands()), axis=1)


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
                cell_x, cell_y = (
                    max(width / columns, raster.pitch),
                    max(height / rows, raster.pitch),
                )
                tent_x = max(0.0, 1 - abs(x - left - (c + 0.5) * width / columns) / cell_x)
                tent_y = max(0.0, 1 - abs(y - top - (r + 0.5) * height / rows) / cell_y)
                hann = (
                    np.sin(np.pi * (r + 0.5) / rows) ** 2 * np.sin(np.pi * (c + 0.5) / columns) ** 2
                )
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
    monkeypatch.setattr(painting, "BAND", 7)
    maps = tile_maps(tmp_path, boxes, np.random.default_rng(1).random((len(boxes), 4, 4)), step)
    raster = Raster(5, Size(18, 15))
    np.testing.assert_allclose(painted(maps, raster)[0], by_definition(maps, raster), atol=2e-6)


def test_background_is_not_a_number_and_not_zero(tmp_path: Path) -> None:
    maps = tile_maps(tmp_path, [[20, 0, 20, 20]], np.zeros((1, 2, 2)), 20)
    row = painted(maps, Raster(10, Size(6, 2)))[0, 0]
    assert np.isnan(row).tolist() == [True, True, False, False, True, True]
    assert row[2] == 0


def test_values_run_on_smoothly_over_a_border_between_tiles(tmp_path: Path) -> None:
    # One linear ramp, sampled by two abutting tiles: painted, it is the same ramp, with no step at
    # the border.
    cells = (np.arange(8) + 0.5) / 8
    ramp = np.repeat(cells[None], 4, axis=0)
    maps = tile_maps(
        tmp_path, [[0, 0, 64, 64], [64, 0, 64, 64]], np.stack([ramp[:, :4], ramp[:, 4:]]), 64
    )
    line = painted(maps, Raster(4, Size(32, 16)))[0, 8, 4:-4]
    np.testing.assert_allclose(np.diff(line), 4 / 128, atol=1e-3)


def test_a_constant_map_stays_constant_whatever_the_overlap(tmp_path: Path) -> None:
    boxes = [[x, y, 32, 32] for x in (0, 8, 16, 24) for y in (0, 8, 16)]
    maps = tile_maps(tmp_path, boxes, np.full((12, 4, 4), 0.5), 8)
    np.testing.assert_allclose(painted(maps, Raster(4, Size(14, 12))), 0.5, atol=1e-6)


def test_one_scale_serves_the_whole_slide(tmp_path: Path) -> None:
    # A tile of weak activations next to a strong one stays weak; scaled by itself it would glow.
    maps = tile_maps(
        tmp_path,
        [[0, 0, 20, 20], [100, 0, 20, 20]],
        np.stack([np.full((2, 2), 0.1), np.full((2, 2), 8)]),
        20,
    )
    (scale,) = slide_scales(maps, PaintSpec())
    weak, strong = (painted(maps, Raster(10, Size(12, 2)), scale)[0, 0, i] for i in (0, 10))
    assert scale == Scale(0.0, 8.0, peak=8.0)
    assert (weak, strong) == (pytest.approx(0.1 / 8, abs=1e-4), 1.0)


def test_a_slide_of_zeros_has_a_scale(tmp_path: Path) -> None:
    maps = tile_maps(tmp_path, [[0, 0, 20, 20]], np.zeros((1, 2, 2)), 20)
    assert slide_scales(maps, PaintSpec()) == (Scale(0.0, 1.0, peak=0.0),)


def test_a_slide_without_tiles_is_all_background(tmp_path: Path) -> None:
    maps = tile_maps(tmp_path, [], np.zeros((0, 7, 7)), 20)
    raster = plan_raster(maps, Size(300, 200))
    assert np.isnan(painted(maps, raster, *slide_scales(maps, PaintSpec()))).all()


@pytest.mark.parametrize(
    ("cells", "edge", "pitch"), [(7, 224, 8), (7, 448, 16), (16, 128, 4), (56, 224, 4), (7, 7, 1)]
)
def test_the_raster_is_about_28_pixels_to_a_tile(
    tmp_path: Path, cells: int, edge: int, pitch: int
) -> None:
    maps = tile_maps(tmp_path, [[0, 0, edge, edge]], np.zeros((1, cells, cells)), edge)
    assert plan_raster(maps, Size(1000, 500)) == Raster(
        pitch, Size(-(-1000 // pitch), -(-500 // pitch))
    )


def test_failed_tiles_leave_a_hole(tmp_path: Path) -> None:
    plan = StorePlan(
        np.array([[0, 0, 8, 8], [8, 0, 8, 8]], np.int64), [np.arange(2)], 8, 1, (1, 1, 2, 2)
    )
    store = RunStore.create(tmp_path, plan)
    ones = np.ones((2, 1), np.float32)
    store.commit(0, TileResults(ones, ones, np.ones((2, 1, 1, 2, 2), np.float32), {1: "broken"}))
    assert store.maps is not None
    row = painted(TileMaps(store, store.maps), Raster(8, Size(2, 1)))[0, 0]
    assert np.isnan(row).tolist() == [False, True]


def test_a_few_exploding_cells_do_not_set_the_scale(tmp_path: Path) -> None:
    cells = np.random.default_rng(2).random((10, 20, 20))
    cells[0, 0, 0] = 1000
    maps = tile_maps(tmp_path, [[40 * i, 0, 40, 40] for i in range(10)], cells, 40)
    (scale,) = slide_scales(maps, PaintSpec())
    assert 0.99 < scale.high < 1.01


def test_a_wide_slide_is_painted_in_thin_bands_that_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [[x, y, 32, 32] for x in (0, 16, 32) for y in (0, 16, 32)]
    maps = tile_maps(tmp_path, boxes, np.random.default_rng(4).random((9, 4, 4)), 16)
    raster = Raster(2, Size(32, 32))
    whole = painted(maps, raster)
    monkeypatch.setattr(painting, "BAND_VALUES", 32 * 5)
    monkeypatch.setattr(maps_module, "READ_VALUES", 40)
    bands = list(Heatmap(maps, raster, (UNIT,)).bands())
    assert {band.shape for band in bands} == {(1, 4, 32)}
    np.testing.assert_allclose(np.concatenate(bands, axis=1), whole, atol=1e-6)


ROW = [[0, 0, 8, 8], [24, 0, 8, 8], [48, 0, 8, 8]]
"""Three tiles too far apart to run into each other; `CENTRES` are the columns of their centres."""
SLIDE, CENTRES = Size(56, 8), [4, 28, 52]


def levels(*values: tuple[float, ...]) -> NDArray[np.float64]:
    """Return one-cell maps (tiles, classes, 1, 1) of these values.

    A tuple per tile, a number per class.
    """
    return np.array(values)[:, :, None, None]


def test_the_presence_of_a_class_is_its_odds_against_what_was_called() -> None:
    three = np.array([[0.5, 0.3, 0.2], [0.1, 0.0, 0.9]], np.float32)
    assert presence(three, (1, 2), "softmax").ravel().tolist() == pytest.approx([0.6, 0.4, 0, 1])
    one = np.array([[0.5], [0.2], [1.0], [0.0]], np.float32)
    assert presence(one, (0,), "sigmoid").ravel().tolist() == pytest.approx([1, 0.25, 1, 0])
    assert presence(np.array([[-7.0]], np.float32), (0,), "none").tolist() == [[1.0]]


def test_the_scale_is_set_by_what_decided(tmp_path: Path) -> None:
    # The second class is strong, but no tile was called so: it must not press the first one down.
    maps = levels((4.0, 9.0), (2.0, 9.0), (1.0, 9.0))
    store = run(tmp_path, ROW, maps, 8, [[0.6, 0.4], [0.7, 0.3], [0.8, 0.2]])
    assert store.maps is not None
    first, second = slide_scales(TileMaps(store, store.maps), PaintSpec())
    assert first.high == pytest.approx(4, rel=0.01)
    assert second.high == pytest.approx(9 / (0.4 / 0.6), rel=1e-3)


def test_all_classes_share_the_scale_of_the_strongest_that_was_called(tmp_path: Path) -> None:
    store = run(
        tmp_path,
        ROW,
        levels((4.0, 9.0), (2.0, 9.0), (1.0, 9.0)),
        8,
        [[0.6, 0.4], [0.7, 0.3], [0.2, 0.8]],
    )
    assert store.maps is not None
    assert {scale.high for scale in slide_scales(TileMaps(store, store.maps), PaintSpec())} == {9.0}


def test_a_class_that_no_tile_is_called_is_nowhere_painted_above_its_best_tiles_odds(
    tmp_path: Path,
) -> None:
    # Its strongest cell is no other than those of a class that was called.
    maps = np.random.default_rng(0).random((3, 2, 4, 4))
    maps[1, 1, 2, 2] = 30
    values = painted_run(
        run(tmp_path, ROW, maps, 8, [[0.9, 0.1], [0.8, 0.2], [0.9, 0.1]]), SLIDE, PaintSpec()
    )
    assert 0.1 < np.nanmax(values[1]) <= 0.25 + 1e-6


def test_a_lesion_in_one_tile_of_a_thousand_is_not_drowned_by_the_noise_of_the_others(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((1000, 1, 2, 2)) * 0.2
    maps[500] = 5
    chances = [[0.01]] * 500 + [[0.99]] + [[0.01]] * 499
    boxes = [[8 * index, 0, 8, 8] for index in range(1000)]
    values = painted_run(
        run(tmp_path, boxes, maps, 8, chances), Size(8000, 8), PaintSpec(activation="sigmoid")
    )
    assert values[0, 4, 4004] == 1.0
    assert np.nanmax(values[0, :, :3900]) < 0.05


@pytest.mark.parametrize("signed", [False, True])
def test_a_slide_without_the_class_shows_none_of_it_on_its_own_scale(
    tmp_path: Path, *, signed: bool
) -> None:
    # Noise alone, of any size: what decides is that no tile was called so.
    maps = np.random.default_rng(0).random((3, 1, 2, 2)) * 1e-3
    present, absent = ([[0.9], [0.02], [0.01]], [[0.019], [0.02], [0.01]])
    spec = PaintSpec(activation="sigmoid", signed=signed)
    glowing, dark = (
        painted_run(run(tmp_path / name, ROW, maps, 8, chances), SLIDE, spec)
        for name, chances in (("with", present), ("without", absent))
    )
    assert np.nanmax(glowing) == 1.0
    assert 0 < np.nanmax(np.abs(dark)) <= 0.03


def test_a_class_that_cannot_be_is_painted_as_nothing_and_its_scale_is_finite(
    tmp_path: Path,
) -> None:
    store = run(tmp_path, ROW, levels((3.0, 1.0), (2.0, 1.0), (1.0, 1.0)), 8, [[1.0, 0.0]] * 3)
    heatmap = paint(store, SLIDE)
    assert heatmap is not None
    assert np.isfinite(heatmap.scales[1].high)
    assert np.nanmax(np.concatenate(list(heatmap.bands()), axis=1)[1]) < 1e-5


def test_a_signed_map_is_painted_from_minus_one_to_one_with_nothing_at_0(tmp_path: Path) -> None:
    store = run(tmp_path, ROW, levels((-6.0,), (0.0,), (3.0,)), 8)
    centres = painted_run(store, SLIDE, PaintSpec(signed=True, fixed=(-6.0, 6.0)))[0, 4, CENTRES]
    np.testing.assert_allclose(centres, [-1, 0, 0.5], atol=1e-3)
    unsigned = painted_run(store, SLIDE, PaintSpec(fixed=(0.0, 6.0)))[0, 4, CENTRES]
    np.testing.assert_allclose(unsigned, [0, 0, 0.5], atol=1e-3)


def test_the_own_scale_of_a_signed_map_is_set_by_its_largest_size(tmp_path: Path) -> None:
    store = run(tmp_path, ROW, levels((-6.0,), (0.0,), (3.0,)), 8)
    assert store.maps is not None
    (scale,) = slide_scales(TileMaps(store, store.maps), PaintSpec(signed=True))
    assert scale.low == 0
    assert scale.high == pytest.approx(6, rel=0.02)


def test_a_fixed_scale_is_the_same_whatever_the_slide_holds(tmp_path: Path) -> None:
    spec = PaintSpec(fixed=(1.0, 5.0))
    for name, strongest in (("strong", 50.0), ("weak", 1.5)):
        store = run(tmp_path / name, ROW, levels((3.0,), (1.0,), (strongest,)), 8, [[0.2]] * 3)
        row = painted_run(store, SLIDE, spec)[0, 4, CENTRES]
        np.testing.assert_allclose(row, [0.5, 0, min(1, (strongest - 1) / 4)], atol=0.01)


def test_only_the_named_classes_decide_for_their_maps(tmp_path: Path) -> None:
    store = run(
        tmp_path, ROW, levels((4.0,), (2.0,), (1.0,)), 8, [[0.1, 0.9], [0.8, 0.2], [0.9, 0.1]]
    )
    assert store.maps is not None
    (scale,) = slide_scales(TileMaps(store, store.maps), PaintSpec(classes=(1,)))
    assert scale.high == pytest.approx(4, rel=0.01)


def test_below_a_slides_threshold_nothing_is_painted_and_above_it_all_is(tmp_path: Path) -> None:
    cells = np.random.default_rng(3).random((3, 1, 4, 4)) * 4
    store = run(tmp_path, ROW, cells, 8)
    rule, plain = Threshold("mean", 0.5), painted_run(store, SLIDE, PaintSpec(fixed=(0.0, 4.0)))
    cut = painted_run(store, SLIDE, PaintSpec(fixed=(0.0, 4.0), threshold=rule))
    limit = threshold_of(np.asarray(cells, np.float16), rule) / 4
    np.testing.assert_allclose(cut, np.where(plain < limit, 0, plain), atol=1e-6)
    assert 0.1 < (cut[:, :, :8] > 0).mean() < 0.6


def test_each_class_has_a_slides_threshold_of_its_own(tmp_path: Path) -> None:
    store = run(tmp_path, ROW, levels((1.0, 10.0), (2.0, 20.0), (3.0, 30.0)), 8)
    assert store.maps is not None
    assert slide_thresholds(TileMaps(store, store.maps), Threshold("fraction", 0.5)) == (1.5, 15.0)


def test_a_tiles_threshold_leaves_something_in_every_tile_and_a_slides_does_not(
    tmp_path: Path,
) -> None:
    weak, strong = np.array([[0.1, 0.2], [0.1, 0.1]]), np.array([[8.0, 4.0], [1.0, 1.0]])
    store = run(tmp_path, ROW, np.stack([weak, strong, weak])[:, None], 8)
    half = Threshold("fraction", 0.75)
    on_slide, in_tile = (
        painted_run(store, SLIDE, PaintSpec(fixed=(0.0, 8.0), threshold=half, scope=scope))[
            0, :, :6
        ]
        for scope in ("slide", "tile")
    )
    assert not on_slide.any()
    assert in_tile.any()


def test_a_thresholds_background_stays_not_a_number(tmp_path: Path) -> None:
    store = run(tmp_path, ROW[:1], levels((1.0,)), 8)
    for scope in ("slide", "tile"):
        values = painted_run(store, SLIDE, PaintSpec(threshold=Threshold("otsu"), scope=scope))[
            0, 0
        ]
        assert np.isnan(values[8:]).all()
        assert values[:8].tolist() == [1.0] * 8


def test_a_picture_that_is_one_tile_is_painted_finely_whatever_its_shape(tmp_path: Path) -> None:
    maps = tile_maps(tmp_path, [[0, 0, 900, 300]], np.zeros((1, 7, 7)), 900)
    raster = plan_raster(maps, Size(900, 300))
    assert raster == Raster(4, Size(225, 75))
    assert painted(maps, raster).shape == (1, 75, 225)
    assert not np.isnan(painted(maps, raster)).any()


def test_the_methods_of_a_run_are_painted_each_from_its_own_maps(tmp_path: Path) -> None:
    plan = StorePlan(np.array(ROW[:1], np.int64), [np.arange(1)], 8, 1, (2, 1, 1, 1))
    store = RunStore.create(tmp_path, plan)
    one = np.ones((1, 1), np.float32)
    store.commit(
        0, TileResults(one, one, np.array([1.0, -3.0], np.float32).reshape(1, 2, 1, 1, 1), {})
    )
    first, second = (
        painted_run(store, Size(8, 8), PaintSpec(method, signed=True, fixed=(-4.0, 4.0)))
        for method in (0, 1)
    )
    assert (float(first.mean()), float(second.mean())) == (0.25, -0.75)


def test_tiles_that_are_streamed_in_another_order_keep_their_own_places(tmp_path: Path) -> None:
    boxes = np.array([[8 * place, 0, 8, 8] for place in range(5)], np.int64)
    batches = [np.array([3, 0]), np.array([4, 1, 2])]
    store = RunStore.create(tmp_path, StorePlan(boxes, batches, 8, 1, (1, 1, 1, 1)))
    for number, rows in enumerate(batches):
        shares = np.asarray((rows + 1)[:, None] / 7, np.float32)
        maps = shares[:, :, None, None, None]
        store.commit(number, TileResults(shares, shares, maps, {}))
    assert store.maps is not None
    found = TileMaps(store, store.maps)
    np.testing.assert_array_equal(found.boxes[:, 0], np.array([3, 0, 4, 1, 2]) * 8)
    np.testing.assert_allclose(found.probabilities[:, 0], np.array([4, 1, 5, 2, 3]) / 7)
    row = painted(found, Raster(8, Size(5, 1)))[0, 0]
    np.testing.assert_allclose(row, np.arange(1, 6) / 7, atol=1e-3)


@pytest.mark.parametrize("count", [1, 6, 7, 8, 13, 20, 21, 22])
def test_as_many_tiles_are_spread_as_one_read_takes(count: int) -> None:
    read: Any = SimpleNamespace(per_read=7)
    spread = TileMaps.spread(read, np.arange(count))
    assert min(count, 4) <= len(spread) <= 7
    assert len({*np.diff(spread).tolist()}) <= 1


@given(probability=st.floats(0, 1, width=32), threshold=st.floats(0.02, 0.98))
def test_the_presence_of_a_sigmoid_is_its_odds_against_those_of_its_threshold(
    probability: float, threshold: float
) -> None:
    found = presence(np.array([[probability]], np.float32), (0,), "sigmoid", (threshold,))
    odds = np.inf if probability == 1 else probability / (1 - probability)
    expected = min(1.0, odds / (threshold / (1 - threshold)))
    assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("edge", [41, 43, 57, 69, 71, 97])
def test_a_raster_pixel_is_the_nearest_to_a_twenty_eighth_of_a_tile(
    tmp_path: Path, edge: int
) -> None:
    maps = tile_maps(tmp_path, [[0, 0, edge, edge]], np.ones((1, 7, 7)), edge)
    assert abs(plan_raster(maps, Size(500, 300)).pitch - edge / 28) <= 0.5


@pytest.mark.parametrize("fixed", [(-4.3, 2.1), (-2.1, 4.3)])
def test_of_a_signed_methods_fixed_values_the_larger_is_painted_as_1(
    tmp_path: Path, fixed: tuple[float, float]
) -> None:
    maps = tile_maps(tmp_path, [[0, 0, 8, 8]], np.ones((1, 2, 2)), 8)
    (scale,) = slide_scales(maps, PaintSpec(signed=True, fixed=fixed))
    assert (scale.low, scale.high) == (0.0, 4.3)
