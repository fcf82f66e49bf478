"""What a TIFF's pages, series and OME images say of themselves: sizes, names, channels, spacing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.errors import RefusedSourceError
from slidecam.geometry import Size, Spacing
from slidecam.parsing import ParseError, xml_of
from slidecam.sources._companions import refuse_elsewhere
from slidecam.sources._tiff_colours import GREY, photometric_of
from slidecam.sources.channels import Channel, color_of_ome
from slidecam.sources.images import associated_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any
    from xml.etree import ElementTree as ET

    from tifffile import TiffFile

    from slidecam.sources._tiff_colours import Page

    Series = Any

_RESOLUTION_UNIT = {2: ("inch", 25_400.0), 3: ("centimetre", 10_000.0)}
_X_RESOLUTION, _Y_RESOLUTION, _UNIT = 282, 283, 296
_REDUCED, _MASK, _MACRO = 1, 4, 8
"""Bits of NewSubfileType; the last is Aperio's, of what is no level of the slide."""

MOST_FRAMES = 1_000_000
"""Pages that a file may be said to have."""

_COUNTS = ("IFD", "PlaneCount", "NumPlanes", "FirstC", "FirstZ", "FirstT")
_MEND = "Mend its OME-XML, or export it again."

_PAGE_NAME = 285
_LONGEST_NAME = 80


@dataclass(frozen=True)
class OmeImage:
    """One Image element of OME-XML.

    Attributes
    ----------
    name
        Its name; empty where it has none.
    pixels
        Attributes of its Pixels element.
    channels
        Its Channel elements.
    """

    name: str = ""
    pixels: Mapping[str, str] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()

    def fits(self, series: Series) -> bool:
        """Whether a series of tifffile's can be this image."""
        page = series.keyframe
        size = [str(page.imagewidth), str(page.imagelength)]
        said = [self.pixels.get("SizeX"), self.pixels.get("SizeY")]
        return size == said and self.name == series.name


@dataclass(frozen=True)
class Layer:
    """One resolution of one picture.

    Attributes
    ----------
    keyframe
        The page whose tags hold for all.
    pages
        All of them, or a series of tifffile's; the last of ``axes`` counts fastest.
    axes
        Letter and length of what a page does not hold: planes, times, channels.
    place
        Where in the file.
    """

    keyframe: Page
    pages: Sequence[Page]
    axes: tuple[tuple[str, int], ...] = ()
    name: str = ""
    place: int = 0

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.keyframe.imagewidth, self.keyframe.imagelength)

    @property
    def is_reduced(self) -> bool:
        """Whether the file says that it is a smaller copy of another."""
        return bool(self.keyframe.subfiletype & _REDUCED)

    @property
    def is_coloured(self) -> bool:
        """Whether the samples of a pixel are one colour together."""
        return photometric_of(self.keyframe) not in GREY

    @property
    def family(self) -> tuple[object, ...]:
        """What the layers of one pyramid have in common."""
        page = self.keyframe
        meaning = self.is_coloured or photometric_of(page)
        return self.axes, page.samplesperpixel, page.dtype, meaning, associated_name(self.name)

    def page(self, index: int) -> Page | None:
        """Return one of its pages, or None for one that is missing."""
        count = math.prod(length for _, length in self.axes)
        if len(self.pages) == count:
            return self.pages[index]
        if len(self.pages) == 1 and self.keyframe.is_contiguous:
            return _Block(self.keyframe, index)
        return None


class _Block:
    """A page without a directory of its own: ImageJ writes planes behind each other."""

    def __init__(self, keyframe: Page, index: int) -> None:
        self.keyframe, self.parent = keyframe, keyframe.parent
        start = index * keyframe.nbytes
        self.offset = keyframe.offset
        self.dataoffsets = [offset + start for offset in keyframe.dataoffsets]
        self.databytecounts = keyframe.databytecounts


@dataclass(frozen=True)
class Picture:
    """One picture of a TIFF: its layers, finest first, and what is said of it."""

    layers: tuple[Layer, ...]
    kind: str
    name: str = ""
    ome: OmeImage = field(default_factory=OmeImage)
    readings: tuple[str, ...] = ()

    @property
    def finest(self) -> Layer:
        """The largest layer."""
        return self.layers[0]


def layer_of(series: Page, place: int) -> Layer:
    """Return a series of tifffile's as a layer."""
    page = series.keyframe
    axes = [pair for pair in zip(series.axes, series.shape, strict=True) if pair[0] not in "YXS"]
    count = math.prod(series.shape) // math.prod(page.shape)
    if math.prod(length for _, length in axes) != count:
        # Channels that are samples of one page, as ImageJ has them of Bio-Formats.
        axes = [pair for pair in axes if pair[0] != "C"]
    long = tuple(pair for pair in axes if pair[1] > 1)
    return Layer(page, series, long, series.name, place)


def loose_layers(tiff: TiffFile) -> Iterator[Layer]:
    """Yield each page of its own, and the pages below it; masks are no pictures."""
    place = 0
    for index in range(len(tiff.pages)):
        page: Page = tiff.pages[index]
        below = ()
        if page.subifds:
            below = page.pages
        for each in (page, *below):
            if each.shape and not each.subfiletype & _MASK:
                name = name_of(each)
                if each.subfiletype & _MACRO and not associated_name(name):
                    name = f"{name} macro".strip()
                yield Layer(each, (each,), (), name, place)
                place += 1


def name_of(page: Page) -> str:
    """Return what a page is called, or described as where that is one short line."""
    named = page.tags.valueof(_PAGE_NAME) or page.description or ""
    name = str(named).strip()
    if len(name) > _LONGEST_NAME or "\n" in name or name.startswith(("{", "<", "ImageJ")):
        return ""
    return name


def ome_images(tiff: TiffFile) -> list[OmeImage]:
    """Return the OME image of each of a file's series, in their order; empty ones where unknown.

    tifffile leaves out images without pixels, so that they must be matched.
    """
    left = list(_images_in(tiff))
    found: list[OmeImage] = []
    for series in tiff.series:
        fitting = next((each for each in left if each.fits(series)), OmeImage())
        if fitting in left:
            left.remove(fitting)
        found.append(fitting)
    return found


def refuse_frames(given: str, tiff: TiffFile) -> None:
    """Refuse a file whose OME-XML counts more frames than any file holds: each costs memory.

    So is one that names files elsewhere. To be called before tifffile makes series of it.

    Raises
    ------
    RefusedSourceError
        Beyond `MOST_FRAMES`; or if planes are said to lie in a file that is neither beside this one
        nor below, which tifffile would open.
    """
    root = _ome_root(tiff)
    if root is None:
        return
    for name in _other_files(root, Path(given).name):
        refuse_elsewhere(given, Path(given).parent, name, "this OME-TIFF")
    page = tiff.pages.first
    for element in root.iter():
        sizes = [_number(element.get(f"Size{axis}", "1")) for axis in "XYCZT"]
        if math.prod(sizes) // max(1, page.imagewidth * page.imagelength) > MOST_FRAMES:
            said, size = " x ".join(map(str, sizes)), f"{page.imagewidth} x {page.imagelength}"
            problem = f"The OME-XML speaks of {said} pixels (XYCZT) and a page has {size}."
            raise RefusedSourceError(given, problem, _MEND)
        if max(_steps(element), *_numbers(element), 0) > MOST_FRAMES:
            problem = "The OME-XML counts more planes, or steps of an axis, than any file holds."
            raise RefusedSourceError(given, problem, _MEND)


def _other_files(root: ET.Element, own: str) -> Iterator[str]:
    """Yield the names of other files that OME-XML says planes to lie in."""
    for element in root.iter():
        name = element.get("FileName", "")
        is_own = element.text == root.get("UUID") or name.lower() == own.lower()
        if element.tag.rpartition("}")[2] == "UUID" and name and not is_own:
            yield name


def _steps(element: ET.Element) -> float:
    """Return how many places an axis has that is said by its ends and a step."""
    try:
        start, end, step = (float(element.attrib[name]) for name in ("Start", "End", "Step"))
    except (KeyError, ValueError):
        return 0.0
    if not step:
        return math.inf
    return abs((end - start) / step)


def _numbers(element: ET.Element) -> Iterator[int]:
    """Yield what an element of the planes counts: where they begin and how many they are."""
    for name in _COUNTS:
        if name in element.attrib:
            yield abs(_number(element.attrib[name]))


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 1


def _ome_root(tiff: TiffFile) -> ET.Element | None:
    if not tiff.is_ome:
        return None
    try:
        return xml_of(tiff.ome_metadata or "")
    except ParseError:
        return None


def _images_in(tiff: TiffFile) -> Iterator[OmeImage]:
    root = _ome_root(tiff)
    if root is None:
        return
    for image in _children(root, "Image"):
        for pixels in _children(image, "Pixels"):
            channels = tuple(map(_channel, _children(pixels, "Channel")))
            yield OmeImage(image.get("Name", ""), dict(pixels.attrib), channels)


def _children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    for child in element:
        if child.tag.rpartition("}")[2] == name:
            yield child


def _channel(element: ET.Element) -> Channel:
    """Return a Channel element; one without a name is called by its dye or its wavelength."""
    name = element.get("Name") or element.get("Fluor") or ""
    wave = element.get("EmissionWavelength")
    if wave and not name:
        name = f"emission {wave} {element.get('EmissionWavelengthUnit', 'nm')}"
    return Channel(name, color_of_ome(element.get("Color")))


def from_resolution(page: Page) -> tuple[Spacing | None, str]:
    """Return µm per pixel of a page from its resolution tags, and how to call that, or None."""
    unit = page.tags.valueof(_UNIT)
    if unit not in _RESOLUTION_UNIT:
        return None, ""
    name, micrometres = _RESOLUTION_UNIT[unit]
    return per_pixel(page, micrometres), f"TIFF resolution per {name}"


def per_pixel(page: Page, micrometres: float) -> Spacing | None:
    """Return µm per pixel from the resolution tags, which are fractions of pixels per unit."""
    x, y = page.tags.valueof(_X_RESOLUTION), page.tags.valueof(_Y_RESOLUTION)
    if not x or not y or not all((*x, *y)):
        return None
    return Spacing(micrometres * x[1] / x[0], micrometres * y[1] / y[0])
