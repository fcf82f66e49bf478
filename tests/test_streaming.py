"""Tiles brought in batches equal tiles read one by one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slidecam.errors import RegionReadError
from slidecam.foreground import Foreground
from slidecam.geometry import LevelBox, Size, Spacing
from slidecam.streaming import StreamSpec, TileBatch, TileStream, plan_batches
from slidecam.tiling import TileGrid, TilingSpec, lay_grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from conftest import ArraySource, MakeSource

    Noise = Callable[[int, int], NDArray[np.uint8]]


def grid_over(
    source: ArraySource, tile: int = 50, overlap: float = 0.0, input_px: int | None = None
) -> TileGrid:
    size = source.facts.size
    everywhere = Foreground(np.ones((1, 1), np.bool_), Size(size.width, size.height), "everywhere")
    spec = TilingSpec(tile, 0.5, input_px or tile, overlap)
    return lay_grid(source.facts, Spacing(0.5, 0.5), everywhere, spec)


def stream(source: ArraySource, grid: TileGrid, spec: StreamSpec | None = None) -> list[TileBatch]:
    spec = spec or StreamSpec(batch_size=7, workers=3)
    batches = list(enumerate(plan_batches(source, grid, spec.batch_size)))
    with TileStream(source, grid, batches, spec) as tiles:
        return list(tiles)


def one_by_one(pixels: NDArray[np.uint8], grid: TileGrid, row: int) -> NDArray[np.uint8]:
    x, y, width, height = grid.boxes[row]
    padded = np.full((height, width, 3), 255, np.uint8)
    seen = pixels[y : y + height, x : x + width]
    padded[: seen.shape[0], : seen.shape[1]] = seen
    size = (grid.input_px, grid.input_px)
    return np.asarray(Image.fromarray(padded).resize(size, Image.Resampling.BILINEAR))


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("input_px", [50, 20, 77])
def test_every_tile_equals_the_tile_read_alone(
    array_source: MakeSource, noise: Noise, overlap: float, input_px: int
) -> None:
    pixels = noise(333, 210)
    source = array_source(pixels)
    grid = grid_over(source, overlap=overlap, input_px=input_px)
    seen = Counter[int]()
    for batch in stream(source, grid):
        for row, tile in zip(batch.rows, batch.pixels, strict=True):
            seen[int(row)] += 1
            assert np.array_equal(tile, one_by_one(pixels, grid, int(row)))
    assert seen == Counter(range(len(grid)))


def test_each_chunk_is_decoded_once(array_source: MakeSource, noise: Noise) -> None:
    source = array_source(noise(640, 640))
    stream(source, grid_over(source, overlap=0.5))
    assert Counter(source.decoded).most_common(1)[0][1] == 1
    assert len(source.decoded) == 100


@given(
    size=st.tuples(st.integers(5, 120), st.integers(5, 120)),
    chunk=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    tile=st.tuples(st.integers(2, 60), st.integers(2, 60)),
    level=st.integers(0, 1),
    data=st.data(),
)
def test_the_chunks_that_hold_a_tiles_pixels_are_decoded_and_no_others(
    array_source: MakeSource,
    noise: Noise,
    size: tuple[int, int],
    chunk: tuple[int, int],
    tile: tuple[int, int],
    level: int,
    data: st.DataObject,
) -> None:
    source = array_source(noise(*size), downsamples=(1, 3))
    source.facts = replace(source.facts, chunk=(Size(*chunk),) * 2)
    corners = st.tuples(*[st.integers(0, edge - 1) for edge in size])
    boxes = np.array([[*data.draw(corners), *tile] for _ in range(3)], np.int64)
    grid = TileGrid(boxes, 3, 5, source.facts.levels[level], 11, (255, 255, 255))
    stream(source, grid)
    extent = source.facts.levels[level].size
    needed = set()
    for row in range(3):
        box = grid.level_box(row)
        # A tile whose corner is rounded past the level's end is cut from the last pixel's chunk.
        across = [min(x, extent.width - 1) for x in range(box.x, box.right)]
        down = [min(y, extent.height - 1) for y in range(box.y, box.bottom)]
        needed |= {(y // chunk[1], x // chunk[0]) for y in down for x in across}
    expected = [(level, source.chunk_box(level, *place)) for place in needed]
    assert Counter(source.decoded) == Counter(expected)


@pytest.mark.parametrize("place", [(29, 3), (3, 29)])
def test_a_tile_that_is_rounded_onto_the_next_chunk_needs_that_one_alone(
    array_source: MakeSource, noise: Noise, place: tuple[int, int]
) -> None:
    source = array_source(noise(120, 120), downsamples=(1, 3), chunk=10)
    boxes = np.array([[*place, 12, 12]], np.int64)
    stream(source, TileGrid(boxes, 1, 12, source.facts.levels[1], 4, (255, 255, 255)))
    # 29 / 3 is 9.7: nearer to the 10 that the second chunk begins with.
    chunks = [edge // 29 for edge in place]
    assert source.decoded == [(1, source.chunk_box(1, chunks[1], chunks[0]))]


def test_chunks_are_let_go_of_when_their_last_tile_is_cut(
    array_source: MakeSource, noise: Noise
) -> None:
    source = array_source(noise(64 * 40, 64 * 60))
    grid = grid_over(source)
    spec = StreamSpec(batch_size=4, workers=2, memory_mb=0)
    batches = list(enumerate(plan_batches(source, grid, 4)))
    held = 0
    with TileStream(source, grid, batches, spec) as tiles:
        for _batch in tiles:
            held = max(held, len(tiles._chunks))
        assert not tiles._chunks
    # Two rows of a stripe of 16 chunks, and a few at the border, of the slide's 2400; a few more
    # where a stripe ends.
    assert held < 60


def test_the_memory_budget_bounds_what_is_ahead(array_source: MakeSource, noise: Noise) -> None:
    source = array_source(noise(1024, 1024))
    grid = grid_over(source)
    batches = list(enumerate(plan_batches(source, grid, 4)))
    with TileStream(source, grid, batches, StreamSpec(4, 2, memory_mb=0)) as tiles:
        next(iter(tiles))
        assert len(tiles._ready) == 1


def test_the_order_does_not_depend_on_threads_or_memory(
    array_source: MakeSource, noise: Noise
) -> None:
    source = array_source(noise(400, 400))
    grid = grid_over(source)
    one = stream(source, grid, StreamSpec(7, workers=1, memory_mb=0))
    many = stream(source, grid, StreamSpec(7, workers=8))
    assert [batch.rows.tolist() for batch in one] == [batch.rows.tolist() for batch in many]


def test_a_broken_region_fails_its_own_tiles_alone(array_source: MakeSource, noise: Noise) -> None:
    pixels = noise(300, 300)
    source = array_source(pixels, broken=LevelBox(110, 60, 5, 5))
    grid = grid_over(source)
    failed: dict[int, str] = {}
    for batch in stream(source, grid):
        failed |= {failure.row: failure.reason for failure in batch.failures}
        for row, tile in zip(batch.rows, batch.pixels, strict=True):
            if int(row) not in failed:
                assert np.array_equal(tile, one_by_one(pixels, grid, int(row)))
    assert [grid.boxes[row][:2].tolist() for row in failed] == [[100, 50]]
    assert "told to fail" in next(iter(failed.values()))


def test_tiles_come_from_the_nearest_better_level(array_source: MakeSource, noise: Noise) -> None:
    source = array_source(noise(512, 512), downsamples=(1, 4))
    stream(source, grid_over(source, tile=200, input_px=50))
    assert {level for level, _box in source.decoded} == {1}


def test_closing_early_stops_decoding(array_source: MakeSource, noise: Noise) -> None:
    source = array_source(noise(2048, 2048))
    grid = grid_over(source)
    batches = list(enumerate(plan_batches(source, grid, 2)))
    tiles = TileStream(source, grid, batches, StreamSpec(2, 1, memory_mb=1))
    next(iter(tiles))
    tiles.close()
    decoded = len(source.decoded)
    assert decoded < 1024
    assert not list(tiles)


def test_a_slide_without_tiles_gives_no_batches(array_source: MakeSource, noise: Noise) -> None:
    source = array_source(noise(64, 64))
    empty = Foreground(np.zeros((1, 1), np.bool_), Size(64, 64), "nothing")
    grid = lay_grid(source.facts, Spacing(0.5, 0.5), empty, TilingSpec(50, 0.5, 50))
    assert stream(source, grid) == []


def test_what_lies_beyond_the_slide_has_the_grids_colour(
    array_source: MakeSource, noise: Noise
) -> None:
    source = array_source(noise(70, 50), broken=None)
    grid = replace(grid_over(source), fill=(0, 0, 0))
    tiles = {
        int(row): tile
        for batch in stream(source, grid)
        for row, tile in zip(batch.rows, batch.pixels, strict=True)
    }
    assert grid.boxes[1].tolist() == [50, 0, 50, 50]
    assert not tiles[1][:, 20:].any()
    assert tiles[1][:, :20].any()


def test_a_tile_of_a_broken_chunk_has_the_grids_colour_too(
    array_source: MakeSource, noise: Noise
) -> None:
    source = array_source(noise(70, 50), broken=LevelBox(0, 0, 5, 5))
    grid = replace(grid_over(source), fill=(0, 0, 0))
    tiles = {
        int(row): tile
        for batch in stream(source, grid)
        for row, tile in zip(batch.rows, batch.pixels, strict=True)
    }
    assert not tiles[1][:, 20:].any()


def test_a_chunk_that_fails_once_is_tried_again(
    array_source: MakeSource, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = array_source(noise(64, 64))
    answers = iter([RegionReadError("memory.tif", 0, LevelBox(0, 0, 64, 64), "once")])
    read = source.read

    def read_at_second_try(level: int, box: LevelBox, plane: int) -> NDArray[np.uint8]:
        for error in answers:
            raise error
        return read(level, box, plane=plane)

    monkeypatch.setattr(source, "read", read_at_second_try)
    assert [
        batch.failures for batch in stream(source, grid_over(source), StreamSpec(7, workers=1))
    ] == [()]
    assert source.decoded == [(0, LevelBox(0, 0, 64, 64))]
