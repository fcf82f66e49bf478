"""The whole slide as one small picture, averaged over exact areas, and the chunks of its levels.

In which blocks a level is best decoded holds for all who read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from slidecam.errors import RegionReadError
from slidecam.geometry import LevelBox, Size, nearest_better_level
from slidecam.pixels import GLASS
from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from scipy import sparse

    from slidecam.geometry import Box, Level
else:
    sparse = deferred("scipy.sparse")

CHUNK_EDGE = 1024
"""About 3 MB of RGB.

Small enough to hold several per thread, large enough that few tiles straddle two.
"""

_BAND_PIXELS = 4 * CHUNK_EDGE**2
_THINNEST_BAND = 64

SUMS = np.float32
"""Of the values below a thumbnail's pixel: exact where they are whole and below 2^24, as they are
where sides are a whole number of times shorter, up to 256; else within 0.01 of a mean."""

_SMALLEST_PIECE = 128


class PyramidFacts(Protocol):
    """What must be known of a pyramid to make an overview of it."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels, finest first."""

    @property
    def chunk(self) -> tuple[Size, ...]:
        """For each level, the size of its decoding chunks."""

    @property
    def size(self) -> Size:
        """Width and height of level 0."""


class Pyramid(Protocol):
    """What an overview is made of; every `Source` is one."""

    @property
    def facts(self) -> PyramidFacts:
        """Its levels and chunks."""

    def read(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        """Return RGB pixels of a box, (height, width, 3)."""

    def chunk_box(self, level: int, row: int, column: int) -> LevelBox:
        """Return the box of one decoding chunk."""

    def is_absent(self, level: int, box: LevelBox) -> bool:
        """Whether the file holds nothing of a box, so that reading it gives `GLASS`."""


@dataclass(frozen=True)
class Overview:
    """The whole slide as one small picture.

    Attributes
    ----------
    pixels
        uint8, (rows, columns, 3); pixel (row, column) is the mean over the area [column, column +
        1) x size.width / columns by [row, row + 1) x size.height / rows of level 0.
    level
        The pyramid level it was made from.
    gaps
        Level-0 boxes that could not be decoded and are white in ``pixels``.
    """

    pixels: NDArray[np.uint8]
    level: int
    gaps: tuple[Box, ...]


def overview(source: Pyramid, longest: int) -> Overview:
    """Return the whole slide with its longest side at most ``longest`` pixels, never enlarged.

    It is made from the coarsest level that is fine enough. Where chunks of that level cannot be
    decoded, finer levels are tried, and the one with the smallest gaps wins.

    Raises
    ------
    RegionReadError
        If no chunk of any level can be decoded.
    """
    size = source.facts.size
    shrink = max(1.0, max(size.width, size.height) / longest)
    columns, rows = (
        max(1, round(size.width / shrink)),
        max(1, round(size.height / shrink)),
    )
    first = nearest_better_level(source.facts.levels, shrink)
    finer = [level for level in source.facts.levels if level.downsample <= first.downsample]
    finer.sort(key=lambda level: -level.downsample)
    failures: list[RegionReadError] = []
    best: Overview | None = None
    for level in finer:
        found = _average(source, level, columns, rows, failures)
        if found is not None and (best is None or _area(found.gaps) < _area(best.gaps)):
            best = found
        if best is not None and not best.gaps:
            break
    if best is None:
        raise failures[0]
    return best


def _average(
    source: Pyramid,
    level: Level,
    columns: int,
    rows: int,
    failures: list[RegionReadError],
) -> Overview | None:
    """Average one level; None where nothing of it can be decoded."""
    across, down = _edges(level.size.width, columns), _edges(level.size.height, rows)
    total = np.zeros((rows, columns, 3), SUMS)
    gaps: list[LevelBox] = []
    decoded = 0
    for chunk in chunk_boxes(source, level.index):
        if source.is_absent(level.index, chunk):
            _add_glass(total, chunk, across, down)
            decoded += 1
            continue
        for box, pixels in _salvaged(source, level.index, chunk, failures):
            shown = pixels
            if shown is None:
                gaps.append(box)
                shown = np.full((box.height, box.width, 3), GLASS, np.uint8)
            else:
                decoded += 1
            _add(total, shown, box, across, down)
    if not decoded:
        return None
    mean = _mean(total, across, down)
    return Overview(mean, level.index, tuple(level.to_level0(gap) for gap in gaps))


def _mean(
    total: NDArray[np.float32], across: NDArray[np.float64], down: NDArray[np.float64]
) -> NDArray[np.uint8]:
    area = np.diff(down)[:, None, None] * np.diff(across)[None, :, None]
    means = total / area.astype(SUMS)
    return np.rint(means, out=means).astype(np.uint8)


def shrunk(pixels: NDArray[np.uint8], shrink: float) -> NDArray[np.uint8]:
    """Return a picture, (rows, columns, 3), with sides shorter by ``shrink``, of 1 or more.

    Each pixel is the mean over exactly the area that it covers.
    """
    height, width = pixels.shape[:2]
    columns, rows = max(1, round(width / shrink)), max(1, round(height / shrink))
    across, down = _edges(width, columns), _edges(height, rows)
    total = np.zeros((rows, columns, 3), SUMS)
    _add(total, pixels, LevelBox(0, 0, width, height), across, down)
    return _mean(total, across, down)


def _salvaged(
    source: Pyramid, level: int, box: LevelBox, failures: list[RegionReadError]
) -> Iterator[tuple[LevelBox, NDArray[np.uint8] | None]]:
    """Yield a chunk, or its quarters where it cannot be decoded, down to `_SMALLEST_PIECE`.

    None if lost.
    """
    try:
        yield box, source.read(level, box)
    except RegionReadError as error:
        if max(box.width, box.height) <= _SMALLEST_PIECE:
            failures.append(error)
            yield box, None
            return
        for quarter in _quarters(box):
            yield from _salvaged(source, level, quarter, failures)


def _quarters(box: LevelBox) -> Iterator[LevelBox]:
    widths = (box.width - box.width // 2, box.width // 2)
    heights = (box.height - box.height // 2, box.height // 2)
    for y, height in ((box.y, heights[0]), (box.y + heights[0], heights[1])):
        for x, width in ((box.x, widths[0]), (box.x + widths[0], widths[1])):
            if width and height:
                yield LevelBox(x, y, width, height)


def chunk_boxes(source: Pyramid, level: int) -> Iterator[LevelBox]:
    """Yield the decoding chunks of a level, row by row; together they are the level."""
    size, chunk = source.facts.levels[level].size, source.facts.chunk[level]
    for row in range(_count(size.height, chunk.height)):
        for column in range(_count(size.width, chunk.width)):
            yield source.chunk_box(level, row, column)


def _add(
    total: NDArray[np.float32],
    pixels: NDArray[np.uint8],
    box: LevelBox,
    across: NDArray[np.float64],
    down: NDArray[np.float64],
) -> None:
    """Add one chunk to the sums of the thumbnail pixels that it touches."""
    top, bottom = _touched(down, box.y, box.bottom)
    left, right = _touched(across, box.x, box.right)
    if (bottom - top, right - left) == (box.height, box.width) and _is_whole(across, down):
        total[top:bottom, left:right] += pixels
        return
    height, width = bottom - top, right - left
    rows = _parts(np.clip(down[top : bottom + 1], box.y, box.bottom) - box.y, box.height)
    columns = _parts(np.clip(across[left : right + 1], box.x, box.right) - box.x, box.width)
    summed = (rows @ pixels.reshape(box.height, -1)).reshape(height, box.width, 3)
    turned = np.ascontiguousarray(summed.transpose(1, 0, 2)).reshape(box.width, -1)
    both = (columns @ turned).reshape(width, height, 3)
    total[top:bottom, left:right] += both.transpose(1, 0, 2)


def _is_whole(*edges: NDArray[np.float64]) -> bool:
    """Whether each thumbnail pixel is one pixel of the level."""
    return all(each[-1] == len(each) - 1 for each in edges)


def _add_glass(
    total: NDArray[np.float32],
    box: LevelBox,
    across: NDArray[np.float64],
    down: NDArray[np.float64],
) -> None:
    """Add a chunk of glass to the sums of the thumbnail pixels that it touches, unread."""
    top, bottom = _touched(down, box.y, box.bottom)
    left, right = _touched(across, box.x, box.right)
    heights = np.diff(np.clip(down[top : bottom + 1], box.y, box.bottom))
    widths = np.diff(np.clip(across[left : right + 1], box.x, box.right))
    total[top:bottom, left:right] += np.outer(heights, widths)[:, :, None] * GLASS


def _parts(edges: NDArray[np.float64], length: int) -> sparse.csr_array:
    """Return how much of each pixel of a line lies between consecutive edges.

    Sparse, (intervals, ``length``): the product with a line of values is their sum over each
    interval. Whole pixels count 1, those that an edge cuts through less.
    """
    first = np.minimum(edges[:-1].astype(np.int64), length - 1)
    counts = np.maximum(np.ceil(edges[1:]).astype(np.int64) - first, 1)
    begins = np.concatenate(([0], np.cumsum(counts)))
    pixel = np.arange(begins[-1]) - np.repeat(begins[:-1] - first, counts)
    low, high = np.repeat(edges[:-1], counts), np.repeat(edges[1:], counts)
    inside = np.minimum(high, pixel + 1) - np.maximum(low, pixel)
    return sparse.csr_array((inside.astype(SUMS), pixel, begins), shape=(len(counts), length))


def _edges(length: int, count: int) -> NDArray[np.float64]:
    return np.linspace(0.0, length, count + 1)


def _touched(edges: NDArray[np.float64], start: int, stop: int) -> tuple[int, int]:
    """Return the first and one past the last interval that meets [start, stop).

    The intervals lie between ``edges``.
    """
    first = int(np.searchsorted(edges, start, side="right")) - 1
    return first, int(np.searchsorted(edges, stop, side="left"))


def _count(length: int, chunk: int) -> int:
    return -(-length // chunk)


def _area(boxes: tuple[Box, ...]) -> int:
    return sum(box.width * box.height for box in boxes)


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
