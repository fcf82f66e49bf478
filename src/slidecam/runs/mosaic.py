"""Areas of unions of tiles: where tiles overlap, a place counts once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.foreground import Foreground


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A slide cut along the edges of its tiles.

    Every piece lies wholly inside a tile or outside it.

    Attributes
    ----------
    spans
        int64, (tiles, 4): first row, first column of the pieces of each tile, and one past its last
        of both.
    tissue
        float64, (rows, columns): tissue in each piece, in level-0 pixels.
    """

    spans: NDArray[np.int64]
    tissue: NDArray[np.float64]

    def area(self, tiles: NDArray[np.bool_]) -> float:
        """Return the tissue under any of some tiles, in level-0 pixels.

        ``tiles`` is bool, (tiles,).
        """
        return float(self.tissue[self.covered(tiles)].sum())

    def covered(self, tiles: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which pieces lie under any of some tiles, bool, (rows, columns).

        Each tile raises what lies right of and below its first corner by one, and takes it back at
        its other corners; running sums along both axes say then how many tiles lie over a piece.
        """
        top, left, bottom, right = self.spans[tiles].T
        rows, columns = self.tissue.shape[0] + 1, self.tissue.shape[1] + 1
        corners = np.concatenate([top * columns + left, bottom * columns + right])
        opposite = np.concatenate([top * columns + right, bottom * columns + left])
        steps = np.bincount(corners, minlength=rows * columns) - np.bincount(
            opposite, minlength=rows * columns
        )
        depth = steps.reshape(rows, columns).cumsum(axis=0).cumsum(axis=1)
        return np.asarray(depth[:-1, :-1] > 0)


def lay_mosaic(boxes: NDArray[np.int64], tissue: Foreground) -> Mosaic:
    """Cut a slide along the edges of all boxes, int64 (tiles, 4), level-0 pixels."""
    left, top, width, height = boxes.T
    columns, across = np.unique(np.concatenate([left, left + width]), return_inverse=True)
    rows, down = np.unique(np.concatenate([top, top + height]), return_inverse=True)
    count = len(boxes)
    spans = np.stack([down[:count], across[:count], down[count:], across[count:]], axis=1).astype(
        np.int64
    )
    return Mosaic(spans, _tissue_of(rows, columns, tissue))


def _tissue_of(
    rows: NDArray[np.int64], columns: NDArray[np.int64], tissue: Foreground
) -> NDArray[np.float64]:
    if not len(rows):
        return np.zeros((0, 0))
    y, x = (grid.ravel() for grid in np.meshgrid(rows[:-1], columns[:-1], indexing="ij"))
    height, width = (
        grid.ravel() for grid in np.meshgrid(np.diff(rows), np.diff(columns), indexing="ij")
    )
    share = tissue.coverage(np.stack([x, y, width, height], axis=1))
    return np.asarray((share * width * height).reshape(len(rows) - 1, len(columns) - 1))


def cells(boxes: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Return the part of each tile that is its own.

    All of it, or the middle one where tiles overlap.

    Parameters
    ----------
    boxes
        int64, (tiles, 4): x, y, width, height in level-0 pixels.
    step
        Level-0 pixels from one tile to the next.
    """
    own = np.minimum(boxes[:, 2:], step)
    return np.concatenate([boxes[:, :2] + (boxes[:, 2:] - own) // 2, own], axis=1)
