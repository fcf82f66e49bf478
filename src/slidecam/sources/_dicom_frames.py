"""The frames of a DICOM series: one per file, or many, or the slices of a Siemens mosaic."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.filereader import read_partial

from slidecam.errors import RefusedSourceError
from slidecam.registry import load
from slidecam.sources._dicom_places import (
    apart_of,
    directions_of,
    doubts_on,
    doubts_on_vectors,
    pixel_size,
    places_of_many,
    triple,
)
from slidecam.sources._dicom_traits import (
    private,
    traits_of_file,
    traits_of_frame,
    traits_of_vectors,
    with_b_value,
)
from slidecam.sources.placement import assumed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from slidecam.sources._dicom_traits import Traits

_DCM2NIIX = "Convert it with dcm2niix."
_MOSAIC_SLICES = ("SIEMENS MR HEADER", 0x0019, 0x0A)
_CSA = ("SIEMENS CSA HEADER", 0x0029, 0x10)
_TYPE_TEXT = ("SIEMENS MR SDI 02", 0x0021, 0x75)
_VENDOR_GROUPS = (("SIEMENS MR SDI 02", 0x0021, 0xFE), ("SIEMENS MR SDS 01", 0x0021, 0xFE))
"""Where Siemens writes how many slices a mosaic shows, how they lie, and in words what it is."""

_PIXEL_DATA = {0x7FE00008, 0x7FE00009, 0x7FE00010}
_OPEN_END = 0xFFFFFFFF
"""What stands for the length of pixels that are compressed."""

_POSITIONS = {0x00209113, 0x0020930E}
"""PlanePositionSequence, and PlanePositionVolumeSequence of ultrasound."""


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
    spacing_from
        What of the header says ``spacing``.
    assumptions
        A sentence on each thing that is taken of its place though no file says it.
    beyond
        Of a file's first frame: how many more its pixels make than its header counts; below 0
        where they do not make one.
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
    spacing_from: str = "PixelSpacing"
    assumptions: tuple[str, ...] = ()
    beyond: int = 0

    @property
    def is_guess(self) -> bool:
        """Whether no file says how it lies in the patient."""
        return assumed("no frame orientation") in self.assumptions

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


def frames_of(given: str, paths: Sequence[Path]) -> tuple[list[Frame], list[Exception]]:
    """Return every frame of some files of the series ``given``, and why others give none.

    Raises
    ------
    RefusedSourceError
        If one holds slices and does not say how they lie.
    Exception
        Of whatever kind, if all are damaged: the first one's.
    """
    frames: list[Frame] = []
    failures: list[Exception] = []
    for path in paths:
        try:
            frames += _frames_in(given, path)
        except RefusedSourceError:
            raise
        except Exception as error:  # noqa: BLE001  (the boundary of a file: it fails alone)
            failures.append(error)
    if failures and not frames:
        raise failures[0]
    return frames, failures


def _frames_in(given: str, path: Path) -> list[Frame]:
    header, length = _header_and_length(path)
    if "BitsAllocated" not in header:
        raise EOFError("the header is cut off")
    if not (header.Rows and header.Columns):
        raise ValueError(f"a picture of {header.Columns}x{header.Rows} pixels is none")
    count = int(header.get("NumberOfFrames") or 1)
    frames: Iterable[Frame] = (_classic(path, header),)
    if "PerFrameFunctionalGroupsSequence" in header:
        frames = _enhanced(path, header, count)
    elif count > 1:
        frames = _of_many(path, header, count)
    if _is_mosaic(header):
        frames = _slices_of_mosaics(given, header, frames)
    beyond = _beyond(header, length, count)
    if beyond < 0:
        return [replace(frame, beyond=beyond) for frame in frames]
    first, *others = frames
    return [replace(first, beyond=beyond), *others]


def _header_and_length(path: Path) -> tuple[Dataset, int]:
    """Return what a file says before its pixels, and how many bytes these have; 0: it is open."""
    lengths = [0]

    def is_pixels(tag: int, _kind: str | None, length: int) -> bool:
        if tag in _PIXEL_DATA and length != _OPEN_END:
            lengths.append(length)
        return tag in _PIXEL_DATA

    with path.open("rb") as stream:
        return read_partial(stream, stop_when=is_pixels, force=True), lengths[-1]


def _beyond(header: Dataset, length: int, count: int) -> int:
    """Return how many frames pixels of some bytes make beyond those that are counted, -1 for none.

    Of fewer than are counted, those that are not there fail one by one.
    """
    bits = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel") or 1)
    bits *= int(header.BitsAllocated)
    if str(header.get("PhotometricInterpretation", "")).endswith("_422"):
        bits = bits * 2 // 3  # two pixels share their colour
    held = 8 * length // bits
    if length and not held:
        return -1
    return max(0, held - count)


def _classic(path: Path, header: Dataset) -> Frame:
    orientation, size = header.get("ImageOrientationPatient"), pixel_size(header, header)
    return Frame(
        path,
        0,
        *_shape(header),
        triple(header.get("ImagePositionPatient")),
        directions_of(orientation),
        size.mm,
        *_scaling(header),
        traits_of_file(header),
        float(header.get("InstanceNumber") or 0),
        apart_of(header),
        spacing_from=size.said_by,
        assumptions=doubts_on(orientation, size),
    )


def _enhanced(path: Path, header: Dataset, count: int) -> Iterator[Frame]:
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    groups = [*header.PerFrameFunctionalGroupsSequence]
    # Frames of which the file says nothing are there all the same.
    groups += [{}] * (count - len(groups))
    places = (*groups, shared[0])
    is_placed = any(not _POSITIONS.isdisjoint(group.keys()) for group in places)
    for number, own in enumerate(groups):

        def group(name: str, own: Any = own) -> Any:  # noqa: ANN401  (a data set, or an empty dict)
            return (own.get(name) or shared[0].get(name) or [{}])[0]

        measures = group("PixelMeasuresSequence")
        if not measures.get("PixelSpacing"):
            measures = group("FramePixelDataPropertiesSequence")
        orientation = group("PlaneOrientationSequence").get("ImageOrientationPatient")
        position = group("PlanePositionSequence").get("ImagePositionPatient")
        in_volume = group("PlanePositionVolumeSequence").get("ImagePositionVolume")
        turned = group("PlaneOrientationVolumeSequence").get("ImageOrientationVolume")
        size = pixel_size(measures, header)
        yield Frame(
            path,
            number,
            *_shape(header),
            triple(position or in_volume),
            directions_of(orientation or turned),
            size.mm,
            *_scaling(group("PixelValueTransformationSequence")),
            traits_of_frame(header, group),
            float(header.get("InstanceNumber") or 0) + number,
            apart_of(group("PixelMeasuresSequence")),
            in_sequence=count > 1 and not is_placed,
            spacing_from=size.said_by,
            assumptions=doubts_on(orientation, size),
        )


def _of_many(path: Path, header: Dataset, count: int) -> Iterator[Frame]:
    """Yield the frames of a file without groups: slices where it says so, else a sequence."""
    otherwise = bool(traits_of_vectors(header, 0))
    places, orientation, in_sequence = places_of_many(header, count, counts_otherwise=otherwise)
    size = pixel_size(header, header)
    doubts = (*doubts_on(orientation, size), *doubts_on_vectors(header, count))
    for number, place in enumerate(places):
        yield Frame(
            path,
            number,
            *_shape(header),
            place,
            directions_of(orientation),
            size.mm,
            *_scaling(header),
            traits_of_file(header) + traits_of_vectors(header, number),
            float(header.get("InstanceNumber") or 0) + number / count,
            apart_of(header),
            in_sequence=in_sequence,
            spacing_from=size.said_by,
            assumptions=doubts,
        )


def _is_mosaic(header: Dataset) -> bool:
    """Whether a file's frames are Siemens mosaics, by any of the signs that its versions leave."""
    return any("MOSAIC" in str(each).upper() for each in _types(header)) or _in_mosaic(header) > 1


def _types(header: Dataset) -> Iterator[Any]:
    """Yield what a file says of the type of its picture and of its frames, as it says it."""
    yield header.get("ImageType")
    yield private(header, *_TYPE_TEXT)
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    for group in (*shared, *(header.get("PerFrameFunctionalGroupsSequence") or ())):
        for each in group.get("MRImageFrameTypeSequence") or ():
            yield each.get("FrameType")
        for place in _VENDOR_GROUPS:
            for each in private(group, *place) or ():
                yield private(each, *_TYPE_TEXT)


def _in_mosaic(header: Dataset) -> int:
    """Return how many slices a file says that it shows side by side, 0 where it does not."""
    said = private(header, *_MOSAIC_SLICES)
    if isinstance(said, bytes):
        said = int.from_bytes(said[:2], "little")
    return int(said or 0)


def _slices_of_mosaics(given: str, header: Dataset, wholes: Iterable[Frame]) -> Iterator[Frame]:
    """Yield the slices that Siemens mosaics show side by side, by their CSA header."""
    count, normal, b_value = _csa(header)
    for whole in wholes:
        apart = whole.apart
        if not count or normal is None or apart is None or whole.position is None:
            many = str(count or "several")
            problem = f"This is a Siemens mosaic, one picture of {many} slices, without the CSA"
            raise RefusedSourceError(given, f"{problem} header that says how they lie.", _DCM2NIIX)
        across = math.ceil(math.sqrt(count))
        rows, columns = whole.rows // across, whole.columns // across
        if (rows * across, columns * across) != (whole.rows, whole.columns):
            problem = (
                f"This is a Siemens mosaic of {count} slices, and {whole.columns}x{whole.rows}"
            )
            raise RefusedSourceError(
                given, f"{problem} px are not {across} by {across}.", _DCM2NIIX
            )
        # The position is that of a slice as large as the mosaic about the same middle.
        right, down = (np.array(direction) for direction in whole.directions)
        first = np.array(whole.position)
        first = first + right * whole.spacing[1] * (whole.columns - columns) / 2
        first = first + down * whole.spacing[0] * (whole.rows - rows) / 2
        for number in range(count):
            x, y, z = (first + normal * apart * number).tolist()
            row, column = divmod(number, across)
            yield replace(
                whole,
                rows=rows,
                columns=columns,
                position=(x, y, z),
                traits=with_b_value(whole.traits, b_value),
                corner=(row * rows, column * columns),
            )


def _csa(header: Dataset) -> tuple[int, NDArray[np.float64] | None, float | None]:
    """Return how many slices a mosaic holds, where they follow, and their b-value.

    0 and None where it is not said.
    """
    count, normal, b_value = _in_mosaic(header), None, None
    content = private(header, *_CSA)
    if not isinstance(content, bytes):
        return count, normal, b_value
    with warnings.catch_warnings():  # nibabel warns that its reader of DICOM is young
        warnings.simplefilter("ignore")
        reader = load("nibabel.nicom.csareader:read")
    tags = reader(content)["tags"]

    def items(name: str) -> list[Any]:
        return [*tags.get(name, {}).get("items", ())]

    if len(items("SliceNormalVector")) == 3:  # noqa: PLR2004  (x, y, z)
        normal = np.array(items("SliceNormalVector"), np.float64)
    if items("B_value"):
        b_value = float(items("B_value")[0])
    return int((items("NumberOfImagesInMosaic") or [count])[0]), normal, b_value


def _shape(header: Dataset) -> tuple[int, int, int]:
    bands = int(header.get("SamplesPerPixel", 1))
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        bands = 3  # its samples are indices of colours
    return int(header.Rows), int(header.Columns), bands


def _scaling(values: Any) -> tuple[float, float]:  # noqa: ANN401  (a data set or a dict)
    slope = values.get("RescaleSlope") or values.get("DoseGridScaling") or 1
    return float(slope), float(values.get("RescaleIntercept") or 0)
