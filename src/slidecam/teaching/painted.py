"""Labels that were painted, pixel by pixel, as areas with exact outlines.

And areas as painted labels again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from slidecam.errors import UsageError
from slidecam.exchange.geojson import Annotation
from slidecam.foreground.annotations import rasterise
from slidecam.geometry import Size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.pixels import RGB

MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Right, down, left, up, as (rows, columns).

An outline goes round what it encloses with that on its right.
"""


@dataclass(frozen=True, eq=False)
class PaintedLabels:
    """A raster of labels and its place on a slide.

    Attributes
    ----------
    labels
        Whole numbers, (rows, columns); 0 is nothing.
    classes
        The name of each label that means a class.
    scale
        Level-0 pixels per pixel of ``labels``, along x and y.
    origin
        x and y of the outer corner of its first pixel, in level-0 pixels.
    colors
        Of classes, by name.

    Raises
    ------
    UsageError
        If ``labels`` are no whole numbers in two axes, or a label was painted that no class has.
    """

    labels: NDArray[np.integer[Any]]
    classes: Mapping[int, str]
    scale: tuple[float, float] = (1.0, 1.0)
    origin: tuple[float, float] = (0.0, 0.0)
    colors: Mapping[str, RGB] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or not np.issubdtype(self.labels.dtype, np.integer):  # noqa: PLR2004  (rows, columns)
            shape = f"{self.labels.dtype} {self.labels.shape}"
            raise UsageError(f"painted labels are {shape}.", "Pass whole numbers, (rows, columns).")
        unknown = sorted(set(np.unique(self.labels).tolist()) - {0, *self.classes})
        if unknown:
            raise UsageError(
                f"the label {unknown[0]} was painted, and no class has it.",
                f"Name it; known are {dict(self.classes)}.",
            )

    def annotations(self) -> tuple[Annotation, ...]:
        """Return an area with its holes for each connected piece of each class.

        Pixels that share an edge are connected.
        """
        return tuple(
            Annotation(name, tuple(map(self._placed, rings)), self.colors.get(name))
            for label, name in self.classes.items()
            for rings in _pieces(self.labels == label)
        )

    def _placed(self, ring: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(ring * self.scale + self.origin, np.float64)


def paint_labels(
    annotations: Sequence[Annotation],
    classes: Mapping[int, str],
    shape: tuple[int, int],
    scale: tuple[float, float] = (1.0, 1.0),
    origin: tuple[float, float] = (0.0, 0.0),
) -> PaintedLabels:
    """Paint areas on a raster: each pixel whose centre lies in one; of several areas the last.

    Parameters
    ----------
    annotations
        Those of other classes than ``classes`` are left out.
    classes, scale, origin
        As of `PaintedLabels`.
    shape
        Rows and columns.
    """
    labels = np.zeros(shape, np.int32)
    numbers = {name: label for label, name in classes.items()}
    for annotation in annotations:
        if annotation.class_name in numbers:
            rings = [(ring - origin) / scale for ring in annotation.area]
            labels[rasterise([rings], Size(shape[1], shape[0]), 1.0)] = numbers[
                annotation.class_name
            ]
    colors = {each.class_name: each.color for each in annotations if each.color is not None}
    return PaintedLabels(labels, classes, scale, origin, colors)


def _pieces(mask: NDArray[np.bool_]) -> Iterator[list[NDArray[np.float64]]]:
    """Yield the rings of each connected piece, x and y of pixels' corners, the outer one first."""
    found, _count = ndimage.label(mask)
    for number, (rows, columns) in enumerate(ndimage.find_objects(found), 1):
        rings = _outlines(found[rows, columns] == number)
        yield [
            np.add(ring, (columns.start, rows.start))
            for ring in sorted(rings, key=_signed_area, reverse=True)
        ]


def _signed_area(ring: NDArray[np.float64]) -> float:
    """Return twice the area that a ring goes round clockwise (y points down).

    Holes are gone round the other way.
    """
    following = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum())


def _outlines(piece: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the closed ways along the edges between inside and outside."""
    edges = _edges(piece)
    rings = []
    while edges:
        start = edges.pop()
        ring, (row, column, way) = [], start
        while True:
            row, column = row + MOVES[way][0], column + MOVES[way][1]
            turned = _next_way(edges, row, column, way, start)
            if turned != way:
                ring.append((column, row))
            if (row, column, turned) == start:
                break
            edges.remove((row, column, turned))
            way = turned
        rings.append(np.array(ring, np.float64))
    return rings


def _next_way(
    edges: set[tuple[int, int, int]],
    row: int,
    column: int,
    way: int,
    start: tuple[int, int, int],
) -> int:
    """Return the way on: left before straight on before right.

    Where two pixels touch at a corner only, the outline goes on along the other one: what both
    enclose becomes a hole that touches the outline, as polygons may, and no outline crosses itself,
    as they may not.
    """
    for turned in ((way - 1) % 4, way, (way + 1) % 4):
        if (row, column, turned) in edges or (row, column, turned) == start:
            return turned
    raise AssertionError  # every edge is followed by one: the outline of a set of pixels is closed


def _edges(piece: NDArray[np.bool_]) -> set[tuple[int, int, int]]:
    """Return corner (row, column) and way of every edge of the piece.

    An edge has the piece on its right and none of it on its left.
    """
    around = np.pad(piece, 1)
    inside = around[1:-1, 1:-1]
    beyond = (around[:-2, 1:-1], around[1:-1, 2:], around[2:, 1:-1], around[1:-1, :-2])
    corners = ((0, 0), (0, 1), (1, 1), (1, 0))
    return {
        (row + corners[way][0], column + corners[way][1], way)
        for way in range(4)
        for row, column in np.argwhere(inside & ~beyond[way]).tolist()
    }
