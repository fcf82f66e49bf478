"""What a TIFF says of itself beside its pixels: spacing, significant bits, label and macro."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from slidecam.geometry import Spacing

if TYPE_CHECKING:
    from tifffile import TiffFile

MICROMETRES = {
    "Å": 1e-4, "angstrom": 1e-4, "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "m": 1e6, "meter": 1e6, "metre": 1e6, "in": 25_400.0, "inch": 25_400.0,
}  # fmt: skip
"""µm in one of each unit, by the names that OME, NGFF and ImageJ write.

OME's own default is the µm.
"""

_RESOLUTION_UNIT = {2: ("inch", 25_400.0), 3: ("centimetre", 10_000.0)}
_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _LARGEST_VALUE = 282, 283, 296, 281
_ASSOCIATED = {"label": "label", "macro": "macro", "overview": "macro", "thumbnail": "thumbnail"}


def spacing(tiff: TiffFile) -> tuple[Spacing | None, str | None]:
    """Return µm per pixel of the first picture and the property they came from, or (None, None).

    OME-XML comes first, then ImageJ's unit, then the resolution tags where they name inch or
    centimetre. A resolution without a unit (libvips and tifffile write 1/1) says nothing of the
    slide.
    """
    for source in (_from_ome, _from_imagej, _from_resolution):
        found, origin = source(tiff)
        if found is not None and all(0 < value < math.inf for value in (found.x, found.y)):
            return found, origin
    return None, None


def _from_ome(tiff: TiffFile) -> tuple[Spacing | None, str]:
    pixels = _ome_pixels(tiff)
    try:
        x, y = (
            float(pixels[f"PhysicalSize{axis}"])
            * MICROMETRES[pixels.get(f"PhysicalSize{axis}Unit", "µm").strip()]
            for axis in "XY"
        )
    except (KeyError, ValueError):
        return None, ""
    return Spacing(x, y), "OME PhysicalSizeX"


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


def significant_bits(tiff: TiffFile, page: Any) -> int:  # noqa: ANN401 - tifffile's page
    """Return how many bits of a sample count.

    OME's SignificantBits, TIFF's MaxSampleValue, else all.
    """
    stored = int(page.bitspersample)
    said = _ome_pixels(tiff).get("SignificantBits", "")
    if said.isdigit() and 0 < int(said) <= stored:
        return int(said)
    largest = page.tags.valueof(_LARGEST_VALUE)
    if isinstance(largest, tuple):
        largest = max(largest)
    if largest:
        return min(stored, int(largest).bit_length())
    return stored


def associated(tiff: TiffFile) -> dict[str, Any]:
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
