"""The foreground of a volume: the head, or whatever was scanned, without the air.

Or a mask of the user's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import affine_transform, binary_fill_holes, binary_opening, label

from slidecam.errors import MaskError, SourceError
from slidecam.foreground.mask import Foreground
from slidecam.geometry import Size
from slidecam.sources import open_source
from slidecam.viewing import VolumeView, air_below

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.sources.volume import VolumeSource
    from slidecam.sources.volume_grid import PlaneStack

LONGEST = 160
"""Rows and columns of the mask at most: far fewer tell a slice of air from one of head."""

LEAST_PIECE = 0.1
"""Pieces of the foreground smaller than this share of the largest are dropped.

Noise, coils, ghosts.
"""

OPENING_FROM = 24
"""Voxels along each axis from which on thin bridges of noise are cut.

A smaller volume would lose what it has.
"""

GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class VolumeForeground(Foreground):
    """Where in a volume there is something to classify.

    Attributes
    ----------
    mask
        (rows, columns) bool: where any plane has foreground.
    size
        Width and height of a plane.
    origin
        Where it comes from, for people.
    volume
        (planes, rows, columns) bool, each plane as it is hung.
    """

    volume: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Share of the volume that is foreground, 0..1."""
        return float(self.volume.mean())

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each plane that is foreground, float64, (planes,)."""
        return np.asarray(self.volume.mean(axis=(1, 2)), np.float64)

    def of_plane(self, plane: int) -> Foreground:
        """Return the foreground of one plane."""
        return Foreground(self.volume[plane], self.size, self.origin)


def find_head(source: VolumeSource) -> VolumeForeground:
    """Find what was scanned.

    All that is brighter than air, in pieces that are not small beside the largest.

    Air is what lies below BET's threshold (see `air_below`). Holes in a plane are filled, so that
    dark ventricles and bone count as head. In colours it is all that is not black.

    Raises
    ------
    RegionReadError
        If the volume cannot be read.
    """
    small = _reduced(source)
    mask = small > air_below(small)
    if min(mask.shape) >= OPENING_FROM:
        mask = binary_opening(mask)
    mask = _large_pieces(mask)
    for plane in mask:
        plane[:] = binary_fill_holes(plane)
    return _foreground(mask, source, "brighter than air")


def load_head(path: Path, source: VolumeSource) -> VolumeForeground:
    """Read a mask volume: all above 0 is foreground. See `mask_on` for what it raises."""
    return _foreground(mask_on(path, source.stack), source, f"file {path.name}")


def mask_on(path: Path, stack: PlaneStack) -> NDArray[np.bool_]:
    """Return a mask volume on another volume's planes, (planes, rows, columns), each as it is hung.

    A mask on other voxels is taken at the nearest of them, by both affines.

    Raises
    ------
    MaskError
        If it is no volume, cannot be read, or is 0 wherever the volume is.
    """
    remedy = "Give a volume (NIfTI, NRRD, MGZ) in which what is meant is above 0."
    try:
        with open_source(path, view=VolumeView(axis=stack.axis)) as opened:
            if opened.facts.stack is None:
                raise MaskError("This is no volume.", remedy, path)
            own: VolumeSource = opened  # type: ignore[assignment]  # what has a stack is one
            planes = map(own.intensities, range(own.facts.planes))
            mask = np.stack([_grey(plane) > 0 for plane in planes])
            if not own.stack.grid.lies_like(stack.grid):
                mask = _moved(mask, own.stack, stack)
    except SourceError as error:
        raise MaskError(f"The mask cannot be read: {error}", remedy, path) from error
    if not mask.any():
        raise MaskError(
            "Nothing in this mask is above 0 where the volume lies.",
            "Check that both belong together.",
            path,
        )
    return mask


def is_moved(path: Path, stack: PlaneStack) -> bool:
    """Whether a mask that `mask_on` has read lies on other voxels than the volume."""
    with open_source(path, view=VolumeView(axis=stack.axis)) as opened:
        return opened.facts.stack is None or not opened.facts.stack.grid.lies_like(stack.grid)


def _moved(marked: NDArray[np.bool_], own: PlaneStack, stack: PlaneStack) -> NDArray[np.bool_]:
    voxels = np.asarray(own.from_pictures(marked), np.uint8)
    matrix = np.linalg.inv(own.grid.spl_affine) @ stack.grid.spl_affine
    moved = affine_transform(
        voxels, matrix, output_shape=stack.grid.spl_shape, order=0, prefilter=False
    )
    return np.asarray(stack.to_pictures(moved), np.bool_)


def _grey(plane: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
    if plane.ndim == 3:  # noqa: PLR2004  (rows, columns, colours)
        plane = plane @ GREY
    return np.asarray(plane, np.float32)


def _reduced(source: VolumeSource) -> NDArray[np.float32]:
    """Return the volume with every n-th row and column, float32, (planes, rows, columns).

    Missing planes are 0. One that cannot be read is as the nearest that can be, so that it is found
    in the head, and fails there.
    """
    _planes, rows, columns = source.stack.shape
    down, across = -(-rows // LONGEST), -(-columns // LONGEST)
    planes, broken = np.arange(source.facts.planes), source.broken
    known = np.array([plane for plane in planes.tolist() if plane not in broken])
    nearest = known[np.abs(planes[:, None] - known).argmin(axis=1)]
    read = map(source.intensities, nearest.tolist())
    return np.stack([np.nan_to_num(_grey(plane[::down, ::across])) for plane in read])


def _large_pieces(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _count = label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept: NDArray[np.bool_] = (sizes >= max(1, LEAST_PIECE * sizes.max()))[labels]
    return kept


def _foreground(volume: NDArray[np.bool_], source: VolumeSource, origin: str) -> VolumeForeground:
    size = Size(source.facts.size.width, source.facts.size.height)
    return VolumeForeground(np.asarray(volume.any(axis=0)), size, origin, volume)
