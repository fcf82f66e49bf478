"""What the pixels of a TIFF say where its tags are silent.

Whether a fourth sample can be the alpha by which the colours were multiplied, and whether a smaller
page is a copy of a larger one or another picture.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slidecam.geometry import LevelBox
from slidecam.pixels import OPAQUE
from slidecam.sources._library import DECODING_ERRORS
from slidecam.sources._tiff_colours import (
    BYTE,
    PALETTE,
    alpha_of,
    denies_alpha,
    photometric_of,
    significant_bits,
    to_colours,
)
from slidecam.sources._tiff_pages import PageRaster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slidecam.geometry import Size
    from slidecam.sources._tiff_colours import Alpha, Page
    from slidecam.sources._tiff_pages import PageReader

    Grey = NDArray[np.float32]

Part = NDArray[np.float32]
"""A box of a page: (height, width, samples), or (height, width) in grey."""

_EDGE = 256
_ROWS = 5
"""Boxes along each side that are looked at of a level for its alpha."""

_ABOVE_SHARE = 0.001
"""Share of values that may lie above the bits that are said, as broken pixels do."""

_PART = 48
"""Edge of the parts in which two pages are compared, in pixels of the smaller."""

_GRID = 8
"""Parts along each side that are looked at for something to compare."""

_COMPARED, _SPREAD = 8, 3
"""Parts that are compared: of those with something to see, and of all."""

_AT_ONCE = 2**22
"""Pixels of a page that is decoded whole."""

_MOST_PIXELS = 2**25
"""Pixels of the larger page that are decoded in all."""

_LARGEST_SEGMENT = 2**26
"""Bytes of a segment that is not decoded only to compare pages."""

_BLOCK = 3
"""Pixels along each side that count as one: filters and codecs differ within them."""

_SHIFT = 2
"""Pixels by which a copy may lie off, as programs round sizes and places unlike."""

_PLAIN, _MARKED = 0.012, 0.03
"""Deviation of a part's blocks, in parts of the range, below which there is nothing to see, and
from which on there surely is something."""

_OTHER_COLOUR = 0.25
"""Difference of plain parts' means, in parts of the range, above which they are no copies."""

_ALIKE, _UNLIKE_PARTS = 0.55, 0.25
"""Correlation of a copy's parts with the original's, but for a share of them; of other pictures'
parts it is near 0."""


def alpha_by_pixels(reader: PageReader, rasters: Sequence[PageRaster], bits: int) -> Alpha | None:
    """Return the transparency of a picture: what its tags say, where its pixels do not deny it.

    Parameters
    ----------
    reader
        Of its file.
    rasters
        Its levels, finest first, which `check_colours` has passed.
    bits
        How many bits of a sample count.
    """
    page = rasters[0].keyframe
    alpha = alpha_of(page)
    if alpha is None:
        return None
    denied, covers, colours = False, False, set()
    for samples in _looked_at(reader, rasters):
        covers = covers or bool(samples[:, :, alpha.sample].any())
        colours |= {int(samples[:, :, 0].min()), int(samples[:, :, 0].max())}
        if alpha.premultiplied and not denied:
            denied = denies_alpha(page, samples, bits, alpha)
    if denied and not alpha.declared:
        return None
    # A writer that left alpha empty; what is transparent everywhere and of one colour may be so.
    if not covers and len(colours) > 1:
        return None
    if denied:
        return alpha._replace(premultiplied=False)
    return alpha


def deny_bits(reader: PageReader, rasters: Sequence[PageRaster], bits: int) -> bool:
    """Whether values are larger than fit into as many bits as are said to count."""
    page = rasters[0].keyframe
    if not isinstance(page.bitspersample, int) or not 1 < bits < page.bitspersample:
        return False
    largest, above, total = np.iinfo(page.dtype).max, 0, 1
    for samples in _looked_at(reader, rasters):
        # The largest of all is what stands for tiles that the file leaves out.
        values = samples.astype(np.int64)
        above += int(((values >= 2**bits) & (values < largest)).sum())
        total += samples.size
    return above / total > _ABOVE_SHARE


def _looked_at(reader: PageReader, rasters: Sequence[PageRaster]) -> Iterator[NDArray[np.generic]]:
    """Yield the samples of boxes all over the finest and the coarsest level."""
    for raster in dict.fromkeys((rasters[0], rasters[-1])):
        for box in _all_over(raster.size):
            try:
                yield reader.read(raster, box)
            except DECODING_ERRORS:
                continue


def _all_over(size: Size) -> Iterator[LevelBox]:
    """Yield boxes all over a level; of a small one, all of it."""
    if size.width * size.height <= _AT_ONCE:
        yield LevelBox(0, 0, size.width, size.height)
        return
    width, height = min(_EDGE, size.width), min(_EDGE, size.height)
    for y in _starts(size.height, height, _ROWS):
        for x in _starts(size.width, width, _ROWS):
            yield LevelBox(x, y, width, height)


def _starts(whole: int, part: int, most: int) -> list[int]:
    count = min(most, -(-whole // part))
    return sorted({(whole - part) * index // max(1, count - 1) for index in range(count)})


def shows_another(reader: PageReader, larger: Page, page: Page) -> bool:
    """Whether a page shows another picture than the larger one whose shape it has.

    A few parts in which there is something to see are compared with what the larger page is there,
    made as small; whatever the filter, the codec or the profile of a copy, they go up and down
    together. Where there is nothing to see, or nothing can be decoded, it is taken for a copy.
    """
    full = PageRaster.of((larger,))
    small = PageRaster.of((page,), full.orientation)
    if max(map(_segment_bytes, (full, small))) > _LARGEST_SEGMENT:
        return False
    try:
        scores = list(_Pair(reader, full, small).scores())
    except DECODING_ERRORS:
        return False
    return bool(scores) and float(np.quantile(scores, _UNLIKE_PARTS)) < _ALIKE


def _segment_bytes(raster: PageRaster) -> int:
    page = raster.keyframe
    if page.compression == 1:
        return 0
    pixels = raster.native.width * raster.native.height
    return int(pixels * page.samplesperpixel * np.dtype(page.dtype).itemsize)


class _Pair:
    """Two pages of one shape, of which the smaller may be a copy of the larger."""

    def __init__(self, reader: PageReader, full: PageRaster, small: PageRaster) -> None:
        self._reader, self._full, self._small = reader, full, small
        self._across = full.size.width / small.size.width
        self._down = full.size.height / small.size.height

    def scores(self) -> Iterator[float]:
        """Yield how alike parts are in which there is something to see, from -1 to 1."""
        parts = self._parts()
        largest = max(float(part.max()) for part in parts.values())
        if self._full.keyframe.bitspersample == BYTE or not largest:
            largest = float(OPAQUE)
        marked = [box for box, part in parts.items() if _spread(part) >= _MARKED * largest]
        # What is plain in the one need not be so in the other.
        chosen = dict.fromkeys((*_some(marked, _COMPARED), *_some(list(parts), _SPREAD)))
        each = _PART**2 * self._across * self._down
        for box in _some(list(chosen), max(2, int(_MOST_PIXELS / each))):
            likeness = self._likeness(box, parts[box] / largest, largest)
            if likeness is not None:
                yield likeness

    def _parts(self) -> dict[LevelBox, Part]:
        """Return parts from all over the smaller page, by where they lie."""
        size = self._small.size
        width, height = min(_PART, size.width), min(_PART, size.height)
        rows, columns = _starts(size.height, height, _GRID), _starts(size.width, width, _GRID)
        whole = None
        if size.width * size.height <= _AT_ONCE:
            whole = _samples(self._reader, self._small, LevelBox(0, 0, size.width, size.height))
        parts: dict[LevelBox, Part] = {}
        for y, x in product(rows, columns):
            box = LevelBox(x, y, width, height)
            if whole is None:
                parts[box] = _samples(self._reader, self._small, box)
            else:
                parts[box] = whole[y : box.bottom, x : box.right]
        return parts

    def _likeness(self, box: LevelBox, part: Part, largest: float) -> float | None:
        """Return how alike a part is in both; None where there is nothing to see in either."""
        size = self._full.size
        left, top = int(box.x * self._across), int(box.y * self._down)
        right = min(size.width, math.ceil(box.right * self._across))
        bottom = min(size.height, math.ceil(box.bottom * self._down))
        there = LevelBox(left, top, right - left, bottom - top)
        fine = _samples(self._reader, self._full, there) / largest
        made = _made_small(fine, box)
        if max(_spread(part), _spread(made[0])) >= _PLAIN:
            return max(_correlation(part.mean(axis=2), each.mean(axis=2)) for each in made)
        if np.abs(part.mean(axis=(0, 1)) - fine.mean(axis=(0, 1))).max() > _OTHER_COLOUR:
            return -1.0
        return None


def _made_small(fine: Part, box: LevelBox) -> list[Part]:
    """Return a part of the larger page as small as ``box``, by the mean and by picking pixels."""
    means, picked = [], []
    size = (box.width, box.height)
    for band in np.ascontiguousarray(fine.transpose(2, 0, 1)):
        picture = Image.fromarray(band)
        means.append(np.asarray(picture.resize(size, Image.Resampling.BOX)))
        picked.append(np.asarray(picture.resize(size, Image.Resampling.NEAREST)))
    return [np.dstack(means), np.dstack(picked)]


def _some(parts: list[LevelBox], most: int) -> list[LevelBox]:
    """Return at most so many of the parts, from all over, the same ones every time."""
    order = np.random.default_rng(0).permutation(len(parts))
    return [parts[index] for index in order[:most]]


def _samples(reader: PageReader, raster: PageRaster, box: LevelBox) -> Part:
    """Return a box of a page; of a palette, its colours."""
    page = raster.keyframe
    samples = reader.read(raster, box)
    if photometric_of(page) == PALETTE:
        samples = to_colours(page, samples, significant_bits(page, ""), None)
    return samples.astype(np.float32)


def _spread(part: Part) -> float:
    """Return how far the blocks of a part deviate from their mean."""
    return float(_blocks(part.mean(axis=2)).std())


def _blocks(grey: Part) -> Part:
    """Return the means of blocks of a few pixels; of what is smaller, itself."""
    rows, columns = grey.shape[0] // _BLOCK, grey.shape[1] // _BLOCK
    if not rows or not columns:
        return grey
    cut = grey[: rows * _BLOCK, : columns * _BLOCK]
    means: Part = cut.reshape(rows, _BLOCK, columns, _BLOCK).mean(axis=(1, 3))
    return means


def _correlation(part: Part, made: Part) -> float:
    """Return the correlation of two parts where they lie on each other best."""
    found = [-1.0]
    for down, across in product(range(-_SHIFT, _SHIFT + 1), repeat=2):
        one = _blocks(_moved(part, down, across))
        other = _blocks(_moved(made, -down, -across))
        one, other = one - one.mean(), other - other.mean()
        norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
        if norm > 0:
            found.append(float((one * other).sum()) / norm)
    return max(found)


def _moved(grey: Part, down: int, across: int) -> Part:
    """Return what is left of a part that is cut at one end of each side."""
    rows, columns = grey.shape
    return grey[max(0, down) : rows + min(0, down), max(0, across) : columns + min(0, across)]
