"""From the raw maps of single tiles to one heatmap of the slide, painted band by band.

Every cell of a tile's map is a sample at the cell's centre. A raster pixel is the weighted mean of the samples around
it: a tent as wide as a cell, so that values run on smoothly from one tile into the next, times a Hann window over the
tile where tiles overlap, so that a tile counts most where it sees most context. Nothing is blurred beyond that, and
what no tile covers is not-a-number.

All tiles and classes of a slide share one scale (`slide_scale`). Scaling every tile by its own maximum makes normal
tissue glow like tumour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.geometry import Size
from slidecam.store import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr
    from numpy.typing import NDArray

    from slidecam.store import RunStore

BAND = 512
"""Raster rows that are painted at once where memory allows: one chunk of the file they go to."""

BAND_VALUES = 8_000_000
"""Values of a band, all classes together: a wide slide of many classes gets thinner bands."""

READ_VALUES = 4_000_000
"""Raw map values that are in memory at once."""

SAMPLES_PER_TILE = 28
"""About how many raster pixels a tile's edge gets: a 7-cell map is interpolated fourfold, a 28-cell one not at all."""

PERCENTILE = 99.5
"""The raw value that is painted as 1: robust against the few cells that explode."""


@dataclass(frozen=True)
class Raster:
    """The heatmap's pixels: ``pitch`` level-0 pixels each, anchored at the slide's corner, ``size`` of them."""

    pitch: int
    size: Size


@dataclass(frozen=True)
class Scale:
    """The raw values that are painted as 0 and as 1, one pair for a whole slide."""

    low: float
    high: float


class TileMaps:
    """The finished tiles of a run with their raw maps, read piece by piece.

    Parameters
    ----------
    store
        The run.
    maps
        Its raw maps (`RunStore.maps`).
    """

    def __init__(self, store: RunStore, maps: zarr.Array[Any]) -> None:
        order = store.order
        done = store.status[order] == Status.DONE
        self._maps, self._step = maps, store.step
        self.rows = np.flatnonzero(done)
        self.boxes = store.boxes[order][self.rows]
        self.shape: tuple[int, int, int] = (maps.shape[1], maps.shape[2], maps.shape[3])

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, selection: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return raw maps of the selected tiles, float32, (tiles, classes, height, width)."""
        return np.asarray(self._maps.oindex[self.rows[selection]]).astype(np.float32)

    @property
    def per_read(self) -> int:
        """How many tiles' maps may be in memory at once."""
        return max(1, READ_VALUES // math.prod(self.shape))

    @property
    def overlapping(self) -> bool:
        """Whether tiles cover parts of each other."""
        return bool(len(self)) and self._step < int(self.boxes[0, 2])


@dataclass(frozen=True)
class Heatmap:
    """A slide's heatmap, planned and scaled, painted when its bands are asked for."""

    maps: TileMaps
    raster: Raster
    scale: Scale

    def bands(self) -> Iterator[NDArray[np.float32]]:
        """Paint from top to bottom; see `paint_bands`."""
        return paint_bands(self.maps, self.raster, self.scale)


def paint(store: RunStore, slide: Size) -> Heatmap | None:
    """Return the heatmap of a run, or None where it keeps no maps.

    Parameters
    ----------
    store
        The run; its unfinished and failed tiles stay background.
    slide
        Width and height of the slide at level 0.
    """
    if store.maps is None:
        return None
    maps = TileMaps(store, store.maps)
    return Heatmap(maps, plan_raster(maps, slide), slide_scale(maps))


def plan_raster(maps: TileMaps, slide: Size) -> Raster:
    """Choose the raster of a slide: about `SAMPLES_PER_TILE` pixels along a tile's edge."""
    cells = maps.shape[2]
    finer = max(1, round(SAMPLES_PER_TILE / cells))
    edge = int(maps.boxes[0, 2]) if len(maps) else cells * finer
    pitch = max(1, round(edge / (cells * finer)))
    return Raster(pitch, Size(-(-slide.width // pitch), -(-slide.height // pitch)))


def slide_scale(maps: TileMaps) -> Scale:
    """Return the one scale of a slide: 0, and the `PERCENTILE` of the raw cells of all its tiles and classes."""
    # A sample of the tiles, spread evenly: more of them change a percentile by less than a shade.
    step = max(1, -(-len(maps) // maps.per_read))
    rows = np.arange(0, len(maps), step)
    if not len(rows):
        return Scale(0.0, 1.0)
    high = float(np.percentile(maps.read(rows), PERCENTILE))
    return Scale(0.0, high if high > 0 else 1.0)


def paint_bands(maps: TileMaps, raster: Raster, scale: Scale) -> Iterator[NDArray[np.float32]]:
    """Paint the heatmap from top to bottom.

    Yields
    ------
    ndarray
        float32, (classes, up to `BAND` rows, raster.size.width), 0 to 1; NaN where there is no tile.
    """
    window, band = _window(maps), _band_rows(maps, raster)
    for top in range(0, raster.size.height, band):
        canvas = _Canvas(maps.shape[0], top, min(band, raster.size.height - top), raster)
        touched = canvas.touching(maps.boxes)
        for start in range(0, len(touched), maps.per_read):
            rows = touched[start : start + maps.per_read]
            for box, values in zip(maps.boxes[rows], maps.read(rows), strict=True):
                canvas.add(box, values, window)
        yield canvas.scaled(scale)


def _band_rows(maps: TileMaps, raster: Raster) -> int:
    """Return `BAND`, halved until a band of all classes fits `BAND_VALUES`."""
    band = BAND
    while band > 1 and band * raster.size.width * maps.shape[0] > BAND_VALUES:
        band //= 2
    return band


def _window(maps: TileMaps) -> NDArray[np.float32]:
    _classes, height, width = maps.shape
    if not maps.overlapping:
        return np.ones((height, width), np.float32)
    return np.outer(_hann(height), _hann(width)).astype(np.float32)


def _hann(cells: int) -> NDArray[np.float64]:
    # Sampled at the cells' centres, so that no weight is 0 and a lone tile is painted to its border.
    return np.sin(np.pi * (np.arange(cells) + 0.5) / cells) ** 2


class _Canvas:
    """One band: weighted sums of samples, their weights, and which pixels a tile covers."""

    def __init__(self, classes: int, top: int, rows: int, raster: Raster) -> None:
        self._top, self._raster = top, raster
        self._sums = np.zeros((classes, rows, raster.size.width), np.float32)
        self._weights = np.zeros((rows, raster.size.width), np.float32)
        self._covered = np.zeros((rows, raster.size.width), np.bool_)

    def touching(self, boxes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of the tiles whose samples reach into this band (a tent ends within its tile's edge)."""
        margin = boxes[:, 3]
        top = self._top * self._raster.pitch
        bottom = top + len(self._weights) * self._raster.pitch
        return np.flatnonzero((boxes[:, 1] - margin < bottom) & (boxes[:, 1] + 2 * margin > top))

    def add(self, box: NDArray[np.int64], values: NDArray[np.float32], window: NDArray[np.float32]) -> None:
        """Add one tile's samples; ``values`` is (classes, height, width)."""
        x, y, width, height = (int(value) for value in box)
        pitch = self._raster.pitch
        first_row, down = _tents(y, height, values.shape[1], pitch)
        first_column, across = _tents(x, width, values.shape[2], pitch)
        rows, down = _inside(first_row - self._top, down, len(self._weights))
        columns, across = _inside(first_column, across, self._raster.size.width)
        self._weights[rows, columns] += down @ window @ across.T
        self._sums[:, rows, columns] += down @ (values * window) @ across.T
        self._covered[
            _centres_within(y, height, pitch, self._top, len(self._weights)),
            _centres_within(x, width, pitch, 0, self._raster.size.width),
        ] = True

    def scaled(self, scale: Scale) -> NDArray[np.float32]:
        """Return the band's means on the slide's scale; NaN where no tile is."""
        known = self._covered & (self._weights > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self._sums / self._weights
        painted = np.clip((means - scale.low) / (scale.high - scale.low), 0, 1)
        return np.where(known, painted, np.nan).astype(np.float32)


def _tents(start: int, length: int, cells: int, pitch: int) -> tuple[int, NDArray[np.float32]]:
    """Return the first raster pixel that a tile's tents reach along one axis, and their (pixels, cells) weights."""
    cell = max(length / cells, pitch)
    first = int(np.floor((start - cell / 2) / pitch))
    return first, _tent_matrix(start - first * pitch, length, cells, pitch)


@lru_cache(maxsize=4096)
def _tent_matrix(offset: int, length: int, cells: int, pitch: int) -> NDArray[np.float32]:
    cell = max(length / cells, pitch)
    pixels = int(np.ceil((offset + length + cell / 2) / pitch))
    at = (np.arange(pixels) + 0.5) * pitch
    centres = offset + (np.arange(cells) + 0.5) * length / cells
    weights = np.maximum(0, 1 - np.abs(at[:, None] - centres) / cell).astype(np.float32)
    weights.flags.writeable = False  # the cache hands the same array to every tile of this phase
    return weights


def _inside(first: int, weights: NDArray[np.float32], end: int) -> tuple[slice, NDArray[np.float32]]:
    """Cut weights that begin at pixel ``first`` to the pixels 0 … end."""
    low = max(first, 0)
    high = max(min(first + len(weights), end), low)
    return slice(low, high), weights[low - first : high - first]


def _centres_within(start: int, length: int, pitch: int, origin: int, end: int) -> slice:
    """Return the raster pixels (counted from ``origin``) whose centres lie in [start, start + length)."""
    low = int(np.ceil(start / pitch - 0.5)) - origin
    high = int(np.ceil((start + length) / pitch - 0.5)) - origin
    return slice(min(max(low, 0), end), min(max(high, 0), end))
