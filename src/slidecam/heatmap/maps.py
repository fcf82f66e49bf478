"""The raw maps of a run's finished tiles, read piece by piece, and what their values mean.

Which raw value is painted as 1, and below which nothing is painted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from slidecam.classes import CALLED_FROM, ClassSet
from slidecam.drawing.style import highest
from slidecam.store import Status
from slidecam.thresholds import threshold_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import zarr
    from numpy.typing import NDArray

    from slidecam.classes import Activation
    from slidecam.store import RunStore
    from slidecam.thresholds import Threshold


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
        self._maps, self._method, self._steps = maps, method, store.steps
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
        return bool(len(self)) and bool((self.boxes[0, 2:] > self._steps).any())


TINY = float(np.finfo(np.float64).tiny)

LEAST_PRESENCE = 1e-6
"""A class less present than this is painted as if it were so present: scales stay finite."""


@dataclass(frozen=True)
class PaintSpec:
    """How one method's raw maps become a heatmap.

    Attributes
    ----------
    method
        Which of the store's methods, counted from 0.
    classes
        For each mapped class, its place among all classes of the classifier; empty for all, in
        their order.
    activation, thresholds
        What made the stored probabilities, and from where each class of the classifier is called;
        without thresholds, from where all are usually.
    signed
        Whether negative raw values mean evidence against the class. They are painted from -1 to 1
        then, else all from 0 to 1.
    fixed
        Raw values that are painted as 0 and as 1, the same for every slide; None for the slide's
        own scale. For a signed method 0 stays 0, and the larger of both is painted as 1.
    threshold
        What lies below is painted as 0; None for no threshold.
    scope
        Whether a threshold is that of the slide or of each tile.
    """

    method: int = 0
    classes: tuple[int, ...] = ()
    activation: Activation = "softmax"
    thresholds: tuple[float, ...] = ()
    signed: bool = False
    fixed: tuple[float, float] | None = None
    threshold: Threshold | None = None
    scope: Literal["slide", "tile"] = "slide"


@dataclass(frozen=True)
class Scale:
    """The raw values that are painted as 0 and as 1.

    Attributes
    ----------
    low, high
        The raw values.
    presence
        How near the class came to being called on any tile of the slide; below 1 it is painted
        fainter for that.
    called
        Whether some tile of the slide was called so.
    peak
        The largest raw value on any tile, whatever its sign.
    """

    low: float
    high: float
    presence: float = 1.0
    called: bool = True
    peak: float = 1.0


def presence(
    probabilities: NDArray[np.float32],
    classes: Sequence[int],
    activation: Activation,
    thresholds: Sequence[float] = (),
) -> NDArray[np.float64]:
    """Return how near each tile is to being called each class, from 0 to 1, where 1 is called.

    It is the odds of the class against what was called instead: its probability as a share of the
    most probable class's (``softmax``), or of its own opposite's, against the odds from which it is
    called (``sigmoid``), at most 1. What is no probability (``none``) counts as called.

    Parameters
    ----------
    probabilities
        float32, (tiles, all classes).
    classes
        Which of them.
    activation
        What made the probabilities.
    thresholds
        Of all classes; none for the usual.

    Returns
    -------
    ndarray
        float64, (tiles, classes).
    """
    chosen = np.asarray(probabilities, np.float64)[:, list(classes)]
    if activation == "none":
        return np.ones_like(chosen)
    if activation == "softmax":
        return np.asarray(chosen / np.max(probabilities, axis=1, keepdims=True, initial=1e-12))
    each = thresholds or (CALLED_FROM,) * np.shape(probabilities)[1]
    least = np.array([each[index] for index in classes])
    ours, opposite = chosen * (1 - least), (1 - chosen) * least
    return np.asarray(ours / np.maximum(np.maximum(ours, opposite), TINY))


def slide_scales(maps: TileMaps, spec: PaintSpec) -> tuple[Scale, ...]:
    """Return the scale of each mapped class: 0, and one raw value for all tiles of a slide.

    For each class that some tile was called, the `highest` is taken of its raw cells (by their
    size, for a signed method) in the tiles that were called so; the largest of these is the value.
    All classes share it, so that they compare: a class with weak evidence stays weak beside one
    with strong evidence. And a lesion sets it by its own tiles, however few they are, while the
    noise of all the others has no part in it.

    A class that no tile of the slide was called is painted fainter, nowhere above the `presence` of
    its best tile: that one divides its largest raw value, or the shared one if that is larger.
    Otherwise whatever such a slide has most of, be it noise, would be painted as 1, and a slide
    without tumour would glow like one with it. A class whose best tile stood at 1 : 50 comes to 2 %
    of the scale at most.
    """
    peaks = _peaks(maps)
    if spec.fixed is not None:
        fixed = _fixed(spec.fixed, signed=spec.signed)
        return tuple(replace(fixed, peak=float(peak)) for peak in peaks)
    classes = spec.classes or tuple(range(maps.shape[0]))
    near = presence(maps.probabilities, classes, spec.activation, spec.thresholds)
    called = _called(maps.probabilities, spec)[:, list(classes)]
    near = np.where(called, 1.0, near)
    called_any = np.any(called, axis=0)
    top = _top(maps, near >= 1)
    highs, best = np.full(maps.shape[0], top), np.ones(maps.shape[0])
    if len(maps):
        best = np.maximum(near.max(axis=0), LEAST_PRESENCE)
    if (best < 1).any():
        highs = np.where(best < 1, np.maximum(top, peaks) / best, top)
    scales = []
    for high, share, was_called, peak in zip(highs, best, called_any, peaks, strict=True):
        faint = min(1.0, float(share))
        scales.append(Scale(0.0, float(high), faint, bool(was_called), float(peak)))
    return tuple(scales)


def _called(probabilities: NDArray[np.float32], spec: PaintSpec) -> NDArray[np.bool_]:
    """Return which classes of all each tile was called, (tiles, classes)."""
    names = tuple(map(str, range(probabilities.shape[1])))
    return ClassSet(names, spec.activation, thresholds=spec.thresholds).called(probabilities)


def _peaks(maps: TileMaps) -> NDArray[np.float32]:
    """Return the largest raw value of each class, whatever its sign, (classes,)."""
    peaks = np.zeros(maps.shape[0], np.float32)
    for start in range(0, len(maps), maps.per_read):
        values = maps.read(np.arange(start, min(start + maps.per_read, len(maps))))
        peaks = np.maximum(peaks, np.abs(values).max(axis=(0, 2, 3)))
    return peaks


def _fixed(values: tuple[float, float], *, signed: bool) -> Scale:
    low, high = values
    if signed:
        return Scale(0.0, max(abs(low), abs(high)))
    return Scale(low, high)


def _top(maps: TileMaps, called: NDArray[np.bool_]) -> float:
    """Return the largest percentile of any class, each over its ``called`` tiles (tiles, classes).

    Where no tile was called anything, over all tiles.
    """
    if not called.any():
        called = np.ones_like(called)
    top = 0.0
    for index, tiles in enumerate(called.T):
        if tiles.any():
            values = maps.read(maps.spread(np.flatnonzero(tiles)))
            top = max(top, highest(values[:, index]))
    return top or 1.0


def slide_thresholds(maps: TileMaps, threshold: Threshold) -> tuple[float, ...]:
    """Return the threshold of each mapped class over the raw cells of all tiles of a slide."""
    values = maps.read(maps.spread(np.arange(len(maps))))
    return tuple(threshold_of(values[:, index], threshold) for index in range(maps.shape[0]))


def above_their_own(values: NDArray[np.float32], threshold: Threshold) -> NDArray[np.float32]:
    """Return a tile's maps (classes, height, width), 0 below a threshold of each map's own."""
    own = [threshold_of(each, threshold) for each in values]
    return np.where(values >= np.array(own)[:, None, None], values, np.float32(0))
