"""The nouns of a run on disk.

What became of a tile, what a batch leaves behind, and how a store is laid out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Status(IntEnum):
    """What became of a tile."""

    PENDING = 0
    DONE = 1
    FAILED = 2


@dataclass(frozen=True)
class TileResults:
    """What one batch leaves behind; rows of failed tiles mean nothing until they are `blanked`.

    Attributes
    ----------
    logits, probabilities
        float32, (tiles, classes).
    maps
        Raw class-activation maps, float32, (tiles, methods, mapped classes, height, width), or
        None. The store keeps them in float16: three digits, at half the size.
    failures
        Position in the batch and reason of every tile that failed.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    maps: NDArray[np.float32] | None
    failures: Mapping[int, str]

    def blanked(self) -> TileResults:
        """Return the same with not-a-number in every row of a failed tile."""
        if not self.failures:
            return self
        if self.maps is None:
            maps = None
        else:
            maps = _blanked(self.maps, self.failures)
        logits, probabilities = (
            _blanked(values, self.failures) for values in (self.logits, self.probabilities)
        )
        return TileResults(logits, probabilities, maps, self.failures)


@dataclass(frozen=True)
class StorePlan:
    """The shape of a run, fixed before its first batch.

    Attributes
    ----------
    boxes
        int64, (tiles, 4), level-0 pixels, in grid order.
    batches
        Grid rows of each batch, in streaming order.
    step
        Level-0 pixels from one tile to the next.
    classes
        How many classes there are.
    map_shape
        (methods, mapped classes, height, width) of a tile's raw maps, or None where none are kept.
    digest
        What decides every result (slide, bundle, tiling, …), as JSON; a run is continued only if it
        is equal.
    planes
        int64, (tiles,): the plane of a volume that each tile is on; None for a slide, which is one
        plane.
    """

    boxes: NDArray[np.int64]
    batches: Sequence[NDArray[np.int64]]
    step: int
    classes: int
    map_shape: tuple[int, int, int, int] | None
    digest: Mapping[str, Any] = field(default_factory=dict)
    planes: NDArray[np.int64] | None = None

    @property
    def order(self) -> NDArray[np.int64]:
        """Grid rows in streaming order."""
        if self.batches:
            return np.concatenate(self.batches).astype(np.int64)
        return np.zeros(0, np.int64)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each batch begins in `order`."""
        sizes = list(map(len, self.batches))
        return np.cumsum([0, *sizes[:-1]], dtype=np.int64)[: len(sizes)]


def _blanked(values: NDArray[Any], failed: Mapping[int, str]) -> NDArray[Any]:
    blanked = values.copy()
    blanked[list(failed)] = np.nan
    return blanked
