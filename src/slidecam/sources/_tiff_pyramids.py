"""Which pages of a TIFF are one pyramid, and which are pictures of their own.

Pages have no order in TIFF. What belongs to one pyramid is known by what the file says, by sizes
that shrink alike, and by pixels that show one picture.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from slidecam.geometry import COARSEST, FINEST, Size
from slidecam.sources._tiff_evidence import shows_another
from slidecam.sources._tiff_layers import (
    Layer,
    Picture,
    from_resolution,
    layer_of,
    loose_layers,
    ome_images,
)
from slidecam.sources._tiff_pages import PageReader
from slidecam.sources.images import associated_name

if TYPE_CHECKING:
    from tifffile import TiffFile

_LOOSE = {"generic", "uniform"}
"""tifffile's kinds of files that say nothing of how their pages belong together."""

_SHAPED = "shaped"
_ONE_SLIDE = {"svs", "ndpi", "bif", "philips", "qpi", "avs"}
"""Kinds whose first series is the slide, and the others its label, macro and thumbnail."""

_MISFIT = 0.01
"""How far width and height of a page that says it is a reduced copy may shrink unlike."""

_LEAST_STEP = 1.4
"""How many times as wide as the next a level of a pyramid is at least."""

_UNLIKE = 0.1
"""How far the µm per pixel of a pyramid's level may be from what its size says."""

_NUMBERED = re.compile(
    r"[\s_#:.-]*\(?(?:resolution|level|pyramid)?[\s_#:.-]*\d*\)?$", re.IGNORECASE
)
"""What follows the name of a slide in those of its levels."""

_UNLIKE_PAGES = (
    "Pages of its file shrink alike and show different pictures: they are kept apart as images."
)


def pictures_of(path: str, tiff: TiffFile) -> tuple[list[Picture], list[Picture]]:
    """Return the pictures of a file that may be its slide, in its order, and those that are not."""
    kind, reader = tiff.series[0].kind, PageReader(path, tiff)
    if kind in _LOOSE:
        return _joined(list(loose_layers(tiff)), kind, reader), []
    if kind == _SHAPED:
        levels = chain.from_iterable(series.levels for series in tiff.series)
        layers = [layer_of(level, place) for place, level in enumerate(levels)]
        return _joined(layers, kind, reader), []
    found: list[Picture] = []
    for place, (series, ome) in enumerate(zip(tiff.series, ome_images(tiff), strict=True)):
        layers = [layer_of(level, place) for level in series.levels]
        layers = [layer for layer in layers if layer.axes == layers[0].axes]
        layers.sort(key=lambda layer: -layer.size.width)
        found.append(Picture(tuple(layers), kind, series.name, ome))
    if kind in _ONE_SLIDE:
        return found[:1], found[1:]
    return _with_levels(found, reader), []


def _with_levels(pictures: list[Picture], reader: PageReader) -> list[Picture]:
    """Return pictures of which some are levels of others, as Bio-Formats before 6 wrote them.

    It called them by one name and a number, and the file does not say what they are.
    """
    joined: list[Picture] = []
    for picture in sorted(pictures, key=lambda picture: -_area(picture.finest.size)):
        place = 0
        while place < len(joined) and not _is_level(joined[place], picture, reader):
            place += 1
        if place == len(joined):
            joined.append(picture)
            continue
        layers = (*joined[place].layers, picture.finest)
        said = (
            f"{len(layers)} of its images are taken as one pyramid, by their names, by sizes that"
        )
        readings = (f"{said} shrink alike, and by what they show.",)
        joined[place] = replace(joined[place], layers=layers, readings=readings)
    return sorted(joined, key=lambda picture: picture.finest.place)


def _is_level(larger: Picture, picture: Picture, reader: PageReader) -> bool:
    """Whether an image with no levels of its own is one of a larger image's."""
    names = {_NUMBERED.sub("", each.name) for each in (larger, picture)}
    if len(names) > 1 or "" in names or larger.name == picture.name or len(picture.layers) > 1:
        return False
    tower, layer = list(larger.layers), picture.finest
    if not _continues(tower, layer):
        return False
    return not shows_another(reader, tower[-1].pages[0], layer.pages[0])


def _joined(layers: list[Layer], kind: str, reader: PageReader) -> list[Picture]:
    """Put the layers of one pyramid together, in whatever order they were written.

    Pages of one size are planes of a stack. A smaller layer belongs to the picture whose sizes
    shrink to it, unless the file or the pixels say otherwise.
    """
    if len({layer.name for layer in layers}) == 1:
        # What all pages are called, as by a program's name, tells none of them from another.
        layers = [replace(layer, name="") for layer in layers]
    pyramids = _Pyramids(reader)
    for group in _by_size(layers):
        pyramids.add(group)
    pictures: list[Picture] = []
    for tower in sorted(pyramids.towers, key=lambda tower: tower[0].place):
        said = _unsaid(tower)
        if pyramids.kept_apart:
            said += (_UNLIKE_PAGES,)
        pictures.append(Picture(tuple(tower), kind, tower[0].name, readings=said))
    return pictures


class _Pyramids:
    """Pyramids as they grow, from the largest pages to the smallest.

    Attributes
    ----------
    towers
        The layers of each, finest first.
    kept_apart
        Whether pixels denied what sizes promised.
    """

    def __init__(self, reader: PageReader) -> None:
        self.towers: list[list[Layer]] = []
        self.kept_apart = False
        self._reader = reader

    def add(self, group: list[Layer]) -> None:
        """Add pages of one size, as one layer where they are planes of a stack."""
        if len(group) > 1 and self._adds(_stacked(group)):
            return
        # Levels of several pictures, or a level and a thumbnail, that happen to be as large.
        left = [layer for layer in group if not self._adds(layer)]
        if len(left) == len(group):
            left = [_stacked(group)]
        self.towers.extend([layer] for layer in left)

    def _adds(self, layer: Layer) -> bool:
        """Whether a layer belongs to one of the pyramids, to which it is added then."""
        alike: list[list[Layer]] = []
        for tower in _homes(layer, self.towers):
            if _is_said(tower, layer) or not self._differs(tower, layer):
                alike.append(tower)
            else:
                self.kept_apart = True
        home = _nearest(layer, alike)
        if home is not None:
            home.append(layer)
        return home is not None

    def _differs(self, tower: list[Layer], layer: Layer) -> bool:
        return shows_another(self._reader, tower[-1].pages[0], layer.pages[0])


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


def _homes(layer: Layer, towers: list[list[Layer]]) -> list[list[Layer]]:
    """Return the pyramids that a layer may belong to by its size and by what the file says."""
    if associated_name(layer.name):
        return []
    return [each for each in towers if _continues(each, layer) and not _apart(each, layer)]


def _nearest(layer: Layer, towers: list[list[Layer]]) -> list[Layer] | None:
    """Return the one of several pyramids that a layer belongs to, or None where there are none."""
    for tower in towers:
        if layer.name and tower[0].name == layer.name:
            return tower
    # Of two pyramids behind each other, the one that was begun last.
    before = [tower for tower in towers if tower[0].place < layer.place]
    if before:
        return max(before, key=lambda tower: tower[0].place)
    return min(towers, key=lambda tower: tower[0].place, default=None)


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


def _is_said(tower: list[Layer], layer: Layer) -> bool:
    """Whether the file says itself that a page is a smaller copy, by a mark or by one name."""
    if layer.is_reduced or layer.keyframe.is_subifd:
        return True
    return bool(layer.name) and layer.name == tower[0].name


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
    said = f"{said} and no pixels tell them apart"
    return (f"{said}: the file does not say which are smaller copies.",)
