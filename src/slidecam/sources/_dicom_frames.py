"""The frames of a DICOM series: one per file, or many, or the slices of a Siemens mosaic."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread

from slidecam.errors import RefusedSourceError
from slidecam.registry import load
from slidecam.sources._dicom_traits import traits_of_file, traits_of_frame, traits_of_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from slidecam.sources._dicom_traits import Traits
    from slidecam.sources.placement import Assumption

_DCM2NIIX = "Convert it with dcm2niix."
_MOSAIC_SLICES, _CSA = (0x0019, 0x100A), (0x0029, 0x1010)
_AT_ORIGIN = (0.0, 0.0, 0.0)
_POINTERS_TO_TIME = {0x00181063, 0x00181065}
"""FrameTime and FrameTimeVector, as what a file's frames follow each other in."""

_AXIAL = 0.999
_SAME_MM = 1e-3


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice in a file.

    Attributes
    ----------
    path, number
        The file, and the frame in it from 0.
    rows, columns, bands
        Its shape.
    position
        Where the centre of its first pixel lies, LPS mm; None where the file does not say.
    directions
        (2, 3): along a row and down a column, unit vectors in LPS.
    spacing
        mm between rows and between columns.
    slope, intercept
        Of the modality.
    traits
        What tells it from others of its place, by name: image type, echo, b-value, time.
    instance
        What sorts frames that nothing else tells apart.
    apart
        What the file says that slices lie apart, mm; None where it does not.
    corner
        Row and column where it begins in a picture that slices share; None where it is all of it.
    in_sequence
        Whether it is one of a file's frames that are no slices, but follow each other.
    assumptions
        What is taken of its place though no file says it.
    """

    path: Path
    number: int
    rows: int
    columns: int
    bands: int
    position: tuple[float, float, float] | None
    directions: tuple[tuple[float, ...], tuple[float, ...]]
    spacing: tuple[float, float]
    slope: float
    intercept: float
    traits: Traits = ()
    instance: float = 0.0
    apart: float | None = None
    corner: tuple[int, int] | None = None
    in_sequence: bool = False
    assumptions: tuple[Assumption, ...] = ()

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector from the slice to the next one."""
        return np.cross(*self.directions)

    @property
    def depth(self) -> float:
        """Where it lies along its normal, mm; its instance number where nothing is known."""
        if self.position is None:
            return self.instance
        return float(np.dot(self.position, self.normal))

    def of_picture(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return its part of the picture that is stored, (rows, columns, …)."""
        if self.corner is None:
            return pixels
        top, left = self.corner
        return pixels[top : top + self.rows, left : left + self.columns]


def frames_of(given: str, paths: Sequence[Path]) -> Iterator[Frame]:
    """Yield every frame of some files of the series ``given``.

    Raises
    ------
    InvalidDicomError, AttributeError
        If one is damaged.
    RefusedSourceError
        If one holds slices and does not say how they lie.
    """
    for path in paths:
        header = dcmread(path, stop_before_pixels=True, force=True)
        count = int(header.get("NumberOfFrames") or 1)
        if "PerFrameFunctionalGroupsSequence" in header:
            yield from _enhanced(path, header, count)
        elif "MOSAIC" in (header.get("ImageType") or ()):
            yield from _mosaic(given, path, header)
        elif count > 1:
            yield from _of_many(path, header, count)
        else:
            yield _classic(path, header)


def _classic(path: Path, header: Dataset) -> Frame:
    return Frame(
        path,
        0,
        *_shape(header),
        _triple(header.get("ImagePositionPatient")),
        _directions(header.get("ImageOrientationPatient")),
        _spacing(header),
        *_scaling(header),
        traits_of_file(header),
        float(header.get("InstanceNumber") or 0),
        _apart(header),
        assumptions=_assumptions(header.get("ImageOrientationPatient"), header.get("PixelSpacing")),
    )


def _enhanced(path: Path, header: Dataset, count: int) -> Iterator[Frame]:
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    groups = [*header.PerFrameFunctionalGroupsSequence]
    # Frames of which the file says nothing are there all the same.
    groups += [{}] * (count - len(groups))
    places = (*groups, shared[0])
    is_placed = any("PlanePositionSequence" in group for group in places)
    for number, own in enumerate(groups):

        def group(name: str, own: Any = own) -> Any:  # noqa: ANN401  (a data set, or an empty dict)
            return (own.get(name) or shared[0].get(name) or [{}])[0]

        measures = group("PixelMeasuresSequence")
        orientation = group("PlaneOrientationSequence").get("ImageOrientationPatient")
        yield Frame(
            path,
            number,
            *_shape(header),
            _triple(group("PlanePositionSequence").get("ImagePositionPatient")),
            _directions(orientation),
            _spacing(measures),
            *_scaling(group("PixelValueTransformationSequence")),
            traits_of_frame(header, group),
            float(header.get("InstanceNumber") or 0) + number,
            _apart(measures),
            in_sequence=count > 1 and not is_placed,
            assumptions=_assumptions(orientation, measures.get("PixelSpacing")),
        )


def _of_many(path: Path, header: Dataset, count: int) -> Iterator[Frame]:
    """Yield the frames of a file without groups: slices where it says so, else a sequence."""
    detector = (header.get("DetectorInformationSequence") or [{}])[0]
    position = header.get("ImagePositionPatient") or detector.get("ImagePositionPatient")
    orientation = header.get("ImageOrientationPatient") or detector.get("ImageOrientationPatient")
    directions = _directions(orientation)
    normal = np.cross(*directions)
    first = _triple(position)
    offsets = _offsets(header, count, normal)
    in_sequence = offsets is None
    for number in range(count):
        place = first
        if offsets is not None:
            x, y, z = (np.array(first or _AT_ORIGIN) + offsets[number] * normal).tolist()
            place = (x, y, z)
        yield Frame(
            path,
            number,
            *_shape(header),
            place,
            directions,
            _spacing(header),
            *_scaling(header),
            traits_of_file(header) + traits_of_vectors(header, number),
            float(header.get("InstanceNumber") or 0) + number / count,
            _apart(header),
            in_sequence=in_sequence,
            assumptions=_assumptions(orientation, header.get("PixelSpacing")),
        )


def _offsets(header: Dataset, count: int, normal: NDArray[np.float64]) -> list[float] | None:
    """Return how far each frame lies from the first along their normal, mm; None for no slices."""
    grid = _numbers(header.get("GridFrameOffsetVector"), count)
    if grid is not None:
        if abs(grid[0]) > _SAME_MM and abs(float(normal[2])) > _AXIAL:  # patient coordinates
            return [(each - grid[0]) * math.copysign(1, normal[2]) for each in grid]
        return [each - grid[0] for each in grid]
    locations = _numbers(header.get("SliceLocationVector"), count)
    if locations is not None:
        return [each - locations[0] for each in locations]
    step = float(header.get("SpacingBetweenSlices") or 0)
    slices = _numbers(header.get("SliceVector"), count)
    if slices is not None:
        step = step or float(header.get("SliceThickness") or 0)
        if step:
            return [(each - slices[0]) * step for each in slices]
    pointers = header.get("FrameIncrementPointer") or ()
    if isinstance(pointers, int):
        pointers = (pointers,)
    other = traits_of_vectors(header, 0) or _POINTERS_TO_TIME & set(map(int, pointers))
    if step and not other:
        return [number * step for number in range(count)]
    return None


def _mosaic(given: str, path: Path, header: Dataset) -> Iterator[Frame]:
    """Yield the slices that a Siemens mosaic shows side by side, by its CSA header."""
    count, normal = _csa(header)
    whole = _classic(path, header)
    apart = whole.apart
    if not count or normal is None or apart is None or whole.position is None:
        many = str(count or "several")
        problem = f"This is a Siemens mosaic, one picture of {many} slices, without the CSA header"
        raise RefusedSourceError(given, f"{problem} that says how they lie.", _DCM2NIIX)
    across = math.ceil(math.sqrt(count))
    rows, columns = whole.rows // across, whole.columns // across
    # The position is that of a slice as large as the mosaic about the same middle.
    right, down = (np.array(direction) for direction in whole.directions)
    first = np.array(whole.position)
    first = first + right * whole.spacing[1] * (whole.columns - columns) / 2
    first = first + down * whole.spacing[0] * (whole.rows - rows) / 2
    for number in range(count):
        x, y, z = (first + normal * apart * number).tolist()
        row, column = divmod(number, across)
        yield Frame(
            path,
            0,
            rows,
            columns,
            whole.bands,
            (x, y, z),
            whole.directions,
            whole.spacing,
            whole.slope,
            whole.intercept,
            whole.traits,
            whole.instance,
            apart,
            corner=(row * rows, column * columns),
            assumptions=whole.assumptions,
        )


def _csa(header: Dataset) -> tuple[int, NDArray[np.float64] | None]:
    """Return how many slices a mosaic holds and where they follow; 0, None where it is not said."""
    count, normal = 0, None
    if _MOSAIC_SLICES in header:
        said = header[_MOSAIC_SLICES].value
        if isinstance(said, bytes):
            said = int.from_bytes(said[:2], "little")
        count = int(said or 0)
    if _CSA not in header:
        return count, normal
    with warnings.catch_warnings():  # nibabel warns that its reader of DICOM is young
        warnings.simplefilter("ignore")
        reader = load("nibabel.nicom.csareader:read")
    tags = reader(header[_CSA].value)["tags"]
    items = tags.get("SliceNormalVector", {}).get("items", ())
    if len(items) == 3:  # noqa: PLR2004  (x, y, z)
        normal = np.array(items, np.float64)
    return int((tags.get("NumberOfImagesInMosaic", {}).get("items") or [count])[0]), normal


def _shape(header: Dataset) -> tuple[int, int, int]:
    bands = int(header.get("SamplesPerPixel", 1))
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        bands = 3  # its samples are indices of colours
    return int(header.Rows), int(header.Columns), bands


def _scaling(values: Any) -> tuple[float, float]:  # noqa: ANN401  (a data set or a dict)
    slope = values.get("RescaleSlope") or values.get("DoseGridScaling") or 1
    return float(slope), float(values.get("RescaleIntercept") or 0)


def _apart(values: Any) -> float | None:  # noqa: ANN401
    said = values.get("SpacingBetweenSlices")
    if not said:
        return None
    return abs(float(said))


def _numbers(values: Any, count: int) -> list[float] | None:  # noqa: ANN401
    """Return a vector of one value for each frame, or None where it is none."""
    if values is None or isinstance(values, int | float | str) or len(values) != count:
        return None
    return list(map(float, values))


def _triple(values: Any) -> tuple[float, float, float] | None:  # noqa: ANN401
    if not values:
        return None
    x, y, z = map(float, values)
    return x, y, z


def _directions(values: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:  # noqa: ANN401
    numbers = list(map(float, values or (1, 0, 0, 0, 1, 0)))
    return tuple(numbers[:3]), tuple(numbers[3:])


def _assumptions(orientation: Any, spacing: Any) -> tuple[Assumption, ...]:  # noqa: ANN401
    found: list[Assumption] = []
    if not orientation:
        found.append("no frame orientation")
    if not spacing:
        found.append("no frame spacing")
    return tuple(found)


def _spacing(values: Any) -> tuple[float, float]:  # noqa: ANN401
    rows, columns = map(float, values.get("PixelSpacing") or (1, 1))
    return rows, columns
