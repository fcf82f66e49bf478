"""From level-0 pixels to napari's world and back, and a run's tiles as cells of one small raster.

napari puts the *centre* of a layer's first pixel at its ``translate``: see `RasterPlace`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.geometry import PIXELS, RasterPlace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.geometry import Spacing


AXES = ("y", "x")


@dataclass(frozen=True)
class Placing:
    """The world of one slide.

    In µm from the centre of its first pixel, or in pixels where nobody knows the µm.

    Attributes
    ----------
    spacing
        µm per level-0 pixel, or None.
    """

    spacing: Spacing | None

    @property
    def unit(self) -> Spacing:
        """World units per level-0 pixel."""
        return self.spacing or PIXELS

    @property
    def units(self) -> tuple[str, str]:
        """The world's unit along y and x, as napari names it."""
        if self.spacing is None:
            return ("pixel", "pixel")
        return ("um", "um")

    def raster(
        self, pitch: tuple[float, float] = (1, 1), corner: tuple[float, float] = (0, 0)
    ) -> dict[str, Any]:
        """Return how a layer of pixels is placed.

        They span ``pitch`` level-0 pixels from ``corner`` on (both x, y).
        """
        place = RasterPlace(pitch, corner, self.spacing)
        placed: dict[str, Any] = {
            "scale": place.scale,
            "translate": place.translation,
            "axis_labels": AXES,
        }
        if self.spacing is not None:
            placed["units"] = self.units
        return placed

    def vectors(self) -> dict[str, Any]:
        """Return how a layer of shapes or points is placed.

        Its data are level-0 pixels (row, column), counted from the slide's edges.
        """
        placed = self.raster()
        return {**placed, "translate": (-self.unit.y / 2, -self.unit.x / 2)}

    def to_world(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (N, 2) y, x in the world of (N, 2) x, y in level-0 pixels.

        The pixels are counted from the slide's edge.
        """
        x, y = np.asarray(points, np.float64).reshape(-1, 2).T
        return np.stack([(y - 0.5) * self.unit.y, (x - 0.5) * self.unit.x], axis=1)

    def to_pixels(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (N, 2) x, y in level-0 pixels of (N, 2) y, x in the world.

        The pixels are counted from the slide's edge.
        """
        y, x = np.asarray(world, np.float64).reshape(-1, 2).T
        return np.stack([x / self.unit.x + 0.5, y / self.unit.y + 0.5], axis=1)


NO_TILE = -1


@dataclass(frozen=True, eq=False)
class CellGrid:
    """Where each tile stands.

    Attributes
    ----------
    boxes
        int64, (tiles, 4), level-0 pixels.
    step
        x, y: level-0 pixels from one tile to the next.
    """

    boxes: NDArray[np.int64]
    step: tuple[int, int]

    @cached_property
    def corner(self) -> NDArray[np.int64]:
        """X, y of the first column's and first row's tiles."""
        return self.boxes[:, :2].min(axis=0) if len(self.boxes) else np.zeros(2, np.int64)

    @property
    def tile(self) -> tuple[int, int]:
        """Width and height of a tile."""
        return (int(self.boxes[0, 2]), int(self.boxes[0, 3])) if len(self.boxes) else self.step

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of each tile's cell."""
        return self.places_of(self.boxes)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the raster; at least one, since napari shows no empty image."""
        rows, columns = self.places
        return (int(rows.max()) + 1, int(columns.max()) + 1) if len(self.boxes) else (1, 1)

    @cached_property
    def numbers(self) -> NDArray[np.int32]:
        """The index of each cell's tile, `NO_TILE` where there is none."""
        return self.painted(np.arange(len(self.boxes), dtype=np.int32), NO_TILE)

    def places_of(self, boxes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return row and column of the cells of some of the grid's boxes."""
        places = (boxes[:, :2] - self.corner) // np.array(self.step)
        return places[:, 1], places[:, 0]

    def painted(self, values: NDArray[Any], background: float) -> NDArray[Any]:
        """Return the raster of one value per tile, of the values' own type."""
        raster = np.full(self.shape, background, values.dtype)
        raster[self.places] = values
        return raster

    def placed(self, placing: Placing) -> dict[str, Any]:
        """Return how the raster lies in napari's world."""
        (width, height), (across, down) = self.tile, self.step
        corner = (
            self.corner[0] + (width - across) / 2,
            self.corner[1] + (height - down) / 2,
        )
        return placing.raster((across, down), (float(corner[0]), float(corner[1])))

    def tile_at(self, x: float, y: float) -> int:
        """Return the index of the tile whose cell holds a place in level-0 pixels, or `NO_TILE`."""
        (width, height), (across, down) = self.tile, self.step
        column = int(np.floor((x - self.corner[0] - (width - across) / 2) / across))
        row = int(np.floor((y - self.corner[1] - (height - down) / 2) / down))
        if not (0 <= row < self.shape[0] and 0 <= column < self.shape[1]):
            return NO_TILE
        return int(self.numbers[row, column])
