"""A run's tiles as the cells of one small raster.

What makes 100,000 tiles as quick to draw as a thumbnail.

Every grid is regular, so each tile has a row and a column; where tiles overlap, a cell is the
grid's square around a tile's centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.plugin.placing import Placing

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
        corner = (self.corner[0] + (width - across) / 2, self.corner[1] + (height - down) / 2)
        return placing.raster((across, down), (float(corner[0]), float(corner[1])))

    def tile_at(self, x: float, y: float) -> int:
        """Return the index of the tile whose cell holds a place in level-0 pixels, or `NO_TILE`."""
        (width, height), (across, down) = self.tile, self.step
        column = int(np.floor((x - self.corner[0] - (width - across) / 2) / across))
        row = int(np.floor((y - self.corner[1] - (height - down) / 2) / down))
        if not (0 <= row < self.shape[0] and 0 <= column < self.shape[1]):
            return NO_TILE
        return int(self.numbers[row, column])
