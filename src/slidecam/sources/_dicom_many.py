"""Where the frames of a DICOM file without functional groups lie: by its vectors, or its step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.sources._dicom_places import directions_of, triple
from slidecam.sources.placement import assumed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_AT_ORIGIN = (0.0, 0.0, 0.0)
_POINTERS_TO_TIME = {0x00181063, 0x00181065}
"""FrameTime and FrameTimeVector, as what a file's frames follow each other in."""

_OF_SLICES = ("GridFrameOffsetVector", "SliceLocationVector", "SliceVector")
"""What says of each frame where it lies, the most telling first."""

_AXIAL = 0.999
_SAME_MM = 1e-3


def places_of_many(
    header: Dataset, count: int, *, counts_otherwise: bool
) -> tuple[list[tuple[float, float, float] | None], Any, bool]:
    """Return where a file's frames without functional groups lie.

    Parameters
    ----------
    header
        Of the file.
    count
        Frames in it.
    counts_otherwise
        Whether its vectors count its frames by something else than slices.

    Returns
    -------
    places
        Of each frame, LPS mm; None where the file does not say.
    orientation
        ImageOrientationPatient, or None.
    in_sequence
        Whether its frames are no slices, but follow each other.
    """
    detector = (header.get("DetectorInformationSequence") or [{}])[0]
    first = triple(header.get("ImagePositionPatient") or detector.get("ImagePositionPatient"))
    orientation = header.get("ImageOrientationPatient") or detector.get("ImageOrientationPatient")
    normal = np.cross(*directions_of(orientation))
    offsets = _offsets(header, count, normal, counts_otherwise=counts_otherwise)
    if offsets is None:
        return [first] * count, orientation, True
    places: list[tuple[float, float, float] | None] = []
    for offset in offsets:
        x, y, z = (np.array(first or _AT_ORIGIN) + offset * normal).tolist()
        places.append((x, y, z))
    return places, orientation, False


def _offsets(
    header: Dataset, count: int, normal: NDArray[np.float64], *, counts_otherwise: bool
) -> NDArray[np.float64] | None:
    """Return how far each frame lies from the first along their normal, mm; None for no slices."""
    grid = _numbers(header.get("GridFrameOffsetVector"), count)
    if grid is not None:
        if abs(grid[0]) > _SAME_MM and abs(float(normal[2])) > _AXIAL:  # patient coordinates
            return np.asarray((grid - grid[0]) * math.copysign(1, normal[2]), np.float64)
        return np.asarray(grid - grid[0], np.float64)
    locations = _numbers(header.get("SliceLocationVector"), count)
    if locations is not None:
        return np.asarray(locations - locations[0], np.float64)
    step = float(header.get("SpacingBetweenSlices") or 0)
    slices = _numbers(header.get("SliceVector"), count)
    if slices is not None:
        step = step or float(header.get("SliceThickness") or 0)
        if step:
            # The position is that of the first slice, wherever its frame lies in the file.
            return np.asarray((slices - slices.min()) * step, np.float64)
    pointers = header.get("FrameIncrementPointer") or ()
    if isinstance(pointers, int):
        pointers = (pointers,)
    if step and not (counts_otherwise or _POINTERS_TO_TIME & set(map(int, pointers))):
        return np.asarray(np.arange(count) * step, np.float64)
    return None


def _numbers(values: Any, count: int) -> NDArray[np.float64] | None:  # noqa: ANN401
    """Return a vector of one value for each frame, or None where it is none."""
    if values is None or isinstance(values, int | float | str) or len(values) != count:
        return None
    return np.array([*map(float, values)], np.float64)


def doubts_on_vectors(header: Dataset, count: int) -> Iterator[str]:
    """Yield a sentence on each thing that is taken of the vectors that place a file's frames."""
    said = {name: header.get(name) for name in _OF_SLICES if header.get(name) is not None}
    for name, values in said.items():
        if _numbers(values, count) is None:
            length = 1
            if not isinstance(values, int | float | str):
                length = len(values)
            yield assumed("vector too short", f"{name} has {length} values for {count} frames")
    if len(said) > 1:
        return
    slices = _numbers(said.get("SliceVector"), count)
    if slices is not None and slices[0] > slices.min():
        yield assumed("first slice", f"{slices.min():g}")
