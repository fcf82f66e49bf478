"""RGB out of OpenSlide in one pass.

openslide-python hands out straight-alpha RGBA in a Pillow image; making RGB of that took longer
than decoding the JPEG tiles. OpenSlide itself writes premultiplied ARGB into a buffer, from which
RGB is three strided copies.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

import numpy as np
import openslide
from openslide import lowlevel

from slidecam.pixels import over_background, pick, premultiplied_over

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.pixels import RGB
    from slidecam.sources._slide_handle import Slide

_BLUE_FIRST = (2, 1, 0)
_RED_FIRST = [2, 1, 0, 3]
_LOWEST_OPAQUE = 0xFF000000

# lowlevel promises nothing; where a later release has moved this function, the public and slower
# way is taken
_FILL = getattr(lowlevel, "_read_region", None) if sys.byteorder == "little" else None


def read_rgb(
    slide: Slide, corner: tuple[int, int], level: int, size: tuple[int, int], background: RGB
) -> NDArray[np.uint8]:
    """Return a region as (height, width, 3), transparent pixels laid over ``background``.

    Parameters
    ----------
    slide
        An open slide.
    corner
        x and y of the upper left corner in level-0 pixels.
    level
        The pyramid level.
    size
        Width and height in pixels of the level.
    background
        The colour of what the scanner left out.
    """
    if _FILL is None or not isinstance(slide, openslide.OpenSlide):
        return over_background(np.asarray(slide.read_region(corner, level, size)), background)
    width, height = size
    buffer = np.empty((height, width), np.uint32)
    pointer = buffer.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32))
    _FILL(slide._osr, pointer, *corner, level, width, height)  # noqa: SLF001 - see _FILL
    bands = buffer.view(np.uint8).reshape(height, width, 4)
    if buffer.min() >= _LOWEST_OPAQUE:
        return pick(bands, _BLUE_FIRST)
    return premultiplied_over(bands[:, :, _RED_FIRST], background)
