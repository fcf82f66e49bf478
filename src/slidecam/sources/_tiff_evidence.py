"""What the pixels of a TIFF say where its tags are silent: whether a fourth sample is alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.geometry import LevelBox
from slidecam.sources._library import DECODING_ERRORS
from slidecam.sources._tiff_colours import alpha_of, denies_alpha

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slidecam.geometry import Size
    from slidecam.sources._tiff_colours import Alpha
    from slidecam.sources._tiff_pages import PageRaster, PageReader

_EDGE = 256
_ROWS = 5
"""Boxes along each side that are looked at of a level; of a small one that is all of it."""


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
    if alpha is None or alpha.declared:
        return alpha
    for raster in {0: rasters[0], 1: rasters[-1]}.values():
        for box in _spread(raster.size):
            try:
                samples = reader.read(raster, box)
            except DECODING_ERRORS:
                continue
            if denies_alpha(raster.keyframe, samples, bits):
                return None
    return alpha


def _spread(size: Size) -> Iterator[LevelBox]:
    """Yield boxes all over a level."""
    width, height = min(_EDGE, size.width), min(_EDGE, size.height)
    for y in _starts(size.height, height):
        for x in _starts(size.width, width):
            yield LevelBox(x, y, width, height)


def _starts(whole: int, part: int) -> list[int]:
    count = min(_ROWS, -(-whole // part))
    return sorted({(whole - part) * index // max(1, count - 1) for index in range(count)})
