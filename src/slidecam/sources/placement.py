"""What a volume's file leaves open about its place: one list of assumptions for all readers.

Orientation, size of voxels, origin and units that a header does not say, or says twice, are
assumed, and every assumption is a sentence among a source's readings.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from slidecam.errors import RefusedSourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from slidecam.sources.volume_grid import VolumeGrid

Assumption = Literal[
    "no codes",
    "sides disagree",
    "places disagree",
    "no direction",
    "unknown space",
    "no orientation",
    "no frame orientation",
    "no kinds",
    "no spacing",
    "no frame spacing",
    "detector spacing",
    "projected spacing",
    "film spacing",
    "several regions",
    "regions disagree",
    "negative sizes",
    "sizes disagree",
    "turned oddly",
    "first slice",
    "vector too short",
    "no origin",
    "units",
    "oblique",
    "leans",
    "axis ends",
    "axis ends of cells",
    "axis ends besides",
    "thicknesses",
]

_FLAT = 1e-9
"""Volume of a voxel, in shares of the product of its edges, at which its axes lie in one plane."""

_SMALLEST, _LARGEST = 1e-6, 1e5
"""Edges of a voxel that are believed, mm: also those of what states metres or microns."""

_GUESS = "left and right are a guess"

_SENTENCES: Mapping[Assumption, str] = MappingProxyType(
    {
        "no codes": "Neither matrix of its header has a code (qform and sform are 0), so that the"
        f" file does not say how it lies in the patient: {_GUESS}; its axes are taken to run to the"
        " left, to the front and upwards.",
        "sides disagree": f"Its qform and its sform disagree on left and right, so that {_GUESS}:"
        " the sform is taken, and programs that take the qform show the other side.",
        "places disagree": "Its qform and its sform place it up to {said} apart: the sform is"
        " taken, and programs that take the qform show it elsewhere.",
        "no direction": "Its header does not say how it lies in the patient (goodRASFlag 0):"
        f" {_GUESS}; its axes are taken to run to the left, downwards and to the front in steps of"
        " 1 mm, as FreeSurfer takes them.",
        "unknown space": "Its space ({said}) does not say how it lies in the patient:"
        f" {_GUESS}; left, posterior, superior is assumed.",
        "no orientation": "The file does not say how it lies in the patient:"
        f" {_GUESS}; left, posterior, superior is assumed.",
        "no frame orientation": "Its frames have no ImageOrientationPatient, so that the file does"
        f" not say how they lie in the patient: {_GUESS}; rows are taken to run to the left and"
        " columns to the back.",
        "no kinds": "Its header does not say which of its {said} axes are space: the first three"
        " are taken, and of the others each place is a volume.",
        "no spacing": "Its header does not say how large voxels are along {said}: 1 mm is assumed.",
        "no frame spacing": "Its frames have no PixelSpacing, so that nothing says how large pixels"
        " are: 1 mm is assumed.",
        "detector spacing": "Its frames have no PixelSpacing, and pixels are {said} mm at the"
        " detector (ImagerPixelSpacing): that is taken, though what lies before a detector is"
        " smaller than its shadow.",
        "projected spacing": "Its PixelSpacing, {said} mm, is that of the detector"
        " (ImagerPixelSpacing): what lies before a detector is smaller than its shadow.",
        "film spacing": "Its frames have no PixelSpacing, and pixels are {said} mm on the film that"
        " was scanned (NominalScannedPixelSpacing): that is taken.",
        "several regions": "Its ultrasound regions have pixels of different sizes, {said} mm: 1 mm"
        " is assumed.",
        "regions disagree": "Its PixelSpacing is {said} mm: PixelSpacing is taken.",
        "negative sizes": "Its pixdim is negative along {said}: sizes are taken without their sign,"
        " and programs that heed it show the volume elsewhere.",
        "sizes disagree": "Its pixdim says that voxels are {said} another size: the sform is"
        " taken.",
        "turned oddly": "The ImageOrientationPatient of its frames holds {said}: the directions"
        " alone are taken of it.",
        "first slice": "The first frame of the file is not its first slice: frames are placed by"
        " SliceVector, and ImagePositionPatient is taken for that of slice {said}.",
        "vector too short": "Its {said}, so that it is not believed.",
        "oblique": "Its slices are oblique: they are taken along the file's own axes, and"
        " positions are of their centres.",
        "leans": "Gantry tilt of {said} degrees: its slices do not lie above one another, and its"
        " axes, sheared so, are taken as they lie.",
        "axis ends": "Its header says where its axes begin and end (axis mins, axis maxs) and not"
        " how large voxels are: these are {said} mm from the one to the other.",
        "axis ends of cells": "Its header says where its axes begin and end (axis mins, axis maxs)"
        " and neither how large voxels are nor whether its ends are of their centres: the ends of"
        " cells are taken, {said} mm each.",
        "axis ends besides": "Its axis mins and axis maxs are not heeded for how large voxels are:"
        " {said}.",
        "thicknesses": "Its header says how thick voxels are along {said} (thicknesses) and not how"
        " far apart: they are taken to touch.",
        "no origin": "Its header has no origin: the first voxel is taken to lie at 0, 0, 0.",
        "units": "Its header states {said}s; lengths are taken for mm all the same, as viewers"
        " take them.",
    }
)


def assumed(what: Assumption, said: str = "") -> str:
    """Return the sentence on an assumption; ``said`` is what the file does say, where it counts."""
    return _SENTENCES[what].format(said=said)


def words_on_axes(grid: VolumeGrid) -> Iterator[str]:
    """Yield what is said of a volume whose axes are turned, or lean."""
    if grid.leans:
        yield assumed("leans", f"{grid.shear:.1f}")
    if grid.is_oblique:
        yield assumed("oblique")


def guesses_side(readings: Iterable[str]) -> bool:
    """Whether a volume's readings say that its left and right are a guess."""
    return any(_GUESS in reading for reading in readings)


def refuse_flat(path: str, affine: NDArray[np.float64]) -> None:
    """Refuse an affine that places nothing.

    Parameters
    ----------
    path
        The file, as the user named it.
    affine
        float64, (4, 4): from a voxel's indices to mm.

    Raises
    ------
    RefusedSourceError
        If it holds no finite numbers, its axes lie in one plane, or its voxels are of a size that
        nothing scans.
    """
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    whole = np.isfinite(affine).all() and edges.min() > 0
    if not whole or abs(np.linalg.det(affine[:3, :3] / edges)) < _FLAT:
        problem = "The affine is singular, so nobody knows where its voxels lie."
        raise RefusedSourceError(path, problem, "Mend its header, or convert it again.")
    if not _SMALLEST <= edges.min() <= edges.max() <= _LARGEST:
        said = " x ".join(map("{:.3g}".format, edges))
        problem = f"Its voxels are {said} mm, which nothing scans."
        raise RefusedSourceError(path, problem, "Mend its header, or convert it again.")


def mirrored(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether two affines to RAS+ mm disagree on left and right.

    They do where an axis that runs to the right by one runs to the left by the other, or where
    one is the other's mirror image.
    """
    hands = np.linalg.det(one[:3, :3]) * np.linalg.det(other[:3, :3])
    return bool(hands < 0 or np.dot(one[0, :3], other[0, :3]) < 0)


def farthest(
    one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, int, int]
) -> float:
    """Return how far apart two affines place a corner of a volume at most, in their unit."""
    ends = np.array(np.meshgrid(*[(0, length - 1) for length in shape])).reshape(3, -1)
    corners = np.vstack([ends, np.ones(ends.shape[1])])
    apart = (one - other)[:3] @ corners
    return float(np.linalg.norm(apart, axis=0).max())
