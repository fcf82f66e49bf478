"""TIFF and OME-TIFF: plain, tiled, in SubIFD pyramids; grey, RGB, 8 and 16 bit.

And what a TIFF says of itself beside its pixels: spacing, significant bits, label and macro.
"""

from __future__ import annotations

from contextlib import ExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import imagecodecs
import numpy as np

from slidecam.errors import UnreadableSourceError
from slidecam.geometry import LevelBox, Spacing, pyramid
from slidecam.icc import profile_of_page
from slidecam.sources._chunks import chunk_size
from slidecam.sources._library import decoding, decoding_associated, opening
from slidecam.sources._probe import fingerprint_of_stream
from slidecam.sources._tiff_colours import (
    EXPORT,
    RESAVE,
    colour_readings,
    significant_bits,
    to_colours,
)
from slidecam.sources._tiff_pages import PageRaster, PageReader, open_tiff, same_file
from slidecam.sources._tiff_refusals import check_colours
from slidecam.sources.source import Source, SourceFacts
from slidecam.sources.spacing import MICROMETRES, spacing_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from tifffile import TiffFile

    from slidecam.sources._probe import Probe


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
        rasters = _rasters(probe, tiff, tiff.series[0])
        for raster in rasters:
            check_colours(probe.given, raster)
        PageReader(probe.given, tiff).refuse_undecodable(rasters[0])
        facts = _facts(probe, tiff, rasters, fingerprint)
        return TiffSource(facts, tiff, rasters, undo.pop_all())


class TiffSource(Source):
    """A TIFF read tile by tile with tifffile, upright, in the colours that its tags mean.

    16 bit is scaled from its full (or stated significant) range to 8, alpha lies on white, and
    three separate channels are red, green and blue.
    """

    def __init__(
        self,
        facts: SourceFacts,
        tiff: TiffFile,
        rasters: tuple[PageRaster, ...],
        files: ExitStack,
    ) -> None:
        super().__init__(facts)
        self._rasters = rasters
        self._pages = PageReader(facts.path, tiff)
        self._files = files
        self._bits = [_bits(tiff, raster.keyframe) for raster in rasters]
        self._associated = _associated_series(tiff)

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        raster = self._rasters[level]
        with decoding(self.facts.path, level, box):
            return to_colours(raster.keyframe, self._pages.read(raster, box), self._bits[level])

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Return the label, macro or thumbnail of an OME-TIFF.

        KeyError if there is none of that name.
        """
        series = self._associated[name]
        raster = PageRaster.of(series.pages)
        whole = LevelBox(0, 0, raster.size.width, raster.size.height)
        with decoding_associated(self.facts.path, name):
            samples = self._pages.read(raster, whole)
            return to_colours(raster.keyframe, samples, significant_bits(raster.keyframe, ""))

    def color_profile(self) -> bytes | None:
        """Return the ICC profile of the finest level's page, or None."""
        return profile_of_page(self._rasters[0].keyframe)

    def close(self) -> None:
        """Close the file."""
        self._pages.close()
        self._files.close()


def _rasters(probe: Probe, tiff: TiffFile, series: Any) -> tuple[PageRaster, ...]:  # noqa: ANN401 - tifffile's series
    """Return the levels of a series; an error if it is a stack, a volume or in several files."""
    extra = {
        axis: length
        for axis, length in zip(series.axes, series.shape, strict=True)
        if axis not in "YXSC"
    }
    stacked = {axis: length for axis, length in extra.items() if length > 1}
    if stacked:
        what = ", ".join(f"{axis}={length}" for axis, length in stacked.items())
        raise UnreadableSourceError(
            probe.given,
            f"This TIFF is a stack of planes ({what}), not one picture.",
            EXPORT,
        )
    rasters: list[PageRaster] = []
    for level in series.levels:
        if not same_file(level.pages, tiff):
            problem = "This TIFF is spread over several files, or planes of it are missing."
            raise UnreadableSourceError(probe.given, problem, EXPORT)
        orientation = rasters[0].orientation if rasters else 1
        rasters.append(PageRaster.of(level.pages, orientation))
    return tuple(sorted(rasters, key=lambda raster: -raster.size.width))


def _refuse_empty(probe: Probe, tiff: TiffFile) -> None:
    if not tiff.series:
        problem, remedy = "This TIFF holds no picture.", "Copy or download it again."
        raise UnreadableSourceError(probe.given, problem, remedy)


def _facts(
    probe: Probe, tiff: TiffFile, rasters: tuple[PageRaster, ...], fingerprint: str
) -> SourceFacts:
    spacing, spacing_from = _stated_spacing(tiff)
    if spacing is not None:
        spacing = rasters[0].spacing(spacing)
    bits = _bits(tiff, rasters[0].keyframe)
    form = "tiff"
    if tiff.is_ome:
        form = "ome-tiff"
    return SourceFacts(
        path=probe.given,
        name=probe.name,
        reader="tiff",
        format=form,
        levels=pyramid([raster.size for raster in rasters]),
        spacing=spacing,
        spacing_from=spacing_from,
        bounds=None,
        chunk=tuple(chunk_size(raster.native) for raster in rasters),
        associated=tuple(sorted(_associated_series(tiff))),
        fingerprint=fingerprint,
        readings=rasters[0].readings + colour_readings(rasters[0].keyframe, bits),
    )


_RESOLUTION_UNIT = {2: ("inch", 25_400.0), 3: ("centimetre", 10_000.0)}
_X_RESOLUTION, _Y_RESOLUTION, _UNIT = 282, 283, 296
_ASSOCIATED = {
    "label": "label",
    "macro": "macro",
    "overview": "macro",
    "thumbnail": "thumbnail",
}


def _stated_spacing(tiff: TiffFile) -> tuple[Spacing | None, str | None]:
    """Return µm per pixel of the first picture and the property they came from, or (None, None).

    OME-XML comes first, then ImageJ's unit, then the resolution tags where they name inch or
    centimetre. A resolution without a unit (libvips and tifffile write 1/1) says nothing of the
    slide.
    """
    for source in (_from_ome, _from_imagej, _from_resolution):
        found, origin = source(tiff)
        if found is not None and spacing_of(found.x, found.y):
            return found, origin
    return None, None


def _from_ome(tiff: TiffFile) -> tuple[Spacing | None, str]:
    pixels = _ome_pixels(tiff)
    try:
        spacing = Spacing(*(_ome_length(pixels, f"PhysicalSize{axis}") for axis in "XY"))
    except (KeyError, ValueError):
        return None, ""
    return spacing, "OME PhysicalSizeX"


def _ome_length(pixels: Mapping[str, str], name: str) -> float:
    return float(pixels[name]) * MICROMETRES[pixels.get(f"{name}Unit", "µm").strip()]


def _from_imagej(tiff: TiffFile) -> tuple[Spacing | None, str]:
    unit = str((tiff.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
    if unit not in MICROMETRES:
        return None, ""
    return _per_pixel(tiff.pages.first, MICROMETRES[unit]), f"ImageJ resolution per {unit}"


def _from_resolution(tiff: TiffFile) -> tuple[Spacing | None, str]:
    page: Any = tiff.pages.first
    unit = page.tags.valueof(_UNIT)
    if unit not in _RESOLUTION_UNIT:
        return None, ""
    name, micrometres = _RESOLUTION_UNIT[unit]
    return _per_pixel(page, micrometres), f"TIFF resolution per {name}"


def _per_pixel(page: Any, micrometres: float) -> Spacing | None:  # noqa: ANN401 - tifffile's page
    """Return µm per pixel from the resolution tags, which are fractions of pixels per unit."""
    x, y = page.tags.valueof(_X_RESOLUTION), page.tags.valueof(_Y_RESOLUTION)
    if not x or not y or not all((*x, *y)):
        return None
    return Spacing(micrometres * x[1] / x[0], micrometres * y[1] / y[0])


def _bits(tiff: TiffFile, page: Any) -> int:  # noqa: ANN401 - tifffile's page
    return significant_bits(page, _ome_pixels(tiff).get("SignificantBits", ""))


def _associated_series(tiff: TiffFile) -> dict[str, Any]:
    """Return the series named label, macro or thumbnail, as OME-TIFF, SVS and NDPI name them."""
    found: dict[str, Any] = {}
    for series in tiff.series[1:]:
        for word, name in _ASSOCIATED.items():
            if word in series.name.lower():
                found.setdefault(name, series)
    return found


def _ome_pixels(tiff: TiffFile) -> dict[str, str]:
    """Return the attributes of the first Pixels element, or nothing."""
    if not tiff.is_ome:
        return {}
    try:
        root = ET.fromstring(tiff.ome_metadata or "")  # noqa: S314 - expat refuses entity bombs since 2.4.1
    except ET.ParseError:
        return {}
    for element in root.iter():
        if element.tag.endswith("}Pixels") or element.tag == "Pixels":
            return dict(element.attrib)
    return {}
