"""Which labelled tiles belong to one place.

Neighbours look alike, and must not be taught and measured on apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 4
"""Tiles along an edge of the pieces that large places are cut into."""


def places_of(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each tile, (N,), from 0.

    Tiles that touch, in pieces of `BLOCK` x `BLOCK` tiles at most.

    Parameters
    ----------
    boxes
        int64, (N, 4), level-0 pixels, all of one size.
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    edges = boxes[0, 2:]
    corners = boxes[:, :2] / edges
    # Corners one edge apart along both axes: the tiles touch, at a corner at least.
    pairs = cKDTree(corners).query_pairs(1 + 1e-9, p=np.inf, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(boxes), len(boxes)))
    _count, touching = connected_components(graph, directed=False)
    return _numbered(np.concatenate([touching[:, None], _pieces(corners, touching)], axis=1))


def _pieces(corners: NDArray[np.float64], touching: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return which piece of its group of touching tiles each one lies in, (N, 2).

    Pieces are counted from the group's corner.
    """
    first = np.full((touching.max() + 1, 2), np.inf)
    np.minimum.at(first, touching, corners)
    return np.asarray(np.floor((corners - first[touching]) / BLOCK + 1e-9), np.int64)


def _numbered(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    _keys, numbers = np.unique(keys, axis=0, return_inverse=True)
    return np.asarray(numbers.ravel(), np.int64)
