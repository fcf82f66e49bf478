"""The foreground of a volume: the head, or whatever was scanned, without the air.

Or a mask of the user's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import MaskError, NothingToChooseError, SourceError
from slidecam.extras import brought
from slidecam.foreground.mask import Foreground
from slidecam.geometry import Size
from slidecam.registry import deferred
from slidecam.sources import open_source
from slidecam.sources.placement import guesses_side
from slidecam.viewing import VolumeView, air_below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nibabel import orientations
    from numpy.typing import NDArray
    from scipy import ndimage

    from slidecam.sources.volume import VolumeSource
    from slidecam.sources.volume_grid import PlaneStack
else:
    orientations = brought("nibabel.orientations", "volumes")
    ndimage = deferred("scipy.ndimage")

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

MOVED = (
    "The mask lies on other voxels than the volume and was taken at the nearest of them: do both"
    " belong together?"
)

MEANT = "Give a volume (NIfTI, NRRD, MGZ) in which what is meant is above 0."
"""What a volume is masked by."""

GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class MaskOnVolume:
    """A mask's file on the planes of a volume.

    Attributes
    ----------
    planes
        (planes, rows, columns) bool, each plane as it is hung.
    readings
        What had to be assumed of the mask's file and of its place, as sentences that name it.
    """

    planes: NDArray[np.bool_]
    readings: tuple[str, ...] = ()


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
    readings
        What had to be assumed of the file that it comes from, as sentences.
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

    Air is what lies below BET's threshold (see `air_below`), or is no number. Holes in a plane are
    filled, so that dark ventricles and bone count as head. In colours it is all that is not black.

    Raises
    ------
    RegionReadError
        If the volume cannot be read.
    """
    small = _reduced(source)
    # What is no number is air, wherever 0 would lie, and does not count for what air is.
    known = np.isfinite(small)
    mask = known & (small > air_below(small[known]))
    if min(mask.shape) >= OPENING_FROM:
        mask = ndimage.binary_opening(mask)
    mask = _large_pieces(mask)
    for plane in mask:
        plane[:] = ndimage.binary_fill_holes(plane)
    return _foreground(mask, source, "brighter than air")


def load_head(path: Path, source: VolumeSource) -> VolumeForeground:
    """Read a mask volume: all above 0 is foreground. See `mask_on` for what it raises."""
    mask = mask_on(path, source.stack)
    return _foreground(mask.planes, source, f"file {path.name}", mask.readings)


def mask_on(path: Path, stack: PlaneStack) -> MaskOnVolume:
    """Return a mask volume on another volume's planes.

    A mask on other voxels is taken at the nearest of them, by both affines. Of a file of several
    volumes the first one is taken.

    Raises
    ------
    MaskError
        If it is no volume, cannot be read, or is 0 wherever the volume is.
    """
    try:
        # The volume is named, as no option chooses another one of a mask.
        with open_source(path, view=VolumeView(axis=stack.axis, volume="0")) as opened:
            own: VolumeSource = opened  # type: ignore[assignment]  # what has a stack is one
            planes = map(own.intensities, range(own.facts.planes))
            mask = np.stack([_grey(plane) > 0 for plane in planes])
            if not own.stack.grid.lies_like(stack.grid):
                mask = _moved(mask, own.stack, stack)
            readings = tuple(_readings(path, own, stack))
    except NothingToChooseError as error:
        raise MaskError("This is no volume.", MEANT, path) from error
    except SourceError as error:
        raise MaskError(f"The mask cannot be read: {error}", MEANT, path) from error
    if not mask.any():
        raise MaskError(
            "Nothing in this mask is above 0 where the volume lies.",
            " ".join(("Check that both belong together.", *readings)),
            path,
        )
    return MaskOnVolume(mask, readings)


def _readings(path: Path, own: VolumeSource, stack: PlaneStack) -> Iterator[str]:
    """Yield what the reader assumed of a mask's file, and whether it was taken to other voxels."""
    own.say_what_is_broken()
    said, grid = own.facts.readings, own.stack.grid
    yield from (f"The mask {path.name}: {reading}" for reading in said)
    ours, theirs = ("".join(orientations.aff2axcodes(each.affine)) for each in (grid, stack.grid))
    if guesses_side(said) and ours != theirs:
        yield (
            f"The mask {path.name} is turned from its axes ({ours}, assumed) to the volume's"
            f" ({theirs}), not laid on it voxel by voxel: if it was drawn on this volume, give it"
            " the volume's header (for example with fslcpgeom), and run again."
        )
    if not grid.lies_like(stack.grid):
        yield MOVED


def _moved(marked: NDArray[np.bool_], own: PlaneStack, stack: PlaneStack) -> NDArray[np.bool_]:
    voxels = np.asarray(own.from_pictures(marked), np.uint8)
    matrix = np.linalg.inv(own.grid.spl_affine) @ stack.grid.spl_affine
    moved = ndimage.affine_transform(
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
    return np.stack([_grey(plane[::down, ::across]) for plane in read])


def _large_pieces(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept: NDArray[np.bool_] = (sizes >= max(1, LEAST_PIECE * sizes.max()))[labels]
    return kept


def _foreground(
    volume: NDArray[np.bool_],
    source: VolumeSource,
    origin: str,
    readings: tuple[str, ...] = (),
) -> VolumeForeground:
    size = Size(source.facts.size.width, source.facts.size.height)
    return VolumeForeground(np.asarray(volume.any(axis=0)), size, origin, volume, readings=readings)
