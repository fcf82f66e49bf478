"""Volumes as viewers want them, and what viewers say of a file.

(S, P, L) arrays on straight axes, with the size and place of a voxel in LPS+ mm.

A straight volume is shown as it is. An oblique one is resampled onto straight axes, since viewers
place slices by scale and translation alone; what is saved never is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.icc import LEFT_AS_STORED, NO_PROFILE
from slidecam.registry import deferred

if TYPE_CHECKING:
    import dask.array as da
    from numpy.typing import NDArray
    from scipy import ndimage

    from slidecam.sources.source import SourceFacts
    from slidecam.sources.volume_grid import VolumeGrid
else:
    da = deferred("dask.array")
    ndimage = deferred("scipy.ndimage")


def readings_to_show(facts: SourceFacts) -> tuple[str, ...]:
    """Return a slide's readings for viewers, which always show sRGB, whatever a classifier sees.

    Without the one that sRGB needed no profile: whoever asks for sRGB himself is told of it.
    """
    shown = []
    for reading in facts.readings:
        if reading.endswith(LEFT_AS_STORED):
            shown.append(reading.replace(LEFT_AS_STORED, SEEN_BY_CLASSIFIERS))
        elif reading != NO_PROFILE:
            shown.append(reading)
    return tuple(shown)


SEEN_BY_CLASSIFIERS = "classifiers see what their cards say."

BLOCK = 8
"""Slices of a block of what is resampled."""


@dataclass(frozen=True, eq=False)
class DisplayedVolume:
    """A volume on straight axes.

    Attributes
    ----------
    array
        Lazy, (S, P, L), or (S, P, L, 3) of colours: upwards, backwards, to the patient's left.
    scale
        Size of a voxel along S, P, L in mm.
    translate
        Where the centre of voxel (0, 0, 0) lies: z, y, x in LPS+ mm.
    resampled
        Whether it is interpolated from an oblique grid.
    """

    array: da.Array
    scale: tuple[float, float, float]
    translate: tuple[float, float, float]
    resampled: bool


def displayed(array: Any, grid: VolumeGrid, order: int = 1, fill: float = 0.0) -> DisplayedVolume:  # noqa: ANN401
    """Return an (S, P, L[, 3]) array on the voxels of ``grid`` as viewers want it.

    Parameters
    ----------
    array
        `VolumeSource.array`, one class of a heatmap, or a mask: whatever NumPy takes.
    grid
        Where its voxels lie.
    order
        Of the interpolation of an oblique volume: 1 for intensities and heat, 0 for labels.
    fill
        What lies beyond an oblique volume.
    """
    if not grid.is_oblique:
        lazy = array
        if not isinstance(array, da.Array):
            lazy = da.from_array(array)  # type: ignore[no-untyped-call]
        return DisplayedVolume(lazy, grid.scale, grid.translate, resampled=False)
    shape, first = _straight(grid)
    target = np.eye(4)
    target[:3, :3], target[:3, 3] = np.diag(grid.scale), first
    matrix = np.linalg.inv(grid.spl_affine) @ target
    view = _Resampled(array, matrix, shape, (order, fill))
    chunks = (min(BLOCK, shape[0]), *shape[1:], *array.shape[3:])
    lazy = da.from_array(view, chunks=chunks, asarray=False, fancy=False)  # type: ignore[no-untyped-call]
    up, back, left = map(float, first)
    return DisplayedVolume(lazy, grid.scale, (up, back, left), resampled=True)


def _straight(grid: VolumeGrid) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return the shape and first voxel (z, y, x) of the straight grid that holds an oblique one."""
    ends = [(0, length - 1) for length in grid.spl_shape]
    corners = np.array([*product(*ends)], np.float64)
    placed = corners @ grid.spl_affine[:3, :3].T + grid.spl_affine[:3, 3]
    low, high = placed.min(axis=0), placed.max(axis=0)
    up, back, left = (np.ceil((high - low) / grid.scale).astype(int) + 1).tolist()
    return (up, back, left), low


class _Resampled:
    """What Dask needs of an oblique volume; it is read whole with the first block."""

    def __init__(
        self,
        array: Any,  # noqa: ANN401  (whatever NumPy takes)
        matrix: NDArray[np.float64],
        shape: tuple[int, int, int],
        how: tuple[int, float],
    ) -> None:
        self.shape = (*shape, *array.shape[3:])
        self.dtype, self.ndim = np.dtype(array.dtype), len(self.shape)
        self._array, self._matrix, self._how = array, matrix, how
        self._lock = Lock()
        self._whole: NDArray[Any] | None = None

    def __getitem__(self, key: tuple[slice | int, ...]) -> NDArray[Any]:
        planes = range(self.shape[0])[key[0]]
        if isinstance(planes, int):
            return np.asarray(self._block(planes, planes + 1)[0, *key[1:]])
        first = min(planes)
        block = self._block(first, max(planes) + 1)
        return np.asarray(block[np.array(planes) - first][:, *key[1:]])

    def _block(self, start: int, stop: int) -> NDArray[Any]:
        with self._lock:
            if self._whole is None:
                self._whole = np.asarray(self._array)
        offset = self._matrix @ np.array([start, 0, 0, 1.0])
        shape = (stop - start, *self.shape[1:3])
        order, fill = self._how
        turned, moved = self._matrix[:3, :3], offset[:3]

        def resampled(band: NDArray[Any]) -> NDArray[Any]:
            found = ndimage.affine_transform(band, turned, moved, shape, order=order, cval=fill)
            return np.asarray(found)

        if self.ndim == len(shape):
            return resampled(self._whole)
        return np.stack(list(map(resampled, np.moveaxis(self._whole, 3, 0))), axis=3)
