"""From what files hold to red, green and blue: grey, 16 bits, alpha, turned cameras, resampling.

Slides and training pictures are read by these functions alike, so that a network is shown what it
was taught; and what a library says of a file that it cannot read is worded alike.
"""

from __future__ import annotations

from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import ExifTags, Image, ImageOps

from slidecam.errors import without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

RGB = tuple[int, int, int]
GLASS: RGB = (255, 255, 255)
"""What lies beneath transparent pixels, and beyond a slide's edge."""

OPAQUE = 255
RED_GREEN_BLUE = (0, 1, 2)

RESAMPLING: Mapping[str, Image.Resampling] = MappingProxyType(
    {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
    }
)
"""Pillow's antialiased filters by the names that cards and recipes give them."""

_LARGEST_16_BIT = 65_535
_LONGEST_REASON = 200
"""Letters of what a library said that a message repeats."""

_PNG_16_BITS = ";16B"
"""How Pillow calls what it unpacks."""

_ALPHA_MODES = {"RGBA", "LA", "PA", "La", "RGBa"}
_LYING = (5, 6, 7, 8)
"""EXIF orientations whose stored rows are the picture's columns."""


def over_background(pixels: NDArray[np.uint8], background: RGB) -> NDArray[np.uint8]:
    """Lay straight-alpha RGBA pixels (height, width, 4) on a colour; return (height, width, 3)."""
    alpha = pixels[:, :, 3:]
    if (alpha == OPAQUE).all():
        return pick(pixels, RED_GREEN_BLUE)
    share = alpha.astype(np.uint16)
    paper = np.asarray(background, np.uint16)
    mixed = pixels[:, :, :3] * share + paper * (OPAQUE - share)
    return ((mixed + OPAQUE // 2) // OPAQUE).astype(np.uint8)


def premultiplied_over(pixels: NDArray[np.uint8], background: RGB) -> NDArray[np.uint8]:
    """Lay RGBA pixels whose colours are already multiplied by alpha over a colour; return RGB."""
    through = OPAQUE - pixels[:, :, 3:].astype(np.uint16)
    paper = (np.asarray(background, np.uint16) * through + OPAQUE // 2) // OPAQUE
    return np.minimum(pixels[:, :, :3] + paper, OPAQUE).astype(np.uint8)


def most_of_channels(values: NDArray[Any]) -> NDArray[Any]:
    """Return the largest of three channels, (height, width); NumPy's ``max`` takes 25 times that.

    ``values`` are (height, width, 3).
    """
    most: NDArray[Any] = np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])
    return most


def least_of_channels(values: NDArray[Any]) -> NDArray[Any]:
    """Return the smallest of three channels, as `most_of_channels`."""
    least: NDArray[Any] = np.minimum(np.minimum(values[..., 0], values[..., 1]), values[..., 2])
    return least


def windowed(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """Scale values so that ``low`` becomes 0 and ``high`` 255, and cut off what lies beyond.

    What is no number, or infinite, is 0: it lies outside of whatever made a volume, as air does.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        shares = (values.astype(np.float32) - np.float32(low)) * np.float32(OPAQUE / (high - low))
    if values.dtype.kind == "f":
        shares = np.where(np.isfinite(values), np.nan_to_num(shares, nan=0.0), 0.0)
    pixels: NDArray[np.uint8] = np.clip(np.rint(shares), 0, OPAQUE).astype(np.uint8)
    return pixels


def to_uint8(
    samples: NDArray[np.generic],
    bits: int,
    limits: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Scale samples so that 0 stays 0 and the largest value of ``bits`` bits becomes 255.

    The scale depends on the format alone and never on the content, so that a colour is the same in
    every box and in every slide of one scanner; but where ``limits`` say which samples are black
    and white.
    """
    if limits is not None:
        return windowed(samples, *limits)
    if samples.dtype == np.uint8 and bits == 8:  # noqa: PLR2004 - the bits of the result
        return samples.view(np.uint8)
    return windowed(samples, 0, 2**bits - 1)


def to_rgb(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (height, width, 1 or ≥ 3) samples as RGB.

    Grey is repeated, what follows blue is left out.
    """
    bands = samples.shape[2]
    if bands == 1:
        return np.repeat(samples, 3, axis=2)
    if bands == len(RED_GREEN_BLUE):
        return samples
    return pick(samples, RED_GREEN_BLUE)


def pick(samples: NDArray[np.uint8], bands: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Copy three bands into RGB.

    Band by band NumPy does this ten times faster than as one slice.
    """
    pixels = np.empty((*samples.shape[:2], 3), np.uint8)
    for place, band in enumerate(bands):
        pixels[:, :, place] = samples[:, :, band]
    return pixels


def is_deep_grey(picture: Image.Image) -> bool:
    """Whether Pillow has a picture as grey of more than 8 bits."""
    return picture.mode.startswith("I")


def deep_samples(picture: Image.Image) -> NDArray[np.uint16]:
    """Return the samples of such a picture, (height, width), cut off at those of 16 bits."""
    return np.asarray(np.clip(np.asarray(picture), 0, _LARGEST_16_BIT), np.uint16)


def picture_in_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode of Pillow's in RGB.

    Grey is repeated, 16 bits are scaled by the format alone, and what is transparent lies on white.

    Raises
    ------
    ValueError
        If its values are fractions, whose range nobody knows.
    """
    if picture.mode == "F":
        raise ValueError("its values are fractions of unknown range; save it with 8 or 16 bits")
    if is_deep_grey(picture):
        return Image.fromarray(to_uint8(deep_samples(picture), bits=16)).convert("RGB")
    if has_transparency(picture):
        clear = np.asarray(picture.convert("RGBA"))
        return Image.fromarray(over_background(clear, GLASS))
    return picture.convert("RGB")


def has_transparency(picture: Image.Image) -> bool:
    """Whether pixels of a picture may be transparent."""
    return picture.mode in _ALPHA_MODES or "transparency" in picture.info


def bits_of(picture: Image.Image) -> int:
    """Return the bits of a sample in a picture's file: 16 or 8, as far as Pillow says.

    Pillow brings the colours of a PNG with 16 bits to 8 itself.
    """
    if is_deep_grey(picture):
        return 16
    for tile in getattr(picture, "tile", ()):
        if isinstance(tile[3], str) and tile[3].endswith(_PNG_16_BITS):
            return 16
    return 8


def upright(picture: Image.Image) -> Image.Image:
    """Return a picture turned as the orientation in its header says."""
    if _orientation(picture) == 1:
        return picture
    picture.load()
    # Damaged EXIF, in whatever way, is no reason to refuse sound pixels.
    with suppress(Exception):
        return ImageOps.exif_transpose(picture)
    return picture


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """Return width and height of a picture as it will be upright; nothing is decoded."""
    width, height = picture.size
    if _orientation(picture) in _LYING:
        return height, width
    return width, height


def frame_notes(picture: Image.Image, wanted: int = 1) -> tuple[str, ...]:
    """Return which frame of several is read, as a sentence; nothing where there is but one."""
    frames = getattr(picture, "n_frames", 1)
    if frames == 1:
        return ()
    return (f"Plane {wanted} of {frames}, its frames, is read; --plane reads another.",)


def reason(error: BaseException) -> str:
    """Return the first line of what a library said, or its error's name where it said nothing."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    text = without_secrets(lines[0].rstrip("."))
    if text.startswith("Reading ") and ": " in text:
        text = text.split(": ", 1)[1]  # OpenSlide names the file, as our message does already
    if len(text) > _LONGEST_REASON:
        return f"{text[: _LONGEST_REASON - 3]}..."
    return text


def _orientation(picture: Image.Image) -> int:
    with suppress(Exception):
        # The method of the base class: a PNG's own decodes all of it in search of EXIF at its end.
        exif = Image.Image.getexif(picture)
        return int(exif.get(ExifTags.Base.Orientation, 1))
    return 1


def halved(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means of 2x2 pixels, of those that are numbers; NaN where none is.

    Parameters
    ----------
    block
        (height, width); an odd last row or column is averaged alone.
    """
    height, width = block.shape
    even = np.pad(block, ((0, height % 2), (0, width % 2)), constant_values=np.nan)
    known = np.isfinite(even)
    if not known.any():
        return np.full((len(even) // 2, even.shape[1] // 2), np.nan, np.float32)
    sums = _sum_of_four(np.where(known, even, 0))
    counts = _sum_of_four(known.astype(np.float32))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.float32(np.nan))


def _sum_of_four(values: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = values[0::2] + values[1::2]
    return np.asarray(rows[:, 0::2] + rows[:, 1::2])


HELD_VALUES = 8_000_000
"""Values of a level that wait for the rest of their chunks, about, at most."""


class RasterLevel(Protocol):
    """What values are written into, row by row: a level of a Zarr pyramid."""

    def __setitem__(self, place: tuple[slice, slice, slice], values: NDArray[np.float32]) -> None:
        """Write the values of some rows, (channels, rows, columns)."""


class PyramidWriter:
    """Levels that are filled at once from top to bottom, each by the means of the finer one.

    Parameters
    ----------
    levels
        Of (channels, rows, columns), finest first; each half as long as the one before, rounded up.
    chunk
        Rows that are best written together.
    """

    def __init__(self, levels: Sequence[RasterLevel], chunk: int) -> None:
        self._levels, self._chunk = levels, chunk
        self._rows = [0] * len(levels)
        self._waiting: list[list[NDArray[np.float32]]] = [[] for _ in levels]

    def add(self, band: NDArray[np.float32], level: int = 0) -> None:
        """Take the next rows of a level, float32, (channels, rows, columns)."""
        waiting = self._waiting[level]
        waiting.append(band)
        rows = sum(each.shape[1] for each in waiting)
        # Whole chunks, so that none is written twice, but no more than is held; and pairs of rows,
        # of which the next level has one each.
        is_full = rows >= self._chunk or rows * band.shape[0] * band.shape[2] >= HELD_VALUES
        if is_full and rows % 2 == 0:
            self._write(level)

    def end(self) -> None:
        """Write what is left of every level."""
        for level in range(len(self._levels)):
            self._write(level)

    def _write(self, level: int) -> None:
        waiting, row = self._waiting[level], self._rows[level]
        if not waiting:
            return
        band = waiting[0] if len(waiting) == 1 else np.concatenate(waiting, axis=1)
        waiting.clear()
        self._rows[level] = row + band.shape[1]
        self._levels[level][:, row : self._rows[level], :] = band
        if level + 1 < len(self._levels):
            self.add(np.stack([*map(halved, band)]), level + 1)
