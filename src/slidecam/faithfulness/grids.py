"""Maps on the pixels of their tile: enlarged, put in order, summed over cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from numpy.typing import NDArray


def enlarged(grid: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a map (h, w) on the pixels of its tile (H, W): bilinear, corners not aligned.

    A cell's value stands in the cell's middle, as it does when a slide's heatmap is painted.
    """
    if grid.shape == size:
        return grid
    values = torch.from_numpy(np.ascontiguousarray(grid, np.float32))[None, None]
    return np.asarray(interpolate(values, size, mode="bilinear", align_corners=False)[0, 0])


def ranks(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the place of every pixel in the order of a map (H, W): 0 for the highest.

    Pixels of equal value go row by row from the top left: maps are flat wherever they were cut off
    at 0, and the order there must not be the sort's whim.
    """
    order = np.argsort(-values, axis=None, kind="stable")
    places = np.empty(order.size, np.int64)
    places[order] = np.arange(order.size)
    return places.reshape(values.shape)


def cell_numbers(size: tuple[int, int], cells: int) -> NDArray[np.int64]:
    """Return for every pixel (H, W) the number of its cell, of ``cells`` x ``cells``, row by row.

    All cells are equally large: a larger one would matter more to any classifier, and get more from
    any map, so that even a random map would seem to know something. What is left at the tile's
    border, less than a cell's share, is numbered ``cells * cells``.
    """
    rows, columns = (_cells_along(edge, cells) for edge in size)
    numbers = rows[:, None] * cells + columns[None, :]
    return np.where((rows[:, None] < cells) & (columns[None, :] < cells), numbers, cells * cells)


def cell_sums(values: NDArray[np.float32], cells: int) -> NDArray[np.float64]:
    """Return the sum of a map (H, W) over each of its cells, (cells * cells,).

    The border left over is in none.

    Sums, and not means, add up to what a whole subset of cells is given.
    """
    height, width = values.shape
    numbers = cell_numbers((height, width), cells)
    sums: NDArray[np.float64] = np.bincount(numbers.ravel(), values.ravel(), cells * cells).astype(
        np.float64
    )
    return sums[: cells * cells]


def _cells_along(edge: int, cells: int) -> NDArray[np.int64]:
    """Return the number of each pixel's cell along an edge.

    ``cells`` for those at either end that are in none.
    """
    pixels = edge // cells
    places = np.arange(edge) - (edge - pixels * cells) // 2
    return np.where((places >= 0) & (places < pixels * cells), places // pixels, cells)
