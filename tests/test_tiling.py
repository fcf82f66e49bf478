"""Where tiles lie, against arithmetic written out by hand."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from shapely import Point
from shapely.geometry import box as rectangle
from shapely.ops import unary_union

from slidecam.errors import TilingError
from slidecam.foreground import Foreground, VolumeForeground
from slidecam.geometry import Box, Size, Spacing
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid
from slidecam.tiling import (
    TilingSpec,
    lay_again,
    lay_at,
    lay_grid,
    lay_whole,
    shape_readings,
)
from slidecam.volume_tiling import lay_planes, lay_tiles_on_planes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from conftest import MakeSource
    from slidecam.sources import SourceFacts

SPEC = TilingSpec(tile_px=100, spacing=0.5, input_px=100)
HALF = Spacing(0.5, 0.5)


def everywhere(width: int, height: int) -> Foreground:
    return Foreground(np.ones((4, 4), np.bool_), Size(width, height), "everywhere")


def blank(width: int, height: int) -> NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


def spec(**changes: object) -> TilingSpec:
    return TilingSpec(**{**SPEC.__dict__, **changes})


def test_padded_tiles_cover_the_slide_row_by_row(array_source: MakeSource) -> None:
    grid = lay_grid(array_source(blank(250, 150)).facts, HALF, everywhere(250, 150), SPEC)
    assert grid.boxes[:, :2].tolist() == [
        [0, 0],
        [100, 0],
        [200, 0],
        [0, 100],
        [100, 100],
        [200, 100],
    ]


def test_dropping_leaves_overhanging_tiles_out(array_source: MakeSource) -> None:
    grid = lay_grid(
        array_source(blank(250, 150)).facts, HALF, everywhere(250, 150), spec(edge="drop")
    )
    assert grid.boxes.tolist() == [[0, 0, 100, 100], [100, 0, 100, 100]]


def test_with_overlap_no_padded_tile_repeats_only_what_its_neighbour_has(
    array_source: MakeSource,
) -> None:
    grid = lay_grid(
        array_source(blank(200, 100)).facts, HALF, everywhere(200, 100), spec(overlap=0.5)
    )
    assert grid.boxes[:, 0].tolist() == [0, 50, 100]


def test_tiles_start_at_the_corner_of_the_scanned_bounds(array_source: MakeSource) -> None:
    facts = array_source(blank(400, 400), bounds=Box(30, 40, 200, 100)).facts
    grid = lay_grid(facts, HALF, everywhere(400, 400), SPEC)
    assert grid.boxes[:, :2].tolist() == [[30, 40], [130, 40]]


@pytest.mark.parametrize(
    ("mpp", "edge", "level"), [(0.5, 100, 0), (0.25, 200, 1), (1.0, 50, 0), (0.125, 400, 2)]
)
def test_a_tile_is_as_many_level_0_pixels_as_its_microns_need(
    array_source: MakeSource, mpp: float, edge: int, level: int
) -> None:
    facts = array_source(blank(800, 800), downsamples=(1, 2, 4)).facts
    grid = lay_grid(facts, Spacing(mpp, mpp), everywhere(800, 800), SPEC)
    assert (grid.edge, grid.level.index) == (edge, level)


def test_a_tile_stays_where_enough_of_it_is_tissue(array_source: MakeSource) -> None:
    quarter = Foreground(np.array([[True, False, False, False]]), Size(400, 200), "left quarter")
    facts = array_source(blank(400, 200)).facts
    assert lay_grid(facts, HALF, quarter, spec(min_tissue=1.0)).boxes[:, 0].tolist() == [0, 0]
    half_covered = lay_grid(facts, HALF, quarter, spec(tile_px=200, min_tissue=0.5))
    assert half_covered.boxes[:, 0].tolist() == [0]
    assert len(lay_grid(facts, HALF, quarter, spec(tile_px=200, min_tissue=0.51))) == 0


def test_no_tissue_no_tile_even_when_none_is_asked_for(array_source: MakeSource) -> None:
    nothing = Foreground(np.zeros((2, 2), np.bool_), Size(200, 200), "nothing")
    grid = lay_grid(array_source(blank(200, 200)).facts, HALF, nothing, spec(min_tissue=0.0))
    assert (len(grid), grid.candidates) == (0, 4)


def test_the_wsinfer_grid_is_its_formula_on_a_spacing_that_does_not_divide(
    array_source: MakeSource,
) -> None:
    width, height, mpp, overlap = 1013, 757, 0.4991, 0.25
    facts = array_source(blank(width, height)).facts
    mask = np.random.default_rng(3).random((757, 1013)) < 0.5
    foreground = Foreground(mask, Size(width, height), "speckle")
    wsinfer = spec(tile_px=96, spacing=1.0, grid="wsinfer", overlap=overlap)
    patch = round(96 * 1.0 / mpp)
    half, step = round(patch / 2), round((1 - overlap) * patch)
    expected = [
        [x - half, y - half, patch, patch]
        for x in range(half, width, step)
        for y in range(half, height, step)
        if mask[y, x]
    ]
    assert lay_grid(facts, Spacing(mpp, mpp), foreground, wsinfer).boxes.tolist() == expected
    assert 0 < len(expected) < 30


@given(
    tile_px=st.integers(20, 200),
    spacing=st.floats(0.2, 1.0),
    mpp=st.tuples(st.floats(0.3, 1.0), st.floats(0.3, 1.0)),
    overlap=st.floats(0, 0.8),
    grid=st.sampled_from(["slidecam", "wsinfer"]),
)
@example(tile_px=96, spacing=0.5, mpp=(0.2886, 0.2886), overlap=0.3, grid="slidecam")
@example(tile_px=99, spacing=0.5, mpp=(0.5, 0.5), overlap=0.25, grid="wsinfer")
@example(tile_px=99, spacing=0.5, mpp=(0.4998, 0.5002), overlap=0.25, grid="wsinfer")
@example(tile_px=128, spacing=0.5, mpp=(0.7, 0.35), overlap=0.5, grid="slidecam")
def test_tiles_have_the_nearest_whole_edge_and_step_on_any_spacing(
    array_source: MakeSource,
    tile_px: int,
    spacing: float,
    mpp: tuple[float, float],
    overlap: float,
    grid: str,
) -> None:
    facts = array_source(blank(900, 700)).facts
    asked = spec(tile_px=tile_px, spacing=spacing, overlap=overlap, grid=grid)
    # Axes that agree to a thousandth are taken for their mean, as they always were.
    alike = abs(mpp[0] - mpp[1]) <= 1e-3 * max(mpp)
    if grid == "wsinfer" and not alike:
        with pytest.raises(TilingError, match="WSInfer's grid is one of square pixels"):
            lay_grid(facts, Spacing(*mpp), everywhere(900, 700), asked)
        return
    laid = lay_grid(facts, Spacing(*mpp), everywhere(900, 700), asked)
    for axis, own in enumerate(mpp):
        exact = tile_px * spacing / (sum(mpp) / 2 if alike else own)
        (edge,) = {*laid.boxes[:, 2 + axis].tolist()} or {round(exact)}
        assert abs(edge - exact) <= 0.5 * (1 + 1e-9)
        assert abs(laid.steps[axis] - (1 - overlap) * edge) <= 0.5 * (1 + 1e-9)
        places = np.unique(laid.boxes[:, axis])
        assert {*np.diff(places).tolist()} <= {laid.steps[axis]}
    if alike and len(laid):
        assert {*laid.boxes[:, 2:].ravel().tolist()} == {laid.edge}
    # WSInfer rounds half an odd edge to the even neighbour: 99 / 2 is 50, 97 / 2 is 48.
    first = Decimal(laid.edge) / 2 if grid == "wsinfer" else Decimal(0)
    half = int(first.to_integral_value(ROUND_HALF_EVEN))
    if len(laid):
        assert laid.boxes[:, :2].min(axis=0).tolist() == [0, 0]
    if grid == "wsinfer":
        assert laid.candidates == len(range(half, 900, laid.step)) * len(
            range(half, 700, laid.step)
        )


@pytest.mark.parametrize("edge", [95, 96, 97, 98, 99])
def test_the_wsinfer_grid_looks_for_tissue_half_an_edge_rounded_to_even_from_the_corner(
    array_source: MakeSource, edge: int
) -> None:
    half = {95: 48, 96: 48, 97: 48, 98: 49, 99: 50}[edge]
    mask = np.zeros((300, 300), np.bool_)
    mask[half, half + edge] = True
    there = Foreground(mask, Size(300, 300), "one pixel")
    laid = lay_grid(
        array_source(blank(300, 300)).facts, HALF, there, spec(tile_px=edge, grid="wsinfer")
    )
    assert laid.boxes.tolist() == [[edge, 0, edge, edge]]


def starts_of(first: int, end: int, edge: int, step: int, policy: str) -> list[int]:
    """Return where tiles start, one after the other, by what each of them holds."""
    starts: list[int] = []
    start = first
    while policy == "drop" and start + edge <= end:
        starts.append(start)
        start += step
    # A padded tile must hold a pixel that its predecessor does not reach.
    while policy == "pad" and (not starts or starts[-1] + edge < end):
        starts.append(start)
        start += step
    return starts


@given(
    edge=st.integers(3, 40),
    tiles=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    rest=st.tuples(*[st.one_of(st.integers(-1, 3), st.integers(-40, -1))] * 2),
    corner=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    overlap=st.floats(0, 0.6),
    policy=st.sampled_from(["pad", "drop"]),
)
def test_tiles_start_where_a_walk_along_the_bounds_comes_to(
    array_source: MakeSource,
    edge: int,
    tiles: tuple[int, int],
    rest: tuple[int, int],
    corner: tuple[int, int],
    overlap: float,
    policy: str,
) -> None:
    step = max(1, round((1 - overlap) * edge))
    # The bounds end with a tile, a pixel or some away from that, or within their first tile.
    wide, high = (
        max(1, edge + count * step + pixels) for count, pixels in zip(tiles, rest, strict=True)
    )
    bounds = Box(*corner, wide, high)
    facts = array_source(blank(300, 290), bounds=bounds).facts
    asked = spec(tile_px=edge, overlap=overlap, edge=policy)
    laid = lay_grid(facts, HALF, everywhere(300, 290), asked)
    assert laid.step == step
    expected = [
        [x, y, edge, edge]
        for y in starts_of(bounds.y, bounds.bottom, edge, step, policy)
        for x in starts_of(bounds.x, bounds.right, edge, step, policy)
    ]
    assert laid.candidates == len(expected)
    assert laid.boxes.tolist() == expected


@pytest.mark.parametrize("grid", ["slidecam", "wsinfer"])
def test_tiles_laid_again_are_read_as_they_were(array_source: MakeSource, grid: str) -> None:
    facts = array_source(blank(411, 307), downsamples=(1, 2, 4)).facts
    for mpp in (0.41, 0.23, 0.113):
        asked = spec(tile_px=29, input_px=29, grid=grid)
        laid = lay_grid(facts, Spacing(mpp, mpp), everywhere(411, 307), asked)
        again = lay_again(facts, laid.boxes[1:], laid.step, 29, grid)
        assert (again.level, again.step, again.fill) == (laid.level, laid.step, laid.fill)
        assert (again.boxes == laid.boxes[1:]).all()


def test_an_oblong_tile_is_read_as_finely_as_its_shorter_side_needs(
    array_source: MakeSource,
) -> None:
    facts = array_source(blank(411, 307), downsamples=(1, 2, 4)).facts
    for box in ([7, 3, 130, 63], [7, 3, 63, 130]):
        assert lay_again(facts, np.array([box]), (130, 63), 31).level.index == 1
    asked = spec(tile_px=31, input_px=31, spacing=1.0)
    for mpp in ((0.24, 0.49), (0.49, 0.24)):
        laid = lay_grid(facts, Spacing(*mpp), everywhere(411, 307), asked)
        assert laid.level.index == 1
        again = lay_again(facts, laid.boxes, laid.steps, 31)
        assert (again.level, again.steps) == (laid.level, laid.steps)


def test_a_tile_of_oblong_pixels_is_64_um_each_way_and_says_so(array_source: MakeSource) -> None:
    facts = array_source(blank(1100, 1300)).facts
    asked = spec(tile_px=128, input_px=64, overlap=0.25)
    laid = lay_grid(facts, Spacing(0.5, 0.25), everywhere(1100, 1300), asked)
    assert {*map(tuple, laid.boxes[:, 2:].tolist())} == {(128, 256)}
    assert laid.steps == (96, 192)
    assert shape_readings(Spacing(0.5, 0.25), laid) == (
        "Tiles are 128 x 256 px, which is square in µm: pixels are 0.5 x 0.25 µm.",
    )
    assert shape_readings(HALF, laid) == ()
    (box,) = lay_at(facts, Spacing(0.5, 0.25), np.array([[500.0, 600.0]]), asked).boxes.tolist()
    assert box == [436, 472, 128, 256]


@pytest.mark.parametrize("mpp", [(2.0, 0.499), (0.249, 1.0)])
def test_pixels_four_times_as_long_as_wide_are_not_believed(
    array_source: MakeSource, mpp: tuple[float, float]
) -> None:
    facts = array_source(blank(300, 200)).facts
    with pytest.raises(TilingError, match="more than 4 times as long one way") as caught:
        lay_grid(facts, Spacing(*mpp), everywhere(300, 200), SPEC)
    assert "--mpp" in caught.value.remedy
    with pytest.raises(TilingError, match="more than 4 times"):
        lay_at(facts, Spacing(*mpp), np.array([[50.0, 60.0]]), SPEC)
    lay_grid(facts, Spacing(2.0, 0.5), everywhere(300, 200), SPEC)


@pytest.mark.parametrize("edge", [95, 96, 97, 98, 99])
def test_the_wsinfer_grid_has_a_column_for_every_centre_on_the_slide(
    array_source: MakeSource, edge: int
) -> None:
    half = {95: 48, 96: 48, 97: 48, 98: 49, 99: 50}[edge]
    wsinfer = spec(tile_px=edge, grid="wsinfer")
    for width, columns in ((half + edge, 1), (half + edge + 1, 2)):
        facts = array_source(blank(width, half + 1)).facts
        laid = lay_grid(facts, HALF, everywhere(width, half + 1), wsinfer)
        assert laid.candidates == columns


@given(
    tile_px=st.integers(3, 90),
    spacing=st.floats(0.2, 1.0),
    mpp=st.tuples(st.floats(0.3, 1.0), st.floats(0.3, 1.0)),
    place=st.tuples(st.floats(0, 240), st.floats(0, 180)),
)
@example(tile_px=96, spacing=0.5, mpp=(0.2886, 0.2886), place=(31.0, 47.0))
def test_a_tile_round_a_place_has_the_nearest_whole_edge_and_corner(
    array_source: MakeSource,
    tile_px: int,
    spacing: float,
    mpp: tuple[float, float],
    place: tuple[float, float],
) -> None:
    facts = array_source(blank(250, 190), downsamples=(1, 2)).facts
    asked = spec(tile_px=tile_px, spacing=spacing, input_px=tile_px)
    laid = lay_at(facts, Spacing(*mpp), np.array([place]), asked)
    x, y, width, height = laid.boxes[0].tolist()
    assert (width, height) == laid.steps
    alike = abs(mpp[0] - mpp[1]) <= 1e-3 * max(mpp)
    for edge, own in zip((width, height), mpp, strict=True):
        exact = tile_px * spacing / (sum(mpp) / 2 if alike else own)
        assert abs(edge - exact) <= 0.5 * (1 + 1e-9)
    assert abs(x + width / 2 - place[0]) <= 0.5 + 1e-6
    assert abs(y + height / 2 - place[1]) <= 0.5 + 1e-6
    # Level 1 is read where the tile need not be enlarged from it: LEVEL_TOLERANCE is for scanners.
    assert laid.level.index == int(min(width, height) / tile_px * 1.01 >= 2)


def test_the_wsinfer_grid_keeps_what_a_tissue_polygon_contains(array_source: MakeSource) -> None:
    mask = np.zeros((10, 10), np.bool_)
    mask[2:7, 3:9] = True
    foreground = Foreground(mask, Size(500, 500), "rectangle")
    tissue = unary_union([rectangle(150, 100, 450, 350)])
    grid = lay_grid(
        array_source(blank(500, 500)).facts, HALF, foreground, spec(tile_px=30, grid="wsinfer")
    )
    kept = {(int(x) + 15, int(y) + 15) for x, y, *_ in grid.boxes}
    everything = {(x, y) for x in range(15, 500, 30) for y in range(15, 500, 30)}
    # A centroid on the polygon's border is in neither for WSInfer; a raster mask has no such line.
    inside = {place for place in everything if tissue.contains(Point(place))}
    border = {place for place in everything if tissue.touches(Point(place))}
    assert inside <= kept <= inside | border


def test_the_wsinfer_grid_pads_with_black_as_wsinfer_does(array_source: MakeSource) -> None:
    grid = lay_grid(
        array_source(blank(200, 200)).facts, HALF, everywhere(200, 200), spec(grid="wsinfer")
    )
    assert grid.fill == (0, 0, 0)


@pytest.mark.parametrize(
    "changes",
    [{"overlap": 1.0}, {"overlap": -0.1}, {"tile_px": 0}, {"spacing": 0.0}, {"min_tissue": 1.5}],
)
def test_an_impossible_tiling_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(TilingError):
        spec(**changes)


def test_a_step_below_one_pixel_is_refused(array_source: MakeSource) -> None:
    with pytest.raises(TilingError, match="overlap"):
        lay_grid(
            array_source(blank(9, 9)).facts, Spacing(20, 20), everywhere(9, 9), spec(overlap=0.9)
        )


def test_a_whole_picture_is_one_tile_of_its_own_shape(array_source: MakeSource) -> None:
    grid = lay_whole(array_source(blank(250, 150)).facts, 64)
    assert grid.boxes.tolist() == [[0, 0, 250, 150]]
    assert (len(grid), grid.candidates, grid.edge, grid.step, grid.input_px) == (1, 1, 250, 250, 64)
    box = grid.level_box(0)
    assert (box.width, box.height) == (250, 150)


@pytest.mark.parametrize(("width", "height"), [(250, 150), (150, 250)])
def test_a_whole_pictures_tile_overlaps_with_none(
    array_source: MakeSource, width: int, height: int
) -> None:
    grid = lay_whole(array_source(blank(width, height)).facts, 64)
    assert grid.step >= int(grid.boxes[0, 2])


def test_a_slide_is_no_whole_picture(array_source: MakeSource) -> None:
    with pytest.raises(TilingError, match="2 levels is a slide"):
        lay_whole(array_source(blank(250, 150), downsamples=(1, 2)).facts, 64)
    with pytest.raises(TilingError, match="5000x10 px in one level is a slide") as caught:
        lay_whole(array_source(blank(5000, 10)).facts, 64)
    assert "4096" in caught.value.remedy


def axial(
    array_source: MakeSource,
    shape: tuple[int, int, int],
    voxel: tuple[float, float, float],
    missing: tuple[int, ...] = (),
) -> SourceFacts:
    """Return the facts of a volume of ``shape`` (columns, rows, planes), voxels in mm."""
    grid = VolumeGrid(shape, np.diag([*voxel, 1.0]))
    facts = array_source(blank(shape[0], shape[1])).facts
    return replace(facts, stack=PlaneStack(grid, "axial", missing))


def filled(shape: tuple[int, int, int], counts: list[int]) -> VolumeForeground:
    """Return a foreground of so many voxels in each plane, row by row."""
    planes = np.zeros((shape[2], shape[1] * shape[0]), np.bool_)
    for plane, count in zip(planes, counts, strict=True):
        plane[:count] = True
    volume = planes.reshape(shape[2], shape[1], shape[0])
    return VolumeForeground(
        np.asarray(volume.any(axis=0)), Size(shape[0], shape[1]), "filled", volume
    )


SHAPES = st.tuples(st.integers(2, 40), st.integers(2, 40), st.integers(1, 6))
VOXELS = st.tuples(*[st.floats(0.3, 5)] * 3)


@given(shape=SHAPES, voxel=VOXELS, min_share=st.floats(0, 1), data=st.data())
def test_a_planes_tile_is_the_square_in_mm_round_its_middle_and_lies_where_enough_is_head(
    array_source: MakeSource,
    shape: tuple[int, int, int],
    voxel: tuple[float, float, float],
    min_share: float,
    data: st.DataObject,
) -> None:
    columns, rows, planes = shape
    counts = [data.draw(st.integers(0, columns * rows)) for _ in range(planes)]
    missing = tuple(place for place in range(planes) if data.draw(st.integers(0, 4)) == 0)
    facts = axial(array_source, shape, voxel, missing)
    laid = lay_planes(facts, filled(shape, counts), 32, min_share)
    side = max(columns * voxel[0], rows * voxel[1])
    for x, y, width, height in laid.boxes.tolist():
        assert abs(width * voxel[0] - side) <= voxel[0] * (0.5 + 1e-9)
        assert abs(height * voxel[1] - side) <= voxel[1] * (0.5 + 1e-9)
        assert abs(x + width / 2 - columns / 2) <= 0.5
        assert abs(y + height / 2 - rows / 2) <= 0.5
        assert laid.step == max(width, height)
    least = min_share * max(counts)
    there = [place for place, count in enumerate(counts) if count and place not in missing]
    assert laid.planes.tolist() == [
        place for place in there if counts[place] >= least * (1 - 1e-12)
    ]
    assert (laid.candidates, laid.input_px, laid.fill) == (planes, 32, (0, 0, 0))


@given(
    shape=SHAPES,
    voxel=VOXELS,
    tile_mm=st.floats(6, 60),
    overlap=st.floats(0, 0.6),
    policy=st.sampled_from(["pad", "drop"]),
)
def test_tiles_on_planes_are_squares_in_mm_on_every_plane_that_is_there(
    array_source: MakeSource,
    shape: tuple[int, int, int],
    voxel: tuple[float, float, float],
    tile_mm: float,
    overlap: float,
    policy: str,
) -> None:
    facts = axial(array_source, shape, voxel, missing=(shape[2] // 2,))
    um = Spacing(voxel[0] * 1000, voxel[1] * 1000)
    asked = spec(tile_px=20, spacing=tile_mm * 50, overlap=overlap, edge=policy, min_tissue=0.0)
    full = filled(shape, [shape[0] * shape[1]] * shape[2])
    width, height = (round(tile_mm / edge) for edge in voxel[:2])
    steps = [round((1 - overlap) * edge) for edge in (width, height)]
    assume(min(steps) > 0)
    laid = lay_tiles_on_planes(facts, um, full, asked)
    expected = [
        [x, y, width, height]
        for y in starts_of(0, shape[1], height, steps[1], policy)
        for x in starts_of(0, shape[0], width, steps[0], policy)
    ]
    there = [plane for plane in range(shape[2]) if plane != shape[2] // 2]
    assert laid.boxes.tolist() == expected * len(there)
    assert laid.planes.tolist() == [plane for plane in there for _ in expected]
    assert laid.candidates == len(expected) * shape[2]
    assert laid.steps == tuple(steps)
