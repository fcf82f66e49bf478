"""The pictures that a TIFF holds, each with its resolutions: of pages, series and OME images.

Pages have no order in TIFF: what belongs to one pyramid is told by its sizes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from slidecam.geometry import COARSEST, FINEST, Size, Spacing
from slidecam.sources._tiff_colours import GREY, photometric_of
from slidecam.sources.channels import Channel, color_of_ome
from slidecam.sources.images import associated_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from tifffile import TiffFile

    from slidecam.sources._tiff_colours import Page

    Series = Any

_LOOSE = {"generic", "uniform"}
"""tifffile's kinds of files that say nothing of how their pages belong together."""

_SHAPED = "shaped"
_ONE_SLIDE = {"svs", "ndpi", "bif", "philips", "qpi", "avs"}
"""Kinds whose first series is the slide, and the others its label, macro and thumbnail."""

_RESOLUTION_UNIT = {2: ("inch", 25_400.0), 3: ("centimetre", 10_000.0)}
_X_RESOLUTION, _Y_RESOLUTION, _UNIT = 282, 283, 296
_REDUCED, _MASK = 1, 4
_PAGE_NAME = 285
_LONGEST_NAME = 80
_MISFIT = 0.01
"""How far width and height of a page that says it is a reduced copy may shrink unlike."""

_LEAST_STEP = 1.4
"""How many times as wide as the next a level of a pyramid is at least."""

_UNLIKE = 0.1
"""How far the µm per pixel of a pyramid's level may be from what its size says."""


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


def pictures_of(tiff: TiffFile) -> tuple[list[Picture], list[Picture]]:
    """Return the pictures of a file that may be its slide, in its order, and those that are not."""
    kind = tiff.series[0].kind
    if kind in _LOOSE:
        return _joined(list(_loose_layers(tiff)), kind), []
    if kind == _SHAPED:
        levels = chain.from_iterable(series.levels for series in tiff.series)
        return _joined([_layer(level, place) for place, level in enumerate(levels)], kind), []
    found: list[Picture] = []
    for place, (series, ome) in enumerate(zip(tiff.series, _ome_images(tiff), strict=True)):
        layers = [_layer(level, place) for level in series.levels]
        layers = [layer for layer in layers if layer.axes == layers[0].axes]
        layers.sort(key=lambda layer: -layer.size.width)
        found.append(Picture(tuple(layers), kind, series.name, ome))
    if kind in _ONE_SLIDE:
        return found[:1], found[1:]
    return found, []


def _layer(series: Page, place: int) -> Layer:
    """Return a series of tifffile's as a layer."""
    page = series.keyframe
    axes = [pair for pair in zip(series.axes, series.shape, strict=True) if pair[0] not in "YXS"]
    count = math.prod(series.shape) // math.prod(page.shape)
    if math.prod(length for _, length in axes) != count:
        # Channels that are samples of one page, as ImageJ has them of Bio-Formats.
        axes = [pair for pair in axes if pair[0] != "C"]
    long = tuple(pair for pair in axes if pair[1] > 1)
    return Layer(page, series, long, series.name, place)


def _loose_layers(tiff: TiffFile) -> Iterator[Layer]:
    """Yield each page of its own, and the pages below it; masks are no pictures."""
    place = 0
    for index in range(len(tiff.pages)):
        page: Page = tiff.pages[index]
        below = ()
        if page.subifds:
            below = page.pages
        for each in (page, *below):
            if each.shape and not each.subfiletype & _MASK:
                yield Layer(each, (each,), (), name_of(each), place)
                place += 1


def name_of(page: Page) -> str:
    """Return what a page is called, or described as where that is one short line."""
    named = page.tags.valueof(_PAGE_NAME) or page.description or ""
    name = str(named).strip()
    if len(name) > _LONGEST_NAME or "\n" in name or name.startswith(("{", "<", "ImageJ")):
        return ""
    return name


def _joined(layers: list[Layer], kind: str) -> list[Picture]:
    """Put the layers of one pyramid together, in whatever order they were written.

    Pages of one size are planes of a stack. A smaller layer belongs to the picture whose sizes
    shrink to it.
    """
    if len({layer.name for layer in layers}) == 1:
        # What all pages are called, as by a program's name, tells none of them from another.
        layers = [replace(layer, name="") for layer in layers]
    towers: list[list[Layer]] = []
    for group in _by_size(layers):
        home = _home(_stacked(group), towers)
        if home is not None:
            home.append(_stacked(group))
            continue
        home = _home(group[0], towers)
        if home is None:
            towers.append([_stacked(group)])
            continue
        # A level and a thumbnail, say, that happens to be as large.
        home.append(group[0])
        towers.extend([each] for each in group[1:])
    towers.sort(key=lambda tower: tower[0].place)
    return [Picture(tuple(tower), kind, tower[0].name, readings=_unsaid(tower)) for tower in towers]


def _by_size(layers: list[Layer]) -> list[list[Layer]]:
    """Return the layers in groups that could be one stack, largest first."""
    groups: defaultdict[tuple[object, ...], list[Layer]] = defaultdict(list)
    for layer in layers:
        alone = layer.place
        if not layer.axes:
            alone = -1
        groups[layer.size, layer.is_reduced, layer.family, alone].append(layer)
    return sorted(groups.values(), key=lambda group: -_area(group[0].size))


def _area(size: Size) -> int:
    return size.width * size.height


def _stacked(group: list[Layer]) -> Layer:
    """Return layers of one size as one; its planes are the pages."""
    if len(group) == 1:
        return group[0]
    pages = [layer.pages[0] for layer in group]
    return replace(group[0], pages=pages, axes=(("I", len(pages)),))


def _home(layer: Layer, towers: list[list[Layer]]) -> list[Layer] | None:
    """Return the pyramid that a layer belongs to, or None."""
    if associated_name(layer.name):
        return None
    found = [each for each in towers if _continues(each, layer) and not _apart(each, layer)]
    for tower in found:
        if layer.name and tower[0].name == layer.name:
            return tower
    # Of two pyramids behind each other, the one that was begun last.
    before = [tower for tower in found if tower[0].place < layer.place]
    if before:
        return max(before, key=lambda tower: tower[0].place)
    return min(found, key=lambda tower: tower[0].place, default=None)


def _continues(tower: list[Layer], layer: Layer) -> bool:
    """Whether a layer is a smaller copy of a pyramid: its kind of pixels, its sizes shrunk alike.

    Sizes are rounded, up or down; a layer that says it is a copy may lie off by more.
    """
    full, last, size = tower[0].size, tower[-1].size, layer.size
    if layer.family != tower[0].family or size.width >= last.width or size.height > last.height:
        return False
    pairs = ((full.width, size.width), (full.height, size.height))
    least = max(long / (short + 1) for long, short in pairs)
    most = min(long / max(short - 1, 1 / long) for long, short in pairs)
    across, down = (long / short for long, short in pairs)
    return least <= most or (layer.is_reduced and abs(across / down - 1) <= _MISFIT)


def _apart(tower: list[Layer], layer: Layer) -> bool:
    """Whether the file says that a page is a picture of its own, and no smaller copy of another.

    Another name says so, µm per pixel that do not grow as the size shrinks, and a size that hardly
    shrinks at all. A page that is marked as a copy is one, whatever it is called.
    """
    full = tower[0]
    if layer.is_reduced or layer.keyframe.is_subifd:
        return False
    if full.name and layer.name and full.name != layer.name:
        return True
    if tower[-1].size.width < _LEAST_STEP * layer.size.width:
        return True
    fine, coarse = (from_resolution(each.keyframe)[0] for each in (full, layer))
    if fine is None or coarse is None:
        return False
    # What a screen's 96 dpi makes of pixels says nothing of a slide.
    if not (FINEST <= fine.mean <= COARSEST and FINEST <= coarse.mean <= COARSEST):
        return False
    shrunk = full.size.width / layer.size.width
    return abs(coarse.mean / fine.mean / shrunk - 1) > _UNLIKE


def _unsaid(tower: list[Layer]) -> tuple[str, ...]:
    """Return what to say of a pyramid that is known by its sizes alone."""
    smaller = tower[1:]
    if all(layer.is_reduced or layer.keyframe.is_subifd for layer in smaller):
        return ()
    said = f"{len(tower)} pages are taken as one pyramid, since their sizes shrink alike"
    return (f"{said}: the file does not say which are smaller copies.",)


def _ome_images(tiff: TiffFile) -> list[OmeImage]:
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


def _images_in(tiff: TiffFile) -> Iterator[OmeImage]:
    if not tiff.is_ome:
        return
    try:
        root = ET.fromstring(tiff.ome_metadata or "")  # noqa: S314 - expat refuses entity bombs since 2.4.1
    except ET.ParseError:
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
