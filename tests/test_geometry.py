"""Levels, boxes and the way between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidecam.geometry import (
    Box,
    Level,
    LevelBox,
    RasterPlace,
    Size,
    Spacing,
    nearest_better_level,
    note_on_levels,
    pyramid,
)

PYRAMID = tuple(Level(i, Size(1000, 1000), d) for i, d in enumerate((1.0, 3.9999, 16.0023)))


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(0.5, 0), (1.0, 0), (3.0, 0), (3.9, 0), (4.0, 1), (3.97, 1), (15.0, 1), (16.0, 2), (500.0, 2)],
)
def test_the_level_chosen_is_the_coarsest_that_is_fine_enough(wanted: float, index: int) -> None:
    assert nearest_better_level(PYRAMID, wanted).index == index


def test_a_downsample_of_3_9999_is_not_truncated_to_3() -> None:
    assert PYRAMID[1].from_level0(Box(4000, 8000, 896, 896)) == LevelBox(1000, 2000, 224, 224)


def test_a_box_never_shrinks_to_nothing() -> None:
    assert PYRAMID[2].from_level0(Box(0, 0, 3, 3)) == LevelBox(0, 0, 1, 1)


def test_level_boxes_go_back_to_the_level_0_box_they_cover() -> None:
    assert PYRAMID[1].to_level0(LevelBox(1000, 2000, 224, 224)) == Box(4000, 8000, 896, 896)


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        (LevelBox(-5, -5, 10, 10), LevelBox(0, 0, 5, 5)),
        (LevelBox(90, 10, 20, 20), LevelBox(90, 10, 10, 20)),
        (LevelBox(200, 200, 5, 5), LevelBox(100, 50, 0, 0)),
        (LevelBox(3, 4, 5, 6), LevelBox(3, 4, 5, 6)),
    ],
)
def test_clipping_keeps_what_lies_inside(box: LevelBox, inside: LevelBox) -> None:
    assert box.clipped(Size(100, 50)) == inside


@given(
    box=st.builds(
        LevelBox,
        st.integers(-40, 60),
        st.integers(-40, 60),
        st.integers(0, 50),
        st.integers(0, 50),
    ),
    size=st.builds(Size, st.integers(1, 37), st.integers(1, 41)),
)
def test_clipping_keeps_the_pixels_of_a_box_that_the_level_has(box: LevelBox, size: Size) -> None:
    inside = box.clipped(size)
    columns = [x for x in range(box.x, box.right) if 0 <= x < size.width]
    rows = [y for y in range(box.y, box.bottom) if 0 <= y < size.height]
    assert [*range(inside.x, inside.right)] == columns
    assert [*range(inside.y, inside.bottom)] == rows
    assert min(inside.width, inside.height) >= 0


@given(
    box=st.builds(
        Box,
        st.integers(-5_000, 100_000),
        st.integers(-5_000, 100_000),
        st.integers(1, 9_000),
        st.integers(1, 9_000),
    ),
    downsample=st.floats(1, 70),
)
def test_a_levels_box_is_the_nearest_to_that_of_level_0_and_back(
    box: Box, downsample: float
) -> None:
    level = Level(1, Size(100_000, 100_000), downsample)
    there = level.from_level0(box)
    for found, full in ((there.x, box.x), (there.y, box.y)):
        assert abs(found * downsample - full) <= downsample * (0.5 + 1e-9)
    for found, full in ((there.width, box.width), (there.height, box.height)):
        assert abs(found * downsample - full) <= downsample * (0.5 + 1e-9) or found == 1
    back = level.to_level0(there)
    for full, found in ((back.x, there.x), (back.y, there.y)):
        assert abs(full - found * downsample) <= 0.5 + 1e-6
    for full, found in ((back.width, there.width), (back.height, there.height)):
        assert abs(full - found * downsample) <= 0.5 + 1e-6


def test_the_mean_spacing_is_that_of_both_axes() -> None:
    assert Spacing(0.25, 0.75).mean == 0.5


@pytest.mark.parametrize(
    ("sizes", "downsamples"),
    [
        ([(40000, 2003), (5000, 250)], [1.0, 8.0]),
        ([(2033, 1525), (1016, 762), (508, 381), (63, 47)], [1.0, 2.0, 4.0, 32.0]),
        ([(1001, 1001), (501, 501), (251, 251)], [1.0, 2.0, 4.0]),
        ([(3000, 3000), (2000, 2000)], [1.0, 1.5]),
        ([(1000, 1000), (260, 260)], [1.0, 1000 / 260]),
        # One axis alone explains nothing, whichever it is.
        ([(1000, 1000), (125, 118)], [1.0, (8 + 1000 / 118) / 2]),
        ([(1000, 1000), (118, 125)], [1.0, (8 + 1000 / 118) / 2]),
    ],
)
def test_a_whole_downsample_is_recognised_through_the_rounding_of_sizes(
    sizes: list[tuple[int, int]], downsamples: list[float]
) -> None:
    assert [level.downsample for level in pyramid([Size(*size) for size in sizes])] == downsamples


def spaced(*ratios: float | tuple[float, float]) -> list[Spacing | None]:
    """Return the spacings of levels that are so many times as coarse as the first."""
    pairs = [ratio if isinstance(ratio, tuple) else (ratio, ratio) for ratio in ratios]
    return [Spacing(0.2273 * x, 0.2281 * y) for x, y in pairs]


@pytest.mark.parametrize(
    ("sizes", "ratios", "downsamples", "cut"),
    [
        # Padded to whole tiles, as in libdicom#79.
        (
            [(104448, 55296), (53248, 28672), (27648, 15360)],
            (1.0, 2.0, 4.0),
            [1.0, 2.0, 4.0],
            [(104448, 55296), (52224, 27648), (26112, 13824)],
        ),
        # Padding that looks like another downsample: 997x1021 over one tile of 256 px is 8.
        ([(997, 1021), (256, 256)], (1.0, 8.0), [1.0, 8.0], [(997, 1021), (125, 128)]),
        # Spacings are rounded texts: sizes that agree with each other are closer.
        ([(40000, 2003), (5000, 250)], (1.0, 8.006), [1.0, 8.0], [(40000, 2003), (5000, 250)]),
        (
            [(100000, 80000), (31250, 25000)],
            (1.0, 3.2004),
            [1.0, 3.2],
            [(100000, 80000), (31250, 25000)],
        ),
        ([(9973, 7919), (5120, 4096)], (1.0, 1.99956), [1.0, 2.0], [(9973, 7919), (4987, 3960)]),
        # A square slide's padding is the same along both axes.
        (
            [(50000, 50000), (25088, 25088)],
            (1.0, 2.0),
            [1.0, 2.0],
            [(50000, 50000), (25000, 25000)],
        ),
        # A level that ends before the slide does keeps its size.
        ([(1000, 1000), (450, 470)], (1.0, 2.0), [1.0, 2.0], [(1000, 1000), (450, 470)]),
        ([(1000, 900), (420, 380)], (1.0, 2.5), [1.0, 2.5], [(1000, 900), (400, 360)]),
        ([(1001, 1001), (501, 501)], (1.0, (1.998, 2.002)), [1.0, 2.0], [(1001, 1001), (501, 501)]),
    ],
)
def test_a_level_that_carries_its_own_spacing_is_believed(
    sizes: list[tuple[int, int]],
    ratios: tuple[float | tuple[float, float], ...],
    downsamples: list[float],
    cut: list[tuple[int, int]],
) -> None:
    levels = pyramid([Size(*size) for size in sizes], spaced(*ratios))
    assert [level.downsample for level in levels] == pytest.approx(downsamples, abs=1e-12)
    assert [(level.size.width, level.size.height) for level in levels] == cut


@pytest.mark.parametrize("ratio", [1.0, 2.0, 16.0])
def test_a_spacing_that_no_padding_explains_is_not_believed(ratio: float) -> None:
    sizes = [Size(40013, 30011), Size(10003, 7502)]
    assert pyramid(sizes, spaced(1.0, ratio)) == pyramid(sizes)


def test_levels_without_a_spacing_of_their_own_go_by_their_sizes() -> None:
    sizes = [Size(3997, 2011), Size(1024, 512), Size(512, 256)]
    own = [*spaced(1.0), None, *spaced(8.0)]
    assert [level.downsample for level in pyramid(sizes, own)] == [
        1.0,
        (3997 / 1024 + 2011 / 512) / 2,
        8.0,
    ]
    assert pyramid(sizes, [None, *spaced(4.0, 8.0)]) == pyramid(sizes)


def test_what_was_made_of_odd_levels_is_a_sentence() -> None:
    sizes = [Size(104448, 55296), Size(53248, 28672), Size(26112, 13824)]
    (padded,) = note_on_levels(sizes, pyramid(sizes, spaced(1.0, 2.0, 4.0)))
    assert padded == (
        "Level sizes are padded (level 1 is 53248x28672 px for 52224x27648): downsamples come from"
        " each level's own spacing."
    )
    (uneven,) = note_on_levels(sizes, pyramid(sizes))
    assert "do not shrink alike (level 1 is 53248x28672 px, downsample 1.945): " in uneven
    exact = [Size(40000, 2003), Size(5000, 250), Size(2500, 126)]
    assert note_on_levels(exact, pyramid(exact)) == ()


def test_the_far_end_of_a_narrow_slide_is_where_it_is() -> None:
    level = pyramid([Size(40000, 2003), Size(5000, 250)])[1]
    assert level.from_level0(Box(38896, 0, 224, 224)) == LevelBox(4862, 0, 28, 28)


@given(
    pitch=st.tuples(st.integers(1, 97), st.integers(1, 97)),
    corner=st.tuples(st.integers(-300, 300), st.integers(-300, 300)),
    spacing=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)),
)
def test_a_raster_lies_on_the_mean_of_the_pixels_that_its_first_one_spans(
    pitch: tuple[int, int], corner: tuple[int, int], spacing: tuple[float, float]
) -> None:
    place = RasterPlace(pitch, corner, Spacing(*spacing))
    columns = [corner[0] + step for step in range(pitch[0])]
    rows = [corner[1] + step for step in range(pitch[1])]
    expected = (sum(rows) / len(rows) * spacing[1], sum(columns) / len(columns) * spacing[0])
    assert place.translation == pytest.approx(expected)
    assert place.scale == pytest.approx((pitch[1] * spacing[1], pitch[0] * spacing[0]))


def test_a_raster_without_spacing_lies_in_pixels() -> None:
    place = RasterPlace((37, 41), (101, 57), None)
    assert (place.scale, place.translation) == ((41, 37), (77, 119))
