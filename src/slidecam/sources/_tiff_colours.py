"""The colours of a TIFF: which of them can be shown, and how its samples become RGB.

Every reader of TIFFs asks here, and training with it: grey of either polarity, palettes, RGB,
YCbCr, inks, and what lies under a transparent pixel mean one thing, which is libtiff's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tifffile import TIFF

from slidecam.parsing import whole_number
from slidecam.pixels import GLASS, OPAQUE, over_background, premultiplied_over, to_rgb, to_uint8
from slidecam.sources._ranges import note_on_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

Page = Any
"""A page of tifffile's, whose classes have no common type."""

_MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, INKS, YCBCR = 0, 1, 2, 3, 5, 6
COLOURS = {_MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, PALETTE: 1, INKS: 4, YCBCR: 3}
"""What can be shown, and how many samples of a pixel are its colour."""

GREY = {_MIN_IS_WHITE, MIN_IS_BLACK}
_PREMULTIPLIED, _STRAIGHT = 1, 2
_THREE, _WITH_ALPHA = 3, 4
PLANES_APART = 2
BYTE = 8

_PHOTOMETRIC, _LARGEST_VALUE, _COEFFICIENTS, _BLACK_AND_WHITE = 262, 281, 529, 532
_CCITT = {2, 3, 4}
_OLD_JPEG = 6
_JPEG = {_OLD_JPEG, 7, 34892, 33007}
_JPEG_2000 = {33003, 33004, 33005, 34712}
_NEUTRAL = 128
_REC_601 = (0.299, 0.587, 0.114)
_FULL_RANGE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)

_LOSSY_ABOVE, _LOSSY_SHARE = 40, 0.001
"""How far above its alpha a colour of a lossy codec lies, and in what share of pixels, to deny it.
"""

EXPORT = (
    "Export one plane as RGB, 8 or 16 bit (QuPath: File > Export images > OME-TIFF), and use that."
)
RESAVE = (
    "Save it again as a tiled TIFF, for example with `vips tiffsave IN OUT.tif --tile --pyramid`."
)


def photometric_of(page: Page) -> int:
    """Return what the samples of a page mean; where it does not say so, what libtiff takes."""
    if _PHOTOMETRIC in page.tags or page.compression == _OLD_JPEG:
        return int(page.photometric)
    if page.samplesperpixel - len(page.extrasamples or ()) >= _THREE:
        return RGB
    if page.compression in _CCITT:
        return _MIN_IS_WHITE
    return MIN_IS_BLACK


def to_colours(
    page: Page,
    samples: NDArray[np.generic],
    bits: int,
    alpha: Alpha | None,
    limits: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Return samples as stored, (height, width, samples), as RGB.

    Parameters
    ----------
    page
        Whose tags say what they mean; `check_colours` has passed it.
    samples
        Of one page, or of one page per colour.
    bits
        How many bits of a sample count, as `significant_bits` says.
    alpha
        Its transparency, as `alpha_of` says of the page, or the pixels deny.
    limits
        Samples that are black and white, the larger the `lighter`; None for the format's range.
    """
    kind = photometric_of(page)
    if limits is not None:
        samples = lighter(page, samples, bits)
        return _coloured(page, MIN_IS_BLACK, to_uint8(samples, bits, limits))
    if kind == RGB and samples.shape[2] == _THREE:
        return to_uint8(samples, bits)
    if kind == PALETTE:
        pixels = _palette_of(page)[samples[:, :, 0].astype(np.intp)]
    else:
        pixels = _coloured(page, kind, to_uint8(samples, bits))
    if alpha is None:
        return pixels
    clear = to_uint8(samples[:, :, alpha.sample :][:, :, :1], bits)
    if alpha.premultiplied:
        return premultiplied_over(np.dstack([pixels, clear]), GLASS)
    return over_background(np.dstack([pixels, clear]), GLASS)


def takes_window(page: Page, alpha: Alpha | None) -> bool:
    """Whether a window can say which samples of a page are black and white."""
    bits = page.bitspersample
    deep = not isinstance(bits, tuple) and bits > BYTE
    return deep and alpha is None and photometric_of(page) in {*GREY, RGB}


def lighter(page: Page, samples: NDArray[np.generic], bits: int) -> NDArray[np.generic]:
    """Return samples of a page that `takes_window`, the larger the lighter."""
    if photometric_of(page) != _MIN_IS_WHITE:
        return samples
    return np.asarray(np.maximum(2**bits - 1 - samples.astype(np.int64), 0))


def _coloured(
    page: Page,
    kind: int,
    pixels: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Return RGB of pixels of 8 bits, whatever lies beyond their colours left out."""
    if kind in GREY:
        if pixels.shape[2] != _THREE:
            pixels = pixels[:, :, :1]
        if kind == _MIN_IS_WHITE:
            pixels = OPAQUE - pixels
        return to_rgb(pixels)
    if kind == INKS:
        # libtiff's plain formula; what a printer's profile makes of the inks is another matter
        paper = OPAQUE - pixels[:, :, :_WITH_ALPHA].astype(np.uint16)
        light: NDArray[np.uint8] = (paper[:, :, :3] * paper[:, :, 3:] // OPAQUE).astype(np.uint8)
        return light
    if kind == YCBCR and not codec_gives_rgb(page):
        return _from_ycbcr(page, pixels)
    return to_rgb(pixels)


def _from_ycbcr(
    page: Page,
    pixels: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Return RGB by the file's own coefficients and black and white, as libtiff does."""
    red, green, blue = _fractions(page, _COEFFICIENTS, _REC_601)
    black_and_white = _fractions(page, _BLACK_AND_WHITE, _FULL_RANGE)
    levels = np.arange(OPAQUE + 1)
    tables = []
    for at, largest in ((0, OPAQUE), (2, OPAQUE - _NEUTRAL), (4, OPAQUE - _NEUTRAL)):
        low, high = black_and_white[at : at + 2]
        # whole numbers, as libtiff's tables hold them, so that all programs show one picture
        tables.append(np.trunc((levels - int(low)) * largest / ((high - low) or 1.0)))
    luma, to_blue, to_red = (
        tables[band].astype(np.float32)[pixels[:, :, band]] for band in range(3)
    )
    colours = np.empty((*pixels.shape[:2], 3), np.float32)
    colours[:, :, 0] = luma + np.float32(2 - 2 * red) * to_red
    colours[:, :, 2] = luma + np.float32(2 - 2 * blue) * to_blue
    colours[:, :, 1] = luma - np.float32(red * (2 - 2 * red) / green) * to_red
    colours[:, :, 1] -= np.float32(blue * (2 - 2 * blue) / green) * to_blue
    rounded: NDArray[np.uint8] = np.clip(np.rint(colours), 0, OPAQUE).astype(np.uint8)
    return rounded


def _fractions(
    page: Page,
    tag: int,
    default: tuple[float, ...],
) -> tuple[float, ...]:
    """Return a tag of as many fractions as ``default``, which stands where they are none."""
    parts = tuple(page.tags.valueof(tag) or ())
    if len(parts) == len(default):  # tifffile stores whole numbers of them as they are
        return tuple(map(float, parts))
    if len(parts) != 2 * len(default) or not all(parts[1::2]):
        return default
    return tuple(top / bottom for top, bottom in zip(parts[::2], parts[1::2], strict=True))


def codec_gives_rgb(page: Page) -> bool:
    """Whether what is decoded of a YCbCr page is RGB already."""
    if page.compression in _JPEG:
        return bool(page.planarconfig != PLANES_APART and not page.extrasamples)
    return page.compression in TIFF.IMAGE_COMPRESSIONS and page.compression not in _JPEG_2000


def packs_chroma(page: Page) -> bool:
    """Whether segments hold blocks of lumas with one chroma, which tifffile does not unpack."""
    if photometric_of(page) != YCBCR or page.compression in TIFF.IMAGE_COMPRESSIONS:
        return False
    return bool(page.is_subsampled)


def chroma_blocks(page: Page) -> tuple[int, int]:
    """Return columns and rows of pixels that share their chroma; unsaid they are 2 by 2."""
    across, down = page.subsampling or (2, 2)
    return int(across), int(down)


def unpacked_chroma(
    page: Page,
    data: bytes,
    width: int,
    height: int,
) -> NDArray[np.uint8]:
    """Return the Y, Cb and Cr of a segment's decompressed bytes, (height, width, 3).

    ValueError if there are too few.
    """
    across, down = chroma_blocks(page)
    rows, columns = -(-height // down), -(-width // across)
    shape = (rows, columns, across * down + 2)
    blocks = np.frombuffer(data, np.uint8)[: rows * columns * shape[2]].reshape(shape)
    luma = blocks[:, :, :-2].reshape(rows, columns, down, across).transpose(0, 2, 1, 3)
    samples = np.empty((rows * down, columns * across, 3), np.uint8)
    samples[:, :, 0] = luma.reshape(samples.shape[:2])
    samples[:, :, 1:] = blocks[:, :, -2:].repeat(down, axis=0).repeat(across, axis=1)
    return samples[:height, :width]


class Alpha(NamedTuple):
    """Which sample of a pixel says how much it covers.

    Premultiplied where the colours have been multiplied by it already.
    """

    sample: int
    premultiplied: bool
    declared: bool = True


def alpha_of(page: Page) -> Alpha | None:
    """Return the alpha of a page: declared, or the fourth of RGB that is of no kind.

    The latter is alpha to libtiff, OpenSlide and libvips, colours multiplied by it.
    """
    extra = tuple(map(int, page.extrasamples or ()))
    for place, kind in enumerate(extra):
        if kind in {_PREMULTIPLIED, _STRAIGHT}:
            sample = int(page.samplesperpixel) - len(extra) + place
            return Alpha(sample, kind == _PREMULTIPLIED)
    if photometric_of(page) in {RGB, YCBCR} and page.samplesperpixel == _WITH_ALPHA:
        return Alpha(_THREE, premultiplied=True, declared=False)
    return None


def denies_alpha(page: Page, samples: NDArray[np.generic], bits: int, alpha: Alpha) -> bool:
    """Whether colours lie above a sample, which no alpha that they were multiplied by is.

    Lossy codecs mix neighbours, so that some may lie above it all the same.
    """
    pixels = to_uint8(samples, bits)
    clear = pixels[:, :, alpha.sample].astype(np.int16)
    above = _coloured(page, photometric_of(page), pixels).max(axis=2) - clear
    if page.compression in TIFF.IMAGE_COMPRESSIONS:
        return bool((above > _LOSSY_ABOVE).mean() > _LOSSY_SHARE)
    return bool((above > 1).any())


def _palette_of(page: Page) -> NDArray[np.uint8]:
    """Return the palette, (2**bits, 3).

    Old programs wrote 8 bits where TIFF wants 16: as libtiff does, a palette whose values are all
    below 256 is taken for one of theirs.
    """
    if _has_small_palette(page):
        return np.asarray(page.colormap).astype(np.uint8).T
    palette: NDArray[np.uint8] = (np.asarray(page.colormap) >> BYTE).astype(np.uint8).T
    return palette


def _has_small_palette(page: Page) -> bool:
    return bool(np.asarray(page.colormap).max() <= OPAQUE)


def blank(page: Page) -> NDArray[np.generic]:
    """Return the samples of a white pixel: what a segment is that the file leaves out."""
    dtype = np.dtype(page.dtype)
    largest = True if dtype.kind == "b" else np.iinfo(dtype).max
    pixel = np.full(page.samplesperpixel, largest, dtype)
    kind = photometric_of(page)
    if kind in {_MIN_IS_WHITE, INKS}:
        pixel[: COLOURS[kind]] = 0
    if kind == YCBCR and not codec_gives_rgb(page):
        pixel[1:3] = _NEUTRAL
    if kind == PALETTE:
        pixel[0] = int(np.argmax(_palette_of(page).sum(axis=1, dtype=int)))
    return pixel


def significant_bits(
    page: Page,
    said: str,
) -> int:
    """Return how many bits of a sample count.

    OME's SignificantBits, which ``said`` is where it is there; TIFF's MaxSampleValue, where samples
    are of more than 8 bits; else all.
    """
    if isinstance(page.bitspersample, tuple):
        return BYTE  # as of 5, 6 and 5 bits, which tifffile scales itself
    stored = int(page.bitspersample)
    if 0 < (whole_number(said) or 0) <= stored:
        return int(said)
    largest = page.tags.valueof(_LARGEST_VALUE)
    if isinstance(largest, tuple):
        largest = max(largest)
    if largest and stored > BYTE:
        return min(stored, max(BYTE, int(largest).bit_length()))
    return stored


def says_bits(page: Page) -> bool:
    """Whether a page says itself what its largest sample may be."""
    return bool(page.tags.valueof(_LARGEST_VALUE))


def colour_readings(
    page: Page,
    bits: int,
    alpha: Alpha | None,
) -> tuple[str, ...]:
    """Return every choice that `to_colours` makes, as sentences."""
    kind = photometric_of(page)
    readings: list[str] = []
    if kind != PALETTE:
        readings += note_on_bits(bits)
    if page.compression == _OLD_JPEG:
        readings.append("It is old-style JPEG, at whose edges of colour programs differ.")
    if kind == INKS:
        readings.append("Inks (CMYK) are shown by the plain formula, without a printer's profile.")
    if kind == PALETTE and _has_small_palette(page):
        readings.append("Its palette is taken as one of 8 bits, since no value needs more.")
    if alpha is not None and not alpha.declared:
        readings.append("The fourth sample, whose kind is not said, is taken as transparency.")
    stated = alpha_of(page)
    if alpha != stated and stated is not None:
        readings.append(_correction(stated, alpha))
        return tuple(readings)
    beyond = page.samplesperpixel - COLOURS[kind] - (alpha is not None)
    if beyond > 0 and kind not in GREY:
        readings.append(
            f"Of its {page.samplesperpixel} samples {beyond} beyond colour are left out."
        )
    return tuple(readings)


def _correction(stated: Alpha, alpha: Alpha | None) -> str:
    """Return what is said of an alpha that the pixels deny."""
    if alpha is not None:
        said = "Its colours lie above the transparency that they are said to be multiplied by"
        return f"{said}: they are taken as not multiplied."
    if stated.declared:
        said = "All of it is transparent by its transparency, which is left out"
        return f"{said}: its colours are shown."
    said = "The fourth sample, whose kind is not said, is left out"
    return f"{said}: colours that lie above it show that it is no transparency."
