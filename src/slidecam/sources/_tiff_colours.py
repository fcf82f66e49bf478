"""The colours of a TIFF: which of them can be shown, and how its samples become RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import UnreadableSourceError
from slidecam.pixels import GLASS, over_background, premultiplied_over, to_rgb, to_uint8
from slidecam.sources._tiff_pages import compression_problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.sources._tiff_pages import PageRaster


_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_PHOTOMETRICS = {_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR}
_PREMULTIPLIED, _STRAIGHT = 1, 2
_COLOURS, _WITH_ALPHA = 3, 4
_LARGEST_SEGMENT = 2**31
_LARGEST_VALUE = 281
EXPORT = (
    "Export one plane as RGB, 8 or 16 bit (QuPath: File > Export images > OME-TIFF), and use that."
)
RESAVE = (
    "Save it again as a tiled TIFF, for example with `vips tiffsave IN OUT.tif --tile --pyramid`."
)


def to_colours(page: Any, samples: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:  # noqa: ANN401 - tifffile's
    if page.photometric == _PALETTE:
        palette: NDArray[np.uint8] = (page.colormap >> 8).astype(np.uint8).T
        coloured: NDArray[np.uint8] = palette[samples[:, :, 0]]
        return coloured
    pixels = to_uint8(samples, bits)
    if page.photometric == _MIN_IS_WHITE:
        pixels = 255 - pixels
    return _without_alpha(page, pixels)


def _without_alpha(page: Any, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:  # noqa: ANN401 - tifffile's page
    kind = None
    if page.extrasamples and pixels.shape[2] == _WITH_ALPHA:
        kind = page.extrasamples[0]
    if kind == _STRAIGHT:
        return over_background(pixels, GLASS)
    if kind == _PREMULTIPLIED:
        return premultiplied_over(pixels, GLASS)
    return to_rgb(pixels)


def check_colours(given: str, raster: PageRaster) -> None:
    """Raise where the pixels cannot honestly be shown as RGB, or cannot be decoded at all."""
    page = raster.keyframe
    compression = compression_problem(page)
    if compression:
        problem = f"The pixels cannot be decoded: {compression}."
        raise UnreadableSourceError(given, problem, RESAVE)
    if page.dtype is None or np.dtype(page.dtype) not in (np.uint8, np.uint16, np.bool_):
        found = page.dtype or "of an unknown type"
        problem = f"The pixels are {found}, not 8 or 16 bit without sign."
        raise UnreadableSourceError(given, problem, EXPORT)
    if page.photometric not in _PHOTOMETRICS or page.imagedepth > 1:
        found = getattr(page.photometric, "name", page.photometric)
        problem = f"The pixels are {found}, not grey or RGB."
        raise UnreadableSourceError(given, problem, EXPORT)
    _check_channels(given, raster)
    _check_segment(given, raster)


def _check_channels(given: str, raster: PageRaster) -> None:
    """Refuse channels that are not grey, RGB or RGBA: leaving some out silently would be a loss."""
    per_page = raster.keyframe.samplesperpixel
    channels = len(raster.pages) * per_page
    whole = len(raster.pages) == 1 or per_page == 1
    alpha = len(raster.pages) == 1 and raster.keyframe.photometric in {_RGB, _YCBCR}
    if whole and (channels in {1, _COLOURS} or (channels > _COLOURS and alpha)):
        return
    problem = f"Which of its {channels} channels are red, green and blue is not said."
    raise UnreadableSourceError(given, problem, EXPORT)


def _check_segment(given: str, raster: PageRaster) -> None:
    """Refuse one huge compressed strip: every read would decode all of it."""
    size = raster.native.width * raster.native.height * raster.keyframe.samplesperpixel
    if size * np.dtype(raster.keyframe.dtype).itemsize > _LARGEST_SEGMENT:
        block = f"{raster.native.width}x{raster.native.height}"
        problem = f"The picture is one compressed block of {block} pixels."
        raise UnreadableSourceError(given, problem, RESAVE)


def significant_bits(page: Any, said: str) -> int:  # noqa: ANN401 - tifffile's page
    """Return how many bits of a sample count.

    OME's SignificantBits, which ``said`` is where it is there; TIFF's MaxSampleValue, else all.
    """
    stored = int(page.bitspersample)
    if said.isdigit() and 0 < int(said) <= stored:
        return int(said)
    largest = page.tags.valueof(_LARGEST_VALUE)
    if isinstance(largest, tuple):
        largest = max(largest)
    if largest:
        return min(stored, int(largest).bit_length())
    return stored
