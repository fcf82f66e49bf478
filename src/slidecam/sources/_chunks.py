"""In what blocks a level is best decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.geometry import LevelBox, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_EDGE = 1024
"""About 3 MB of RGB.

Small enough to hold several per thread, large enough that few tiles straddle two.
"""

_BAND_PIXELS = 4 * CHUNK_EDGE**2
_THINNEST_BAND = 64


def chunk_size(native: Size) -> Size:
    """Return the decoding chunk for a level stored in tiles or strips of ``native`` pixels.

    A chunk is a whole number of native tiles, so that none is decoded twice. Strips, which are as
    wide as the level, make full-width bands of at most 4 megapixels, but never less than 64 rows.
    """
    width = native.width * max(1, round(CHUNK_EDGE / native.width))
    rows = CHUNK_EDGE
    if width > 2 * CHUNK_EDGE:
        rows = min(CHUNK_EDGE, max(_THINNEST_BAND, _BAND_PIXELS // width))
    return Size(width, native.height * max(1, round(rows / native.height)))


def cells(
    box: LevelBox,
    cell: Size,
) -> Iterator[LevelBox]:
    """Yield the cells of the grid from (0, 0) that ``box`` touches, row by row, whole."""
    for top in range(box.y // cell.height * cell.height, box.bottom, cell.height):
        for left in range(box.x // cell.width * cell.width, box.right, cell.width):
            yield LevelBox(left, top, cell.width, cell.height)


def overlap(
    one: LevelBox,
    other: LevelBox,
) -> LevelBox:
    """Return what two boxes share; width or height is 0 where they share nothing."""
    left, top = max(one.x, other.x), max(one.y, other.y)
    right, bottom = min(one.right, other.right), min(one.bottom, other.bottom)
    return LevelBox(left, top, max(0, right - left), max(0, bottom - top))


def window(
    box: LevelBox,
    frame: LevelBox,
) -> tuple[slice, slice]:
    """Return the rows and columns of ``box`` in an array that begins at the corner of ``frame``."""
    top, left = box.y - frame.y, box.x - frame.x
    return slice(top, top + box.height), slice(left, left + box.width)
