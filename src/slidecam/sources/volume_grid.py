"""Where a volume's voxels lie.

From the file's own index order to (S, P, L) order and to millimetres.

The file's affine leads from its indices to RAS+ mm, as nibabel gives it. All else here is in the
world of DICOM and ITK, LPS+ mm. ``(s, p, l)`` indices count upwards, backwards and to the patient's
left, along the file's axes that are nearest to these directions; nothing is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from slidecam.geometry import AXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.geometry import Axis

OBLIQUE = 1e-3
"""Largest share of a voxel axis's length off its world axis that still counts as straight."""

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_X_Y_Z_REVERSED = np.eye(4)[[2, 1, 0, 3]]


@dataclass(frozen=True, eq=False)
class VolumeGrid:
    """A volume's shape in the file's own index order, and its place in the world.

    Attributes
    ----------
    shape
        Voxels along the file's own axes (i, j, k).
    affine
        float64, (4, 4): from (i, j, k) to RAS+ mm.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @cached_property
    def orientation(self) -> NDArray[np.float64]:
        """For each axis of the file its place in (S, P, L), and 1 or -1 if reversed; (3, 2)."""
        wanted = axcodes2ornt(("S", "P", "L"))
        own = io_orientation(self.affine)
        return np.asarray(ornt_transform(own, wanted))

    def file_axis(self, place: int) -> int:
        """Return the file's axis that is axis ``place`` of (S, P, L)."""
        return int(np.flatnonzero(self.orientation[:, 0] == place)[0])

    def flipped(self, place: int) -> bool:
        """Whether the file counts the other way along axis ``place`` of (S, P, L)."""
        return bool(self.orientation[self.file_axis(place), 1] < 0)

    @property
    def spl_shape(self) -> tuple[int, int, int]:
        """Voxels upwards, backwards and to the left."""
        up, back, left = (self.shape[self.file_axis(place)] for place in range(3))
        return up, back, left

    @cached_property
    def spl_affine(self) -> NDArray[np.float64]:
        """float64, (4, 4): from (s, p, l) indices to (z, y, x) in LPS+ mm."""
        back = inv_ornt_aff(self.orientation, self.shape)
        return np.asarray(_X_Y_Z_REVERSED @ _TO_LPS @ self.affine @ back)

    @property
    def scale(self) -> tuple[float, float, float]:
        """Size of a voxel along S, P and L in mm."""
        up, back, left = (float(value) for value in np.linalg.norm(self.spl_affine[:3, :3], axis=0))
        return up, back, left

    @property
    def translate(self) -> tuple[float, float, float]:
        """Where the centre of voxel (0, 0, 0) of (S, P, L) lies: z, y, x in LPS+ mm."""
        z, y, x = (float(value) for value in self.spl_affine[:3, 3])
        return z, y, x

    @property
    def is_oblique(self) -> bool:
        """Whether the axes are turned against the world's.

        Scale and translation alone then misplace voxels.
        """
        turned = self.spl_affine[:3, :3] / np.array(self.scale)
        return bool(np.abs(turned - np.eye(3)).max() > OBLIQUE)

    def to_spl(self, voxels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return an array (i, j, k, …) of the file's order in (S, P, L, …) order, as a view."""
        rest = range(3, voxels.ndim)
        turned = np.transpose(voxels, (*(self.file_axis(place) for place in range(3)), *rest))
        return turned[
            tuple(slice(None, None, -1 if self.flipped(place) else 1) for place in range(3))
        ]

    def from_spl(self, voxels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return an array (S, P, L, …) in the file's order, as a view: the inverse of `to_spl`."""
        turned = voxels[
            tuple(slice(None, None, -1 if self.flipped(place) else 1) for place in range(3))
        ]
        places = (int(place) for place in self.orientation[:, 0])
        return np.transpose(turned, (*places, *range(3, voxels.ndim)))

    def lies_like(self, other: VolumeGrid) -> bool:
        """Whether both have the same voxels at the same places, to a hundredth of a voxel."""
        if self.spl_shape != other.spl_shape:
            return False
        far = np.array([0, 0, 0, 1.0]), np.array([*np.array(self.spl_shape) - 1, 1.0])
        apart = max(
            float(np.abs((self.spl_affine - other.spl_affine) @ corner).max()) for corner in far
        )
        return apart <= min(self.scale) / 100


@dataclass(frozen=True, eq=False)
class PlaneStack:
    """The planes that a volume is read in, one picture each.

    Pictures are as radiologists hang them: anterior up and the patient's right on the left (axial),
    superior up (coronal, sagittal), anterior on the left (sagittal). Planes follow each other
    upwards, backwards or to the left, so that a plane's number is its place along that axis of (S,
    P, L).

    Attributes
    ----------
    grid
        The volume's voxels.
    axis
        Along which planes follow each other.
    missing
        Planes of which the file has no data, though their neighbours are there.
    """

    grid: VolumeGrid
    axis: Axis
    missing: tuple[int, ...] = ()

    @property
    def place(self) -> int:
        """The axis of (S, P, L) that planes follow each other along."""
        return AXES.index(self.axis)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, and rows and columns of each."""
        rows, columns = (self.grid.spl_shape[place] for place in self._in_plane)
        return self.grid.spl_shape[self.place], rows, columns

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Millimetres from plane to plane, row to row and column to column."""
        rows, columns = (self.grid.scale[place] for place in self._in_plane)
        return self.grid.scale[self.place], rows, columns

    @property
    def _in_plane(self) -> tuple[int, int]:
        first, second = (place for place in range(3) if place != self.place)
        return first, second

    @property
    def positions(self) -> NDArray[np.float64]:
        """Where each plane's centre lies on its axis in LPS+ mm: z, y or x, float64, (planes,)."""
        size = np.array(self.grid.spl_shape, np.float64)
        centres = np.repeat((size[None] - 1) / 2, self.shape[0], axis=0)
        centres[:, self.place] = np.arange(self.shape[0])
        placed = centres @ self.grid.spl_affine[:3, :3].T + self.grid.spl_affine[:3, 3]
        return np.asarray(placed[:, self.place])

    @property
    def file_indices(self) -> NDArray[np.int64]:
        """Each plane's index along the file's own axis, int64, (planes,)."""
        order = np.arange(self.shape[0])
        return order[::-1].copy() if self.grid.flipped(self.place) else order

    def to_pictures(self, voxels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return (S, P, L, …) voxels as pictures (planes, rows, columns, …), as a view."""
        planes = np.moveaxis(voxels, self.place, 0)
        return planes if self.axis == "axial" else planes[:, ::-1]

    def from_pictures(self, pictures: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return pictures (planes, rows, columns, …) as (S, P, L, …) voxels.

        The inverse of `to_pictures`.
        """
        planes = pictures if self.axis == "axial" else pictures[:, ::-1]
        return np.moveaxis(planes, 0, self.place)
