"""Tiles that overlap by the coordinates in their names, empty ones too.

Pictures alone cannot say where an empty tile lies. Names such as ``slide_x1024_y512.png`` and
``slide [x=1024,y=512,w=224,h=224].png`` do; how many pixels a unit is, they say with ``w`` and
``h`` alone. Else a unit is taken for a pixel, and the names of a slide are believed only if those
of its tiles that show something agree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain, product
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from slidecam.learning.data.overlaps import LEAST_SHARE, show_the_same

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slidecam.learning.data.overlaps import Spots
    from slidecam.learning.data.pictures import PictureSet

_PLACED = re.compile(
    r"^(?P<whole>.*?)(?<![a-z0-9])x[=_]?(?P<x>\d+)[\W_]+y[=_]?(?P<y>\d+)", re.IGNORECASE
)
_SIDE = r"(?<![a-z0-9]){}[=_]?(?P<side>\d+)"

_COMPARED = 64
"""Pairs of a slide's tiles that are looked at, drawn evenly."""

_AGREEING = 0.5
"""Share of them that must show the same where their names lay them together."""


@dataclass(frozen=True)
class TilePlace:
    """Where a tile lies, by its name.

    Attributes
    ----------
    of
        Whose tile it is: what stands before its coordinates, and its group.
    corner
        Its upper left corner, (x, y).
    side
        Its width and height in the same unit.
    is_stated
        Whether its name says ``side``; else a unit is taken for a pixel.
    """

    of: tuple[str, str]
    corner: tuple[int, int]
    side: tuple[int, int]
    is_stated: bool

    def common(self, other: TilePlace) -> float:
        """Return the share of the smaller tile that both cover."""
        covered = 1
        for low, high, mine, theirs in zip(
            self.corner, other.corner, self.side, other.side, strict=True
        ):
            covered *= max(0, min(low + mine, high + theirs) - max(low, high))
        return covered / min(self.side[0] * self.side[1], other.side[0] * other.side[1])


def place_of(name: str, group: str, size: tuple[int, int]) -> TilePlace | None:
    """Return where a tile of ``size`` (width, height) lies by its name; None if it does not say."""
    stem = PurePosixPath(name).stem
    found = _PLACED.match(stem)
    if found is None or not all(size):
        return None
    rest = stem[found.end() :]
    sides = [re.search(_SIDE.format(letter), rest, re.IGNORECASE) for letter in "wh"]
    stated = [int(side["side"]) for side in sides if side is not None]
    is_stated = len(stated) == len(size) and all(stated)
    side = size
    if is_stated:
        side = (stated[0], stated[1])
    corner = (int(found["x"]), int(found["y"]))
    return TilePlace((group, found["whole"].casefold()), corner, side, is_stated)


def overlapping_by_names(
    pictures: PictureSet,
    sizes: Sequence[tuple[int, int]],
    spots: Sequence[Spots | None],
) -> list[tuple[int, int]]:
    """Return rows of every two tiles that overlap by names that can be believed.

    Parameters
    ----------
    pictures
        Tiles, of which some say in their names where they lie.
    sizes, spots
        Of each its width and height, and what it is recognised by.

    Returns
    -------
    list
        Pairs of rows, the smaller first, in ascending order. Tiles have `LEAST_SHARE` of the
        smaller one in common at least.
    """
    slides: dict[tuple[str, str], dict[int, TilePlace]] = {}
    groups = pictures.groups or ("",) * len(pictures)
    for row, known in enumerate(zip(pictures.names, groups, sizes, strict=True)):
        place = place_of(*known)
        if place is not None:
            slides.setdefault(place.of, {})[row] = place
    found: list[tuple[int, int]] = []
    for tiles in slides.values():
        pairs = sorted(_overlapping(tiles))
        if pairs and _believed(pairs, tiles, spots):
            found += pairs
    return sorted(found)


def _overlapping(tiles: Mapping[int, TilePlace]) -> Iterator[tuple[int, int]]:
    """Yield rows of every two tiles of a slide that overlap."""
    step = np.array([place.side for place in tiles.values()]).max(axis=0)
    cells: dict[tuple[int, int], list[int]] = {}
    for row, place in tiles.items():
        cell = (place.corner[0] // int(step[0]), place.corner[1] // int(step[1]))
        cells.setdefault(cell, []).append(row)
    for (column, line), rows in cells.items():
        for across, down in product((-1, 0, 1), repeat=2):
            for other in cells.get((column + across, line + down), ()):
                yield from _with_those_before(rows, other, tiles)


def _with_those_before(
    rows: Iterable[int], other: int, tiles: Mapping[int, TilePlace]
) -> Iterator[tuple[int, int]]:
    for row in rows:
        if row < other and tiles[row].common(tiles[other]) >= LEAST_SHARE:
            yield row, other


def _believed(
    pairs: Sequence[tuple[int, int]],
    tiles: Mapping[int, TilePlace],
    spots: Sequence[Spots | None],
) -> bool:
    """Whether a slide's names are believed: they state sides, or pictures agree with them."""
    agreeing = compared = 0
    for one, other in pairs[:: max(1, len(pairs) // _COMPARED)]:
        first, second = spots[one], spots[other]
        if first is None or second is None or first.is_even or second.is_even:
            continue
        apart = np.subtract(tiles[other].corner, tiles[one].corner)[::-1]
        pixels = np.array(first.relief.shape) / np.array(tiles[one].side)[::-1]
        row, column = np.rint(apart * pixels).astype(int).tolist()
        compared += 1
        agreeing += show_the_same(first, second, (row, column))
    if not compared:
        return all(tiles[row].is_stated for row in chain.from_iterable(pairs))
    return agreeing >= _AGREEING * compared
