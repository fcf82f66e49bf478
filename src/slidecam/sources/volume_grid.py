"""Where a volume's voxels lie.

From the file's own index order to (S, P, L) order and to millimetres.

The file's affine leads from its indices to RAS+ mm, as nibabel gives it. All else here is in the
world of DICOM and ITK, LPS+ mm. ``(s, p, l)`` indices count upwards, backwards and to the patient's
left, along the file's axes that are nearest to these directions; nothing is interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from slidecam.extras import brought
from slidecam.geometry import AXES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nibabel import orientations
    from numpy.typing import NDArray

    from slidecam.geometry import Axis
else:
    orientations = brought("nibabel.orientations", "volumes")

LEANS = 0.05
"""Degrees from which on a grid's shear is one that people see."""

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
    nifti
        The fields of a NIfTI header that say where its volume lies, by name; empty of other
        files. Programs differ in which of them they believe, so that what is written on the same
        voxels has all of them.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    nifti: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    @cached_property
    def orientation(self) -> NDArray[np.float64]:
        """For each axis of the file its place in (S, P, L), and 1 or -1 if reversed; (3, 2)."""
        wanted = orientations.axcodes2ornt(("S", "P", "L"))
        own = orientations.io_orientation(self.affine)
        return np.asarray(orientations.ornt_transform(own, wanted))

    def file_axis(self, place: int) -> int:
        """Return the file's axis that is axis ``place`` of (S, P, L)."""
        return int(np.flatnonzero(self.orientation[:, 0] == place)[0])

    def flipped(self, place: int) -> bool:
        """Whether the file counts the other way along axis ``place`` of (S, P, L)."""
        return bool(self.orientation[self.file_axis(place), 1] < 0)

    @property
    def spl_shape(self) -> tuple[int, int, int]:
        """Voxels upwards, backwards and to the left."""
        up, back, left = (self.shape[axis] for axis in self._file_axes)
        return up, back, left

    @property
    def _file_axes(self) -> tuple[int, ...]:
        """The file's axes that are S, P and L."""
        return tuple(map(self.file_axis, range(3)))

    @property
    def _directions(self) -> tuple[slice, ...]:
        """How the file's axes count along S, P and L: forwards or backwards."""
        ways = {False: slice(None), True: slice(None, None, -1)}
        return tuple(ways[self.flipped(place)] for place in range(3))

    @cached_property
    def spl_affine(self) -> NDArray[np.float64]:
        """float64, (4, 4): from (s, p, l) indices to (z, y, x) in LPS+ mm."""
        back = orientations.inv_ornt_aff(self.orientation, self.shape)
        return np.asarray(_X_Y_Z_REVERSED @ _TO_LPS @ self.affine @ back)

    @property
    def scale(self) -> tuple[float, float, float]:
        """Size of a voxel along S, P and L in mm."""
        up, back, left = np.linalg.norm(self.spl_affine[:3, :3], axis=0).tolist()
        return up, back, left

    @property
    def translate(self) -> tuple[float, float, float]:
        """Where the centre of voxel (0, 0, 0) of (S, P, L) lies: z, y, x in LPS+ mm."""
        z, y, x = self.spl_affine[:3, 3].tolist()
        return z, y, x

    @property
    def is_oblique(self) -> bool:
        """Whether the axes are turned against the world's.

        Scale and translation alone then misplace voxels.
        """
        turned = self.spl_affine[:3, :3] / np.array(self.scale)
        return bool(np.abs(turned - np.eye(3)).max() > OBLIQUE)

    @cached_property
    def shear(self) -> float:
        """How far an axis leans from the normal of the two others, degrees; 0 at right angles.

        It is the tilt of a gantry, where that is what leans.
        """
        edges = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        leans: list[float] = []
        for axis in range(3):
            normal = np.cross(edges[:, axis - 2], edges[:, axis - 1])
            aside = edges[:, axis] - normal * (edges[:, axis] @ normal) / (normal @ normal)
            leans.append(math.degrees(math.asin(min(1.0, float(np.linalg.norm(aside))))))
        return max(leans)

    @property
    def leans(self) -> bool:
        """Whether its axes are not at right angles, by more than rounding."""
        return self.shear >= LEANS

    def to_spl(self, voxels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return an array (i, j, k, …) of the file's order in (S, P, L, …) order, as a view."""
        turned = np.transpose(voxels, (*self._file_axes, *range(3, voxels.ndim)))
        return turned[self._directions]

    def from_spl(self, voxels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return an array (S, P, L, …) in the file's order, as a view: the inverse of `to_spl`."""
        places = self.orientation[:, 0].astype(int).tolist()
        return np.transpose(voxels[self._directions], (*places, *range(3, voxels.ndim)))

    def lies_like(self, other: VolumeGrid) -> bool:
        """Whether both have the same voxels at the same places, to a hundredth of a voxel."""
        if self.spl_shape != other.spl_shape:
            return False
        first, last = (0, 0, 0, 1), (*np.array(self.spl_shape) - 1, 1)
        apart = (self.spl_affine - other.spl_affine) @ np.array([first, last], np.float64).T
        return bool(np.abs(apart).max() <= min(self.scale) / 100)


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
        down, across = self._in_plane
        shape = self.grid.spl_shape
        return shape[self.place], shape[down], shape[across]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Millimetres from plane to plane, row to row and column to column."""
        down, across = self._in_plane
        scale = self.grid.scale
        return scale[self.place], scale[down], scale[across]

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
        if self.grid.flipped(self.place):
            return order[::-1].copy()
        return order

    def to_pictures(self, voxels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return (S, P, L, …) voxels as pictures (planes, rows, columns, …), as a view."""
        planes = np.moveaxis(voxels, self.place, 0)
        if self.axis == "axial":
            return planes
        return planes[:, ::-1]

    def from_pictures(self, pictures: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return pictures (planes, rows, columns, …) as (S, P, L, …) voxels.

        The inverse of `to_pictures`.
        """
        planes = pictures
        if self.axis != "axial":
            planes = pictures[:, ::-1]
        return np.moveaxis(planes, 0, self.place)
