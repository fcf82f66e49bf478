from __future__ import annotations

import pytest

from slidecam.geometry import LevelBox, Size
from slidecam.sources.overview import cells, chunk_size, overlap, window


@pytest.mark.parametrize(
    ("native", "chunk"),
    [
        (Size(256, 256), Size(1024, 1024)),
        (Size(240, 240), Size(960, 960)),
        (Size(512, 512), Size(1024, 1024)),
        (Size(1000, 1000), Size(1000, 1000)),
        (Size(4096, 8), Size(4096, 1024)),
        (Size(100_000, 1), Size(100_000, 64)),
        (Size(100_000, 128), Size(100_000, 128)),
        (Size(3968, 4864), Size(3968, 4864)),
    ],
)
def test_a_chunk_is_a_whole_number_of_native_tiles_near_a_megapixel(
    native: Size, chunk: Size
) -> None:
    found = chunk_size(native)
    assert found == chunk
    assert found.width % native.width == 0
    assert found.height % native.height == 0


def test_cells_are_those_that_a_box_touches() -> None:
    found = list(cells(LevelBox(9, 5, 2, 5), Size(10, 10)))
    assert found == [LevelBox(0, 0, 10, 10), LevelBox(10, 0, 10, 10)]


def test_overlap_is_what_two_boxes_share() -> None:
    assert overlap(LevelBox(0, 0, 5, 5), LevelBox(3, 4, 9, 9)) == LevelBox(3, 4, 2, 1)
    assert overlap(LevelBox(0, 0, 5, 5), LevelBox(7, 0, 2, 5)).width == 0


def test_a_window_is_a_box_seen_from_a_frame() -> None:
    assert window(LevelBox(12, 23, 4, 5), LevelBox(10, 20, 9, 9)) == (slice(3, 8), slice(2, 6))
