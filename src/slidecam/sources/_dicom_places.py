"""Where DICOM frames lie and how large their pixels are, by their header; what no file says of it.

Frames of one file without functional groups lie by its vectors, or its step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.sources.placement import assumed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_SAME_SIZE = 1e-3
_NO_UNIT = 0.01
"""How far a direction's length, or two directions' cosine, may be from what it has to be."""

_FLAT_REGION, _CENTIMETRES, _MM_PER_CM = 1, 3, 10.0
"""Of a region of an ultrasound picture: that it is a section, and that its unit is cm."""

_AT_ORIGIN = (0.0, 0.0, 0.0)
_POINTERS_TO_TIME = {0x00181063, 0x00181065}
"""FrameTime and FrameTimeVector, as what a file's frames follow each other in."""

_OF_SLICES = ("GridFrameOffsetVector", "SliceLocationVector", "SliceVector")
"""What says of each frame where it lies, the most telling first."""

_AXIAL = 0.999
_FIRST_MM = 1e-3


@dataclass(frozen=True)
class PixelSize:
    """How large the pixels of a frame are.

    Attributes
    ----------
    mm
        Between rows and between columns.
    said_by
        What of the header says so.
    assumptions
        A sentence on each thing that is assumed of it.
    """

    mm: tuple[float, float]
    said_by: str = "PixelSpacing"
    assumptions: tuple[str, ...] = ()


def pixel_size(values: Any, header: Dataset) -> PixelSize:  # noqa: ANN401  (a data set or a dict)
    """Return how large pixels are: in the patient, else in the scan plane, else at the detector.

    Parameters
    ----------
    values
        What says PixelSpacing: a header, or the measures of a frame in it.
    header
        What says the sizes that stand in for it.
    """
    own = _pair(values.get("PixelSpacing"))
    regions = _sizes_of_regions(header)
    detector = _pair(values.get("ImagerPixelSpacing") or header.get("ImagerPixelSpacing"))
    if own is not None:
        return PixelSize(own, assumptions=tuple(_doubts(own, regions, detector)))
    if len(regions) == 1:
        return PixelSize(regions[0], "the ultrasound region")
    if regions:
        said = " and ".join(map(_words, regions))
        return PixelSize(_square(header), "nothing", (assumed("several regions", said),))
    if detector is not None:
        said = _words(detector)
        return PixelSize(detector, "ImagerPixelSpacing", (assumed("detector spacing", said),))
    film = _pair(header.get("NominalScannedPixelSpacing"))
    if film is not None:
        said = _words(film)
        return PixelSize(film, "NominalScannedPixelSpacing", (assumed("film spacing", said),))
    return PixelSize(_square(header), "nothing", (assumed("no frame spacing"),))


def _doubts(
    own: tuple[float, float],
    regions: list[tuple[float, float]],
    detector: tuple[float, float] | None,
) -> Iterator[str]:
    if detector is not None and _alike(own, detector):
        yield assumed("projected spacing", _words(own))
    if regions and not _alike(regions[0], own):
        said = f"{_words(own)} mm, and its ultrasound region's {_words(regions[0])}"
        yield assumed("regions disagree", said)


def _sizes_of_regions(header: Dataset) -> list[tuple[float, float]]:
    """Return the sizes of pixels that an ultrasound picture's sections in cm state, mm, each once.

    Of other regions (Doppler, M-mode) an axis is time or speed.
    """
    found: list[tuple[float, float]] = []
    for region in header.get("SequenceOfUltrasoundRegions") or ():
        units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
        if region.get("RegionSpatialFormat") != _FLAT_REGION or set(units) != {_CENTIMETRES}:
            continue
        steps = (region.get("PhysicalDeltaY") or 0, region.get("PhysicalDeltaX") or 0)
        rows, columns = np.abs(np.array(steps, np.float64) * _MM_PER_CM).tolist()
        known = map(partial(_alike, (rows, columns)), found)
        if rows and columns and not any(known):
            found.append((rows, columns))
    return found


def _square(header: Dataset) -> tuple[float, float]:
    """Return 1 mm, and of pixels whose header says that they are oblong their longer edge so."""
    shape = _pair(header.get("PixelAspectRatio"))
    if shape is None or not min(shape) > 0:
        return 1.0, 1.0
    return shape[0] / max(shape), shape[1] / max(shape)


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return bool(np.allclose(one, other, rtol=_SAME_SIZE, atol=0))


def _words(size: tuple[float, float]) -> str:
    return f"{size[0]:.4g} x {size[1]:.4g}"


def _pair(values: Any) -> tuple[float, float] | None:  # noqa: ANN401
    numbers = _finite(values, 2)
    if not numbers:
        return None
    return numbers[0], numbers[1]


def _finite(values: Any, count: int) -> list[float]:  # noqa: ANN401
    """Return so many numbers, or nothing where a damaged header has others."""
    if not isinstance(values, Iterable):
        return []
    try:
        numbers = [*map(float, values)]
    except ValueError:  # a text, an empty one among them
        return []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        return []
    return numbers


def triple(values: Any) -> tuple[float, float, float] | None:  # noqa: ANN401
    """Return a position, LPS mm; None where there is none."""
    numbers = _finite(values, 3)
    if not numbers:
        return None
    return numbers[0], numbers[1], numbers[2]


def directions_of(orientation: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:  # noqa: ANN401
    """Return the directions along a row and down a column, axial where nothing says them."""
    numbers = _finite(orientation, 6) or [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    pair = np.reshape(numbers, (2, 3))
    lengths = np.linalg.norm(pair, axis=1, keepdims=True)
    # A direction of no length is refused with the matrix that it makes.
    right, down = (pair / np.where(lengths > 0, lengths, 1)).tolist()
    return tuple(right), tuple(down)


def says_directions(orientation: Any) -> bool:  # noqa: ANN401
    """Whether an ImageOrientationPatient is one."""
    return bool(_finite(orientation, 6))


def doubts_on(orientation: Any, size: PixelSize) -> tuple[str, ...]:  # noqa: ANN401
    """Return a sentence on each thing that is assumed of a frame's place."""
    if says_directions(orientation):
        return (*_doubts_on_directions(orientation), *size.assumptions)
    return (assumed("no frame orientation"), *size.assumptions)


def _doubts_on_directions(orientation: Any) -> Iterator[str]:  # noqa: ANN401
    right, down = np.reshape(_finite(orientation, 6), (2, 3))
    lengths = np.linalg.norm([right, down], axis=1)
    if np.abs(lengths - 1).max() > _NO_UNIT:
        yield assumed("turned oddly", "no vectors of length 1")
    if abs(right @ down) > _NO_UNIT * lengths.prod():
        yield assumed("turned oddly", "directions that are not at right angles")


def apart_of(values: Any) -> float | None:  # noqa: ANN401
    """Return what a file says that slices lie apart, mm; None where it does not."""
    said = values.get("SpacingBetweenSlices")
    if not said:
        return None
    return abs(float(said))


def places_of_many(
    header: Dataset,
    count: int,
    *,
    counts_otherwise: bool,
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
    header: Dataset,
    count: int,
    normal: NDArray[np.float64],
    *,
    counts_otherwise: bool,
) -> NDArray[np.float64] | None:
    """Return how far each frame lies from the first along their normal, mm; None for no slices."""
    grid = _numbers(header.get("GridFrameOffsetVector"), count)
    if grid is not None:
        if abs(grid[0]) > _FIRST_MM and abs(float(normal[2])) > _AXIAL:  # patient coordinates
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
