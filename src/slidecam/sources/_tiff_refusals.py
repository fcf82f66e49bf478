"""What of a TIFF may not be shown as RGB, by which reader, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tifffile import TIFF

from slidecam.errors import RefusedSourceError, UnreadableSourceError
from slidecam.sources._tiff_colours import (
    BYTE,
    COLOURS,
    EXPORT,
    GREY,
    INKS,
    MIN_IS_BLACK,
    PALETTE,
    PLANES_APART,
    RESAVE,
    RGB,
    YCBCR,
    alpha_of,
    chroma_blocks,
    codec_gives_rgb,
    colour_readings,
    packs_chroma,
    photometric_of,
    significant_bits,
)
from slidecam.sources._tiff_evidence import alpha_by_pixels
from slidecam.sources._tiff_pages import PageReader, open_tiff
from slidecam.sources._tiff_pictures import choose_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from tifffile import TiffFile

    from slidecam.sources._tiff_colours import Page
    from slidecam.sources._tiff_pages import PageRaster
    from slidecam.viewing import PictureView

_THREE, _WITH_ALPHA = 3, 4
_INK_SET = 332
_CHROMA_BLOCKS = {1, 2, 4}
_LARGEST_SEGMENT = 2**31
_LARGE_BLOCK = 2**26
_MOST_PACKED = 20_000
"""Times that a large block may be smaller than its pixels: deflate makes 1,032, others more."""

_COPY_AGAIN = "Copy or download it again."
_LET_TIFF = "The reader tiff shows it; let it read."
_CONVERT = (
    "Save it again as RGB of 8 or 16 bits, for example with `magick IN -colorspace sRGB OUT.tif`."
)


def check_colours(
    given: str,
    raster: PageRaster,
) -> None:
    """Raise `RefusedSourceError` where the pixels cannot honestly be shown as RGB."""
    for problem, remedy in _problems(raster):
        raise RefusedSourceError(given, problem, remedy)


def _problems(raster: PageRaster) -> Iterator[tuple[str, str]]:
    """Yield what stands in the way of showing it, each with a remedy."""
    page = raster.keyframe
    compression = compression_problem(page)
    if compression:
        yield f"The pixels cannot be decoded: {compression}.", RESAVE
    if page.dtype is None or np.dtype(page.dtype) not in (np.uint8, np.uint16, np.bool_):
        found = page.dtype or f"of {page.bitspersample} bits, a type that is not known"
        yield f"The pixels are {found}, not 8 or 16 bit without sign.", EXPORT
        return
    kind = photometric_of(page)
    if page.imagedepth > 1:
        yield f"It is a volume of {page.imagedepth} planes, not one picture.", EXPORT
    if kind not in COLOURS:
        found = getattr(page.photometric, "name", page.photometric)
        yield f"The pixels are {found}, not grey, RGB, YCbCr, CMYK or of a palette.", _CONVERT
        return
    if kind == YCBCR:
        yield from _problems_of_ycbcr(page)
    if kind == PALETTE:
        yield from _problems_of_palette(page)
    if kind == INKS and page.tags.valueof(_INK_SET, 1) != 1:
        yield "Its inks are not cyan, magenta, yellow and black.", _CONVERT
    yield from _problems_of_channels(raster)
    yield from _problems_of_segments(raster)


def _problems_of_ycbcr(page: Page) -> Iterator[tuple[str, str]]:
    if page.bitspersample != BYTE and not codec_gives_rgb(page):
        yield f"The pixels are YCbCr of {page.bitspersample} bits, not of 8.", _CONVERT
    is_plain = page.planarconfig != PLANES_APART and page.predictor == 1
    blocks = set(chroma_blocks(page)) <= _CHROMA_BLOCKS
    if packs_chroma(page) and not (is_plain and blocks and page.samplesperpixel == _THREE):
        yield "Its subsampled chroma is laid out as no decoder here reads it.", _CONVERT


def _problems_of_palette(page: Page) -> Iterator[tuple[str, str]]:
    if page.colormap is None or np.shape(page.colormap)[-1] < 2**page.bitspersample:
        yield "Its pixels count in a palette that is missing or too short.", _CONVERT


def _problems_of_channels(raster: PageRaster) -> Iterator[tuple[str, str]]:
    """Refuse channels that are not grey, RGB or RGBA: leaving some out silently would be a loss."""
    page = raster.keyframe
    per_page = page.samplesperpixel
    kind, alpha = photometric_of(page), alpha_of(page)
    if alpha and alpha.premultiplied and kind not in {MIN_IS_BLACK, RGB, YCBCR}:
        yield "Its colours are multiplied by a transparency that they cannot have.", _CONVERT
    channels = raster.channels
    if len(raster.pages) > 1:
        known = per_page == 1 and channels == _THREE and kind != PALETTE
    elif kind in GREY | {PALETTE}:
        known = channels == 1 or (channels == 1 + 1 and alpha is not None)
        known = known or (channels == _THREE and kind in GREY)
    else:
        known = channels >= COLOURS[kind] or (channels == 1 and kind == RGB)
    if not known:
        yield f"Which of its {channels} channels are red, green and blue is not said.", EXPORT


def _problems_of_segments(raster: PageRaster) -> Iterator[tuple[str, str]]:
    """Refuse one huge compressed strip: every read would decode all of it."""
    size = raster.native.width * raster.native.height * raster.keyframe.samplesperpixel
    if size * np.dtype(raster.keyframe.dtype).itemsize > _LARGEST_SEGMENT:
        block = f"{raster.native.width}x{raster.native.height}"
        yield f"The picture is one compressed block of {block} pixels.", RESAVE
    elif _cannot_hold_its_pixels(raster.keyframe, raster.pages[0].databytecounts):
        yield "Its blocks hold far fewer bytes than the pixels that it claims.", _COPY_AGAIN


def _cannot_hold_its_pixels(page: Page, stored: Sequence[int]) -> bool:
    """Whether large blocks are stored in bytes that no compression could make them of.

    Sizes in a file are claims: minutes and gigabytes would be spent on each look at it. Of a series
    the first page alone says how it is laid out, and each how many bytes it has.
    """
    width, height = page.tilewidth, page.tilelength
    if not page.is_tiled:
        width, height = page.imagewidth, min(page.rowsperstrip, page.imagelength)
    samples = 1 if page.planarconfig == PLANES_APART else page.samplesperpixel
    claimed = width * height * samples * page.bitspersample // BYTE
    largest = max(stored, default=0)
    return bool(claimed > _LARGE_BLOCK and 0 < largest * _MOST_PACKED < claimed)


def compression_problem(page: Page) -> str | None:
    """Return why the pixels of a page cannot be decoded here, or None."""
    if page.compression == 1:
        return None
    try:
        TIFF.DECOMPRESSORS[page.compression]
    except (KeyError, ValueError) as error:
        return str(error).strip("'\"")
    return None


def check_generic(
    given: str,
    opened: Callable[[], BinaryIO],
    view: PictureView,
) -> tuple[str, ...]:
    """Return what is to be said of the colours of a TIFF of no vendor that OpenSlide shows.

    UnreadableSourceError where it shows other colours, or another picture than the slide.
    """
    with opened() as stream, open_tiff(stream) as tiff:
        raster = check_picture(given, tiff, view)
        check_for_others(given, raster, libtiff=True)
        bits = significant_bits(raster.keyframe, "")
        alpha = alpha_by_pixels(PageReader(given, tiff), (raster,), bits)
        if alpha != alpha_of(raster.keyframe):
            problem = "This reader takes for transparency what its colours deny."
            raise UnreadableSourceError(given, problem, _LET_TIFF)
        return colour_readings(raster.keyframe, bits, alpha)


def check_picture(given: str, tiff: TiffFile, view: PictureView) -> PageRaster:
    """Return the finest level of a TIFF's slide.

    UnreadableSourceError where that is not its first page, which is where other libraries look, or
    where OME says how many bits count, of which they know nothing; RefusedSourceError where there
    is none.
    """
    chosen = choose_picture(given, tiff, view)
    raster = chosen.rasters[0]
    is_first = raster.pages[0].offset == tiff.pages.first.offset
    bits = significant_bits(chosen.page, chosen.ome.get("SignificantBits", ""))
    is_plain = is_first and not chosen.offers - {"image"}
    if is_plain and bits == significant_bits(chosen.page, ""):
        return raster
    problem = "This reader shows the first page alone, which is not the slide in this TIFF."
    if bits != significant_bits(chosen.page, ""):
        problem = f"This reader knows nothing of OME's SignificantBits ({bits})."
    raise UnreadableSourceError(given, problem, _LET_TIFF)


def check_for_others(
    given: str,
    raster: PageRaster,
    *,
    libtiff: bool = False,
) -> None:
    """Raise where a library that knows less of TIFFs than the reader tiff shows other colours.

    Parameters
    ----------
    given
        The file, as the user named it.
    raster
        What the library reads.
    libtiff
        Whether it makes RGB by libtiff; else it hands out samples as tifffile decodes them.

    Raises
    ------
    UnreadableSourceError
        With the reader tiff as the remedy where that shows it.
    """
    for problem, remedy in _problems(raster):
        raise UnreadableSourceError(given, problem, remedy)
    keyframe = raster.keyframe
    lost = ""
    if raster.orientation != 1:
        lost = f"the turn by its Orientation tag ({raster.orientation})"
    elif libtiff:
        lost = _lost_on_libtiff(keyframe)
    elif packs_chroma(keyframe):
        lost = "subsampled chroma without JPEG"
    if lost:
        problem = f"This reader shows {lost} in wrong colours or places."
        raise UnreadableSourceError(given, problem, _LET_TIFF)


def _lost_on_libtiff(page: Page) -> str:
    """Return what OpenSlide's libtiff shows wrongly of a page, as a clause; empty for nothing."""
    bits = page.bitspersample
    if isinstance(bits, tuple) or bits not in {1, 2, 4, BYTE, 2 * BYTE}:
        return f"samples of {bits} bits"
    if significant_bits(page, "") < bits:
        return f"{significant_bits(page, '')} bits stored in {bits}"
    kind = photometric_of(page)
    if bits > BYTE and kind != RGB:
        return f"samples of {bits} bits that are not RGB"
    if alpha_of(page) is not None and kind not in {RGB, YCBCR}:
        return "grey with transparency"
    if page.samplesperpixel > _WITH_ALPHA or (kind in GREY and page.samplesperpixel > 1):
        return f"{page.samplesperpixel} samples"
    return ""
