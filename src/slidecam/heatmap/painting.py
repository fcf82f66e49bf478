"""The raster of a slide's heatmap, and the painting of it from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from slidecam.drawing.style import lowest_share
from slidecam.geometry import Size
from slidecam.heatmap.maps import (
    PaintSpec,
    TileMaps,
    above_their_own,
    slide_scales,
    slide_thresholds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from slidecam.heatmap.maps import Scale
    from slidecam.store import RunStore

BAND = 512
"""Raster rows that are painted at once where memory allows: one chunk of the file they go to."""

BAND_VALUES = 8_000_000
"""Values of a band, all classes together: a wide slide of many classes gets thinner bands."""

SAMPLES_PER_TILE = 28
"""About how many raster pixels a tile's edge gets.

A 7-cell map is interpolated fourfold, a 28-cell one not at all.
"""

SAMPLES_PER_PICTURE = 224
"""The same for a tile that is the whole picture, which people look at much larger."""


@dataclass(frozen=True)
class Raster:
    """The heatmap's ``size`` pixels of ``pitch`` level-0 pixels, from the slide's corner on."""

    pitch: int
    size: Size


@dataclass(frozen=True)
class Heatmap:
    """A slide's heatmap by one method, planned and scaled, painted when its bands are asked for.

    Attributes
    ----------
    maps, raster, spec
        What is painted, on what, and how.
    scales
        One for each mapped class.
    cuts
        The raw values below which nothing is painted, one for each mapped class; None where there
        is no threshold or each tile has its own.
    """

    maps: TileMaps
    raster: Raster
    scales: tuple[Scale, ...]
    spec: PaintSpec = field(default_factory=PaintSpec)
    cuts: tuple[float, ...] | None = None

    def bands(self, plane: int = 0) -> Iterator[NDArray[np.float32]]:
        """Paint a plane from top to bottom; see `paint_bands`. A slide has one plane."""
        return paint_bands(self, plane)

    def plane(self, plane: int) -> NDArray[np.float32]:
        """Paint one plane of a volume, float32, (classes, rows, columns).

        NaN where there is no tile.
        """
        return np.concatenate([*self.bands(plane)], axis=1)


def paint(store: RunStore, slide: Size, spec: PaintSpec | None = None) -> Heatmap | None:
    """Return the heatmap of a run, or None where it keeps no maps.

    Parameters
    ----------
    store
        The run; its unfinished and failed tiles stay background.
    slide
        Width and height of the slide at level 0.
    spec
        Which method's maps, and how; by default those of the first, from 0 to 1 on the slide's own
        scale.
    """
    if store.maps is None:
        return None
    spec = spec or PaintSpec()
    maps = TileMaps(store, store.maps, spec.method)
    cuts = None
    if spec.threshold is not None and spec.scope == "slide":
        cuts = slide_thresholds(maps, spec.threshold)
    # The heatmap of a volume has the volume's own voxels; all of its planes share one scale.
    raster = Raster(1, slide)
    if not store.is_volume:
        raster = plan_raster(maps, slide)
    return Heatmap(maps, raster, slide_scales(maps, spec), spec, cuts)


def plan_raster(maps: TileMaps, slide: Size) -> Raster:
    """Choose the raster of a slide: about `SAMPLES_PER_TILE` pixels along a tile's shorter edge.

    A tile that is the whole picture gets about `SAMPLES_PER_PICTURE` along its longer one.
    """
    cells = maps.shape[2]
    is_whole = len(maps) == 1 and maps.boxes[0].tolist() == [0, 0, slide.width, slide.height]
    samples = SAMPLES_PER_PICTURE if is_whole else SAMPLES_PER_TILE
    finer = max(1, round(samples / cells))
    edge = cells * finer
    if is_whole:
        edge = max(slide.width, slide.height)
    elif len(maps):
        edge = int(maps.boxes[0, 2:].min())
    pitch = max(1, round(edge / (cells * finer)))
    return Raster(pitch, Size(-(-slide.width // pitch), -(-slide.height // pitch)))


def paint_bands(heatmap: Heatmap, plane: int = 0) -> Iterator[NDArray[np.float32]]:
    """Paint a plane of a heatmap from top to bottom; a slide has one.

    Yields
    ------
    ndarray
        float32, (classes, up to `BAND` rows, raster.size.width), 0 to 1, or -1 to 1 of a signed
        method; NaN where there is no tile.
    """
    maps, raster = heatmap.maps, heatmap.raster
    window, band = _window(maps), _band_rows(maps, raster)
    here = np.flatnonzero(maps.planes == plane)
    for top in range(0, raster.size.height, band):
        canvas = _Canvas(maps.shape[0], top, min(band, raster.size.height - top), raster)
        touched = here[canvas.touching(maps.boxes[here])]
        for start in range(0, len(touched), maps.per_read):
            rows = touched[start : start + maps.per_read]
            for box, values in zip(maps.boxes[rows], maps.read(rows), strict=True):
                canvas.add(box, _kept(values, heatmap.spec), window)
        yield _painted(canvas, heatmap)


def _painted(canvas: _Canvas, heatmap: Heatmap) -> NDArray[np.float32]:
    """Return a band as shares of its scales; between columns without a tile nothing is reckoned."""
    shares = np.full(canvas.shape, np.nan, np.float32)
    columns = canvas.columns
    shares[:, :, columns] = _scaled(canvas.means(columns), heatmap)
    return shares


def _kept(values: NDArray[np.float32], spec: PaintSpec) -> NDArray[np.float32]:
    if spec.threshold is None or spec.scope == "slide":
        return values
    return above_their_own(values, spec.threshold)


def _scaled(means: NDArray[np.float32], heatmap: Heatmap) -> NDArray[np.float32]:
    """Return raw means (classes, rows, columns) as shares of their scales.

    What is not-a-number stays so.
    """
    ends = np.array([(scale.low, scale.high) for scale in heatmap.scales])
    low, high = ends.T[:, :, None, None]
    if heatmap.cuts is not None:
        means = np.where(means < np.array(heatmap.cuts)[:, None, None], np.float32(0), means)
    shares = np.clip((means - low) / (high - low), lowest_share(signed=heatmap.spec.signed), 1)
    return np.asarray(shares, np.float32)


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
    # Sampled at the cells' centres, so that no weight is 0 and a lone tile is painted to its
    # border.
    return np.sin(np.pi * (np.arange(cells) + 0.5) / cells) ** 2


class _Canvas:
    """One band: weighted sums of samples, their weights, and which pixels a tile covers."""

    def __init__(self, classes: int, top: int, rows: int, raster: Raster) -> None:
        self._top, self._raster = top, raster
        self._sums = np.zeros((classes, rows, raster.size.width), np.float32)
        self._weights = np.zeros((rows, raster.size.width), np.float32)
        self._covered = np.zeros((rows, raster.size.width), np.bool_)

    @property
    def shape(self) -> tuple[int, ...]:
        """Classes, rows, columns."""
        return self._sums.shape

    @property
    def columns(self) -> slice:
        """From the first column that a tile covers to the last."""
        covered = np.flatnonzero(self._covered.any(axis=0))
        if not len(covered):
            return slice(0, 0)
        return slice(int(covered[0]), int(covered[-1]) + 1)

    def touching(self, boxes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of the tiles whose samples reach into this band.

        A tent ends within its tile's edge.
        """
        margin = boxes[:, 3]
        top = self._top * self._raster.pitch
        bottom = top + len(self._weights) * self._raster.pitch
        return np.flatnonzero((boxes[:, 1] - margin < bottom) & (boxes[:, 1] + 2 * margin > top))

    def add(
        self,
        box: NDArray[np.int64],
        values: NDArray[np.float32],
        window: NDArray[np.float32],
    ) -> None:
        """Add one tile's samples; ``values`` is (classes, height, width)."""
        x, y, width, height = map(int, box)
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

    def means(self, columns: slice) -> NDArray[np.float32]:
        """Return the band's raw means in some columns; NaN where no tile is."""
        weights = self._weights[:, columns]
        known = self._covered[:, columns] & (weights > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(known, self._sums[:, :, columns] / weights, np.float32(np.nan))


def _tents(start: int, length: int, cells: int, pitch: int) -> tuple[int, NDArray[np.float32]]:
    """Return a tile's tents on one axis: first raster pixel, and weights (pixels, cells)."""
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


def _inside(
    first: int,
    weights: NDArray[np.float32],
    end: int,
) -> tuple[slice, NDArray[np.float32]]:
    """Cut weights that begin at pixel ``first`` to the pixels 0 … end."""
    low = max(first, 0)
    high = max(min(first + len(weights), end), low)
    return slice(low, high), weights[low - first : high - first]


def _centres_within(start: int, length: int, pitch: int, origin: int, end: int) -> slice:
    """Return the raster pixels (from ``origin``) whose centres lie in [start, start + length)."""
    low = int(np.ceil(start / pitch - 0.5)) - origin
    high = int(np.ceil((start + length) / pitch - 0.5)) - origin
    return slice(min(max(low, 0), end), min(max(high, 0), end))
