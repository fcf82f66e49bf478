from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidecam.errors import RegionReadError
from slidecam.geometry import Box, Level, LevelBox, Size
from slidecam.sources import Source, SourceFacts
from slidecam.sources.contract import area_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from conftest import MakeSource

PICTURE = np.random.default_rng(6).integers(0, 256, (101, 173, 3), np.uint8)


class ArraySource(Source):
    """A slide in memory with two levels, whose chunks may be damaged."""

    def __init__(self, chunk: int, damaged: set[tuple[int, int, int]] | None = None) -> None:
        self.levels = [PICTURE, PICTURE[:100:2, :172:2].copy()]
        self.damaged = damaged or set()
        self.largest = 0
        sizes = [Size(pixels.shape[1], pixels.shape[0]) for pixels in self.levels]
        super().__init__(
            SourceFacts(
                path="array",
                name="array",
                reader="array",
                format="array",
                levels=tuple(
                    Level(index, size, 173 / size.width) for index, size in enumerate(sizes)
                ),
                spacing=None,
                spacing_from=None,
                bounds=None,
                chunk=(Size(chunk, chunk),) * 2,
                associated=(),
                fingerprint="f",
            )
        )

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        if (level, box.x, box.y) in self.damaged:
            raise RegionReadError("array", level, box, "damaged")
        self.largest = max(self.largest, box.width * box.height)
        return self.levels[level][box.y : box.bottom, box.x : box.right]

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        raise KeyError(name)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("chunk", [7, 32, 64, 500])
@pytest.mark.parametrize("longest", [1, 3, 100, 150, 173])
def test_every_pixel_is_the_mean_over_exactly_its_area(chunk: int, longest: int) -> None:
    source = ArraySource(chunk)
    source.facts = SourceFacts(**{**vars(source.facts), "levels": source.facts.levels[:1]})
    thumbnail = source.thumbnail(longest)
    expected = area_mean(PICTURE, *thumbnail.shape[:2])
    assert max(thumbnail.shape) == max(longest, 3)
    assert np.abs(thumbnail - expected).max() <= 0.5 + 1e-6


def test_no_more_than_a_chunk_is_decoded_at_once() -> None:
    source = ArraySource(16)
    source.thumbnail(50)
    assert source.largest == 16 * 16


def test_the_coarsest_level_that_is_fine_enough_is_used() -> None:
    assert ArraySource(32).overview(86).level == 1
    assert ArraySource(32).overview(60).level == 1
    assert ArraySource(32).overview(87).level == 0


def test_a_damaged_chunk_is_mended_from_a_finer_level() -> None:
    overview = ArraySource(32, {(1, 32, 0)}).overview(50)
    assert overview.level == 0
    assert overview.gaps == ()


def test_what_no_level_holds_is_a_white_gap_and_named() -> None:
    overview = ArraySource(32, {(1, 32, 0), (0, 64, 64)}).overview(50)
    assert overview.level == 0
    assert overview.gaps == (Box(64, 64, 32, 32),)
    scale = 50 / 173
    assert (
        overview.pixels[
            int(66 * scale) + 1 : int(94 * scale), int(66 * scale) + 1 : int(94 * scale)
        ]
        == 255
    ).all()


def test_the_level_with_the_smaller_gaps_wins() -> None:
    damaged = {(1, 64, 32)} | {(0, x, y) for x in range(0, 173, 32) for y in range(0, 96, 32)}
    overview = ArraySource(32, damaged).overview(50)
    assert overview.level == 1
    assert len(overview.gaps) == 1


def test_a_small_slide_is_decoded_once_for_all_who_look_at_it_whole() -> None:
    source = ArraySource(64)
    first = source.overview(1024)
    assert np.array_equal(first.pixels, PICTURE)
    source.largest = 0
    assert source.overview(173) is first
    assert source.largest == 0
    source.overview(172)
    assert source.largest > 0


def test_a_slide_of_which_nothing_decodes_is_an_error() -> None:
    damaged = {
        (level, x, y) for level in (0, 1) for x in range(0, 173, 32) for y in range(0, 101, 32)
    }
    with pytest.raises(RegionReadError, match="damaged"):
        ArraySource(32, damaged).thumbnail(50)


@given(width=st.integers(1, 90), height=st.integers(1, 90), longest=st.integers(1, 60))
def test_an_overview_has_the_nearest_whole_sides_of_the_slides_shape(
    array_source: MakeSource, width: int, height: int, longest: int
) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    rows, columns, _bands = array_source(pixels).thumbnail(longest).shape
    shrink = max(1.0, max(width, height) / longest)
    assert max(rows, columns) == min(longest, max(width, height))
    for side, full in ((rows, height), (columns, width)):
        assert abs(side - full / shrink) <= 0.5 * (1 + 1e-9) or side == 1
