"""TIFF and OME-TIFF: its facts, its spacing, and its pixels by level and box."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np

from slidecam.errors import UnreadableSourceError
from slidecam.geometry import LevelBox, Spacing, note_on_levels, pyramid
from slidecam.icc import profile_of_page
from slidecam.pixels import GLASS
from slidecam.sources._library import decoding, decoding_associated, opening
from slidecam.sources._probe import fingerprint_of_stream
from slidecam.sources._ranges import Range, range_of, samples_of, say_if_dark
from slidecam.sources._tiff_colours import (
    BYTE,
    PALETTE,
    RESAVE,
    blank,
    colour_readings,
    lighter,
    photometric_of,
    says_bits,
    significant_bits,
    takes_window,
    to_colours,
)
from slidecam.sources._tiff_evidence import alpha_by_pixels, deny_bits
from slidecam.sources._tiff_layers import from_resolution, per_pixel, refuse_frames
from slidecam.sources._tiff_pages import PageReader, open_tiff
from slidecam.sources._tiff_pictures import choose_picture
from slidecam.sources._tiff_refusals import check_colours
from slidecam.sources.images import offering_others
from slidecam.sources.overview import chunk_size
from slidecam.sources.source import Source, SourceFacts
from slidecam.sources.spacing import MICROMETRES, spacing_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from tifffile import TiffFile

    from slidecam.sources._probe import Probe
    from slidecam.sources._tiff_colours import Alpha, Page
    from slidecam.sources._tiff_pages import PageRaster
    from slidecam.sources._tiff_pictures import ChosenPicture


def check() -> str:
    """Return who decodes JPEG 2000, having tried it, for ``slidecam doctor``.

    Raises
    ------
    ValueError
        If a picture does not come back as it went in.
    """
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    encoded = imagecodecs.jpeg2k_encode(picture, level=0)
    if not np.array_equal(imagecodecs.jpeg2k_decode(encoded), picture):
        raise ValueError("JPEG 2000 comes back wrong")
    return f"imagecodecs {version('imagecodecs')} (JPEG 2000, LZW)"


def open_slide(probe: Probe) -> Source:
    """Open a TIFF; UnreadableSourceError if its pixels are none that can be shown as RGB."""
    with opening(probe.given, "This is a TIFF", RESAVE), ExitStack() as undo:
        stream = undo.enter_context(probe.open())
        fingerprint = fingerprint_of_stream(stream)
        stream.seek(0)
        tiff = undo.enter_context(open_tiff(stream))
        _refuse_empty(probe, tiff)
        chosen = choose_picture(probe.given, tiff, probe.view.slide)
        pages = PageReader(probe.given, tiff)
        with offering_others(chosen.images):
            for raster in chosen.rasters:
                check_colours(probe.given, raster)
            pages.refuse_undecodable(chosen.rasters[0])
        bits, said = _bits_of_levels(pages, chosen)
        alpha = alpha_by_pixels(pages, chosen.rasters, bits[0])
        colours = said + colour_readings(chosen.page, bits[0], alpha)
        facts = replace(_facts(probe, tiff, chosen, colours), fingerprint=fingerprint)
        shown: Range | None = None
        if takes_window(chosen.page, alpha) and len(set(bits)) == 1:
            facts = replace(facts, offers=facts.offers | {"window"})
            shown = _range(probe, pages, chosen, bits[0])
        if shown is not None:
            samples = _Samples(bits, alpha, shown.limits)
            return TiffSource(shown.put_into(facts), pages, chosen, samples, undo.pop_all())
        source = TiffSource(facts, pages, chosen, _Samples(bits, alpha), undo.pop_all())
        if bits[0] > BYTE and photometric_of(chosen.page) != PALETTE:
            say_if_dark(source)
        return source


def _range(probe: Probe, pages: PageReader, chosen: ChosenPicture, bits: int) -> Range | None:
    """Return which samples are black and white, found on the coarsest level for all."""
    raster = chosen.rasters[-1]
    page = raster.keyframe
    unread = None
    if any(0 in each.databytecounts for each in raster.pages):
        unread = int(lighter(page, blank(page), bits)[0])

    def read(box: LevelBox) -> NDArray[np.generic]:
        return lighter(page, pages.read(raster, box), bits)

    samples = samples_of(raster.size, read, unread)
    return range_of(probe.given, samples, bits, probe.view, grey=raster.channels == 1)


@dataclass(frozen=True)
class _Samples:
    """What a picture's samples mean: how many bits count at each level, and its transparency.

    And which of them are black and white; None for the range of their bits.
    """

    bits: tuple[int, ...]
    alpha: Alpha | None
    limits: tuple[float, float] | None = None


class TiffSource(Source):
    """A TIFF read tile by tile with tifffile, upright, in the colours that its tags mean.

    16 bit is scaled from its full (or stated significant) range to 8, and alpha lies on white.
    """

    def __init__(
        self,
        facts: SourceFacts,
        pages: PageReader,
        chosen: ChosenPicture,
        samples: _Samples,
        files: ExitStack,
    ) -> None:
        super().__init__(facts)
        self._rasters = chosen.rasters
        self._pages = pages
        self._samples = samples
        self._files = files
        self._associated = chosen.associated

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        raster = self._rasters[level]
        with decoding(self.facts.path, level, box):
            return self._in_colours(level, self._pages.read(raster, box))

    def _in_colours(self, level: int, samples: NDArray[np.generic]) -> NDArray[np.uint8]:
        known, page = self._samples, self._rasters[level].keyframe
        return to_colours(page, samples, known.bits[level], known.alpha, known.limits)

    def _is_absent(self, level: int, box: LevelBox) -> bool:
        raster = self._rasters[level]
        if not raster.is_absent(box):
            return False
        samples = np.tile(blank(raster.keyframe), (1, 1, len(raster.pages)))
        if raster.samples is not None:
            samples = samples[:, :, raster.samples]
        return tuple(self._in_colours(level, samples)[0, 0]) == GLASS

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Return the label, macro or thumbnail of an OME-TIFF.

        KeyError if there is none of that name.
        """
        raster = self._associated[name]
        whole = LevelBox(0, 0, raster.size.width, raster.size.height)
        with decoding_associated(self.facts.path, name):
            bits = significant_bits(raster.keyframe, "")
            alpha = alpha_by_pixels(self._pages, (raster,), bits)
            return to_colours(raster.keyframe, self._pages.read(raster, whole), bits, alpha)

    def color_profile(self) -> bytes | None:
        """Return the ICC profile of the finest level's page, or None."""
        return profile_of_page(self._rasters[0].keyframe)

    def close(self) -> None:
        """Close the file."""
        self._pages.close()
        self._files.close()


def _refuse_empty(probe: Probe, tiff: TiffFile) -> None:
    refuse_frames(probe.given, tiff)
    if not tiff.series:
        problem, remedy = "This TIFF holds no picture.", "Copy or download it again."
        raise UnreadableSourceError(probe.given, problem, remedy)


def _facts(
    probe: Probe,
    tiff: TiffFile,
    chosen: ChosenPicture,
    colours: tuple[str, ...],
) -> SourceFacts:
    """Return its facts, still without a fingerprint; ``colours`` is what to say of those."""
    rasters, finest = chosen.rasters, chosen.rasters[0]
    spacing, spacing_from = _stated_spacing(tiff, chosen)
    if spacing is not None:
        spacing = finest.spacing(spacing)
    sizes = [raster.size for raster in rasters]
    levels = pyramid(sizes)
    readings = chosen.readings + finest.readings + colours
    form = "tiff"
    if tiff.is_ome:
        form = "ome-tiff"
    return SourceFacts(
        path=probe.given,
        name=probe.name,
        reader="tiff",
        format=form,
        levels=levels,
        spacing=spacing,
        spacing_from=spacing_from,
        bounds=None,
        chunk=tuple(chunk_size(raster.native) for raster in rasters),
        associated=tuple(sorted(chosen.associated)),
        fingerprint="",
        readings=readings + note_on_levels(sizes, levels),
        images=chosen.images,
        offers=chosen.offers,
    )


def _stated_spacing(tiff: TiffFile, chosen: ChosenPicture) -> tuple[Spacing | None, str | None]:
    """Return µm per pixel of the picture and the property they came from, or (None, None).

    OME-XML comes first, then ImageJ's unit, then the resolution tags where they name inch or
    centimetre. A resolution without a unit (libvips and tifffile write 1/1) says nothing of the
    slide.
    """
    page = chosen.rasters[0].keyframe
    said = (_from_ome(chosen.ome), _from_imagej(tiff, page), from_resolution(page))
    for found, origin in said:
        if found is not None and spacing_of(found.x, found.y):
            return found, origin
    return None, None


def _from_ome(pixels: Mapping[str, str]) -> tuple[Spacing | None, str]:
    try:
        spacing = Spacing(*(_ome_length(pixels, f"PhysicalSize{axis}") for axis in "XY"))
    except (KeyError, ValueError):
        return None, ""
    return spacing, "OME PhysicalSizeX"


def _ome_length(pixels: Mapping[str, str], name: str) -> float:
    return float(pixels[name]) * MICROMETRES[pixels.get(f"{name}Unit", "µm").strip()]


def _from_imagej(tiff: TiffFile, page: Page) -> tuple[Spacing | None, str]:
    unit = str((tiff.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
    if unit not in MICROMETRES:
        return None, ""
    return per_pixel(page, MICROMETRES[unit]), f"ImageJ resolution per {unit}"


def _bits_of_levels(
    pages: PageReader,
    chosen: ChosenPicture,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return how many bits of each level's samples count, and what is said where values deny it."""
    bits = tuple(_bits(chosen, raster) for raster in chosen.rasters)
    if not deny_bits(pages, chosen.rasters, bits[0]):
        return bits, ()
    stored = int(chosen.page.bitspersample)
    said = f"Its values are larger than the {bits[0]} bits that it says they have"
    return (stored,) * len(bits), (f"{said}: all {stored} bits count.",)


def _bits(chosen: ChosenPicture, raster: PageRaster) -> int:
    """Return how many bits of a level's sample count; the finest's, where it does not say."""
    said = chosen.ome.get("SignificantBits", "")
    if not said and not says_bits(raster.keyframe):
        return significant_bits(chosen.page, "")
    return significant_bits(raster.keyframe, said)
