"""TIFFSlide: vendors' TIFFs that OpenSlide refuses, and TIFF slides behind a URL."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from tiffslide import TiffSlide

from slidecam.geometry import Box, Size, Spacing, note_on_levels, pyramid
from slidecam.icc import profile_of_page
from slidecam.sources._library import closed, decoding, decoding_associated, opening
from slidecam.sources._probe import fingerprint_of_stream
from slidecam.sources._ranges import say_if_dark
from slidecam.sources._tiff_colours import BYTE, colour_readings, significant_bits, to_colours
from slidecam.sources._tiff_evidence import alpha_by_pixels
from slidecam.sources._tiff_pages import PageRaster, PageReader, open_tiff
from slidecam.sources._tiff_refusals import check_for_others, check_picture
from slidecam.sources.overview import chunk_size
from slidecam.sources.source import Source, SourceFacts
from slidecam.sources.spacing import spacing_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.geometry import Level, LevelBox
    from slidecam.sources._probe import Probe
    from slidecam.sources._tiff_colours import Alpha

_REMEDY = "If another program opens it, export it as OME-TIFF there (QuPath: File > Export images)."
_NATIVE_TILE = 256
_VENDORS = {"svs", "scn", "philips", "ndpi", "bif"}
"""Kinds of which TIFFSlide knows which page is the slide; QPTIFFs may hold fluorescence."""

_BOUNDS = tuple(f"tiffslide.bounds-{side}" for side in ("x", "y", "width", "height"))


def check() -> str:
    """Return TIFFSlide's version, for ``slidecam doctor``."""
    import_module("tiffslide")
    return version("tiffslide")


def open_slide(probe: Probe) -> Source:
    """Open a slide with TIFFSlide; UnreadableSourceError if it cannot."""
    with opening(probe.given, "This is a TIFF slide", _REMEDY):
        with probe.open() as stream:
            fingerprint = fingerprint_of_stream(stream)
            stream.seek(0)
            open_tiff(stream)  # which refuses what TIFFSlide would never come to the end of
        slide = TiffSlide(str(probe.local or probe.given))
        try:
            kind = slide.ts_tifffile.series[0].kind
            if kind not in _VENDORS:
                check_picture(probe.given, slide.ts_tifffile, probe.view.slide)
            raster = _raster(slide)
            check_for_others(probe.given, raster)
            pages = PageReader(probe.given, slide.ts_tifffile)
            bits = significant_bits(raster.keyframe, "")
            alpha = alpha_by_pixels(pages, (raster,), bits)
            colours = colour_readings(raster.keyframe, bits, alpha)
            facts = replace(_facts(probe, slide, colours), fingerprint=fingerprint)
            source = TiffSlideSource(facts, slide, alpha)
            if bits > BYTE:
                say_if_dark(source)
        except BaseException:
            slide.close()
            raise
        return source


class TiffSlideSource(Source):
    """A slide read by TIFFSlide. Its handle is not safe to share, so reads take turns."""

    def __init__(
        self,
        facts: SourceFacts,
        slide: TiffSlide,
        alpha: Alpha | None = None,
    ) -> None:
        super().__init__(facts)
        self._alpha = alpha
        self._slide: TiffSlide | None = slide
        self._lock = Lock()

    def _decode(
        self,
        level: int,
        box: LevelBox,
    ) -> NDArray[np.uint8]:
        with decoding(self.facts.path, level, box), self._lock:
            slide = self._open_slide()
            # TIFFSlide goes by its own quotient of sizes, not by what the pyramid means.
            downsample = slide.level_downsamples[level]
            corner = (_level0(box.x, downsample), _level0(box.y, downsample))
            pixels = slide.read_region(corner, level, (box.width, box.height), as_array=True)
            page = _raster(slide, level).keyframe
        return to_colours(page, pixels, significant_bits(page, ""), self._alpha)

    def associated_image(
        self,
        name: str,
    ) -> NDArray[np.uint8]:
        """Return the label, macro or thumbnail; KeyError if there is none of that name."""
        if name not in self.facts.associated:
            raise KeyError(name)
        with decoding_associated(self.facts.path, name), self._lock:
            return np.asarray(self._open_slide().associated_images[name].convert("RGB"))

    def color_profile(self) -> bytes | None:
        """Return the ICC profile of the finest level's page, or None."""
        with self._lock:
            return profile_of_page(_series(self._open_slide()).keyframe)

    def close(self) -> None:
        """Close the file once the read in progress is done."""
        with self._lock:
            if self._slide is not None:
                self._slide.close()
            self._slide = None

    def _open_slide(self) -> TiffSlide:
        if self._slide is None:
            raise closed(self.facts.path)
        return self._slide


def _level0(
    place: int,
    downsample: float,
) -> int:
    """Return a level-0 coordinate that TIFFSlide maps to exactly ``place`` of the level.

    TIFFSlide truncates.
    """
    corner = math.ceil(place * downsample)
    if int(corner / downsample) == place:
        return corner
    return corner + 1


def _series(slide: TiffSlide) -> Any:  # noqa: ANN401 - tifffile's series
    return slide.ts_tifffile.series[slide.properties.get("tiffslide.series-index") or 0]


def _raster(
    slide: TiffSlide,
    level: int = 0,
) -> PageRaster:
    """Return the pages of a level; of a level that is a series of its own, those of the finest."""
    levels = _series(slide).levels
    if level >= len(levels):
        level = 0
    return PageRaster.of(levels[level].pages)


def _facts(
    probe: Probe,
    slide: TiffSlide,
    colours: tuple[str, ...],
) -> SourceFacts:
    """Return its facts, still without a fingerprint; ``colours`` is what to say of those."""
    sizes = [Size(*size) for size in slide.level_dimensions]
    levels = pyramid(sizes)
    spacing, spacing_from = _spacing(slide.properties), None
    if spacing is not None:
        spacing_from = "tiffslide.mpp-x"
    return SourceFacts(
        path=probe.given,
        name=probe.name,
        reader="tiffslide",
        format=str(slide.properties.get("tiffslide.vendor") or "tiff"),
        levels=levels,
        spacing=spacing,
        spacing_from=spacing_from,
        bounds=_bounds(slide.properties),
        chunk=tuple(chunk_size(_native_tile(slide, level)) for level in levels),
        associated=tuple(sorted(slide.associated_images)),
        fingerprint="",
        readings=colours + note_on_levels(sizes, levels),
    )


def _spacing(properties: dict[str, Any]) -> Spacing | None:
    x, y = properties.get("tiffslide.mpp-x"), properties.get("tiffslide.mpp-y")
    if not x or not y:
        return None
    return spacing_of(float(x), float(y))


def _bounds(properties: dict[str, Any]) -> Box | None:
    sides: list[Any] = list(map(properties.get, _BOUNDS))
    if None in sides:
        return None
    return Box(*map(int, sides))


def _native_tile(
    slide: TiffSlide,
    level: Level,
) -> Size:
    """Return the size of a tile, or of a strip where the level has no tiles."""
    series = _series(slide)
    if len(series.levels) <= level.index:
        return Size(_NATIVE_TILE, _NATIVE_TILE)
    return PageRaster(tuple(series.levels[level.index].pages), level.size).native
