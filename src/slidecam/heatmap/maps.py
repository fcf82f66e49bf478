"""The raw maps of a run's finished tiles, read piece by piece."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.store import Status

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from slidecam.store import RunStore

READ_VALUES = 4_000_000
"""Raw map values that are in memory at once."""


class TileMaps:
    """The finished tiles of a run with the raw maps that one method gave them.

    Parameters
    ----------
    store
        The run.
    maps
        Its raw maps (`RunStore.maps`).
    method
        Which of the store's methods, counted from 0.

    Attributes
    ----------
    rows
        int64, (tiles,): rows of the store.
    boxes
        int64, (tiles, 4), level-0 pixels.
    planes
        int64, (tiles,): the plane of a volume that each is on; all 0 on a slide.
    probabilities
        float32, (tiles, all classes of the classifier).
    shape
        (mapped classes, height, width) of a tile's map.
    """

    def __init__(self, store: RunStore, maps: zarr.Array[Any], method: int = 0) -> None:
        order = store.order
        done = store.status[order] == Status.DONE
        self._maps, self._method, self._step = maps, method, store.step
        self.rows = np.flatnonzero(done)
        self.boxes = store.boxes[order][self.rows]
        self.planes = store.planes[order][self.rows]
        self.probabilities = store.probabilities[order][self.rows]
        self.shape: tuple[int, int, int] = (maps.shape[2], maps.shape[3], maps.shape[4])

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, selection: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return raw maps of the selected tiles, float32, (tiles, classes, height, width)."""
        method = slice(self._method, self._method + 1)
        return np.asarray(self._maps.oindex[self.rows[selection], method])[:, 0].astype(np.float32)

    def spread(self, among: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return as many of these tiles as one read takes, evenly spread.

        All of them where they are few.
        """
        # More tiles than these change a percentile by less than a shade.
        return among[:: max(1, -(-len(among) // self.per_read))]

    @property
    def per_read(self) -> int:
        """How many tiles' maps may be in memory at once."""
        return max(1, READ_VALUES // math.prod(self.shape))

    @property
    def overlapping(self) -> bool:
        """Whether tiles cover parts of each other."""
        return bool(len(self)) and self._step < int(self.boxes[0, 2])
