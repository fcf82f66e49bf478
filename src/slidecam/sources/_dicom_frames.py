"""The frames of a DICOM series, by position: one per file, or many in an enhanced file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

TURNED = 1e-3
"""How far two frames' directions may differ and still be of one stack."""

GAP = 1.5
"""Of the usual step: from there on a slice is missing between two."""

UNEVEN = 0.05
"""Share of the usual step by which others may differ before a note says so."""


@dataclass(frozen=True)
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
    order
        What sorts frames of one place: acquisition, echo, time, b-value, instance.
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
    order: tuple[float, ...]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector from the slice to the next one."""
        return np.cross(*self.directions)

    @property
    def depth(self) -> float:
        """Where it lies along its normal, mm; its instance number where nothing is known."""
        if self.position is None:
            return self.order[-1]
        return float(np.dot(self.position, self.normal))


@dataclass(frozen=True)
class FrameStack:
    """The frames of one volume by position.

    Attributes
    ----------
    frames
        From one end to the other; None where one is missing.
    step
        mm vector from frame to frame, LPS.
    """

    frames: tuple[Frame | None, ...]
    step: NDArray[np.float64]


def frames_of(paths: Sequence[Path]) -> Iterator[Frame]:
    """Yield every frame of some files; InvalidDicomError or AttributeError where one is damaged."""
    for path in paths:
        header = dcmread(path, stop_before_pixels=True, force=True)
        if "PerFrameFunctionalGroupsSequence" in header:
            yield from _enhanced(path, header)
        else:
            yield _classic(path, header)


def _classic(path: Path, header: Dataset) -> Frame:
    position, directions = (
        header.get("ImagePositionPatient"),
        header.get("ImageOrientationPatient"),
    )
    return Frame(
        path,
        0,
        *_shape(header),
        _triple(position),
        _directions(directions),
        _pair(header.get("PixelSpacing")),
        float(header.get("RescaleSlope") or 1),
        float(header.get("RescaleIntercept") or 0),
        _order(header),
    )


def _enhanced(path: Path, header: Dataset) -> Iterator[Frame]:
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    for number, own in enumerate(header.PerFrameFunctionalGroupsSequence):

        def group(name: str, own: Dataset = own) -> Any:  # noqa: ANN401  (a data set, or an empty dict)
            return (own.get(name) or shared[0].get(name) or [{}])[0]

        values = group("PixelValueTransformationSequence")
        times = ("FrameAcquisitionNumber", "TemporalPositionIndex")
        yield Frame(
            path,
            number,
            *_shape(header),
            _triple(group("PlanePositionSequence").get("ImagePositionPatient")),
            _directions(group("PlaneOrientationSequence").get("ImageOrientationPatient")),
            _pair(group("PixelMeasuresSequence").get("PixelSpacing")),
            float(values.get("RescaleSlope") or 1),
            float(values.get("RescaleIntercept") or 0),
            (*_numbers(group("FrameContentSequence"), times), number),
        )


def _shape(header: Dataset) -> tuple[int, int, int]:
    bands = int(header.get("SamplesPerPixel", 1))
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        bands = 3  # its samples are indices of colours
    return int(header.Rows), int(header.Columns), bands


def _order(header: Dataset) -> tuple[float, ...]:
    names = (
        "AcquisitionNumber",
        "EchoTime",
        "TemporalPositionIdentifier",
        "DiffusionBValue",
        "InstanceNumber",
    )
    return _numbers(header, names)


def _numbers(header: Any, names: Sequence[str]) -> tuple[float, ...]:  # noqa: ANN401  (a data set or a dict)
    return tuple(float(header.get(name) or 0) for name in names)


def _triple(values: Any) -> tuple[float, float, float] | None:  # noqa: ANN401
    if not values:
        return None
    x, y, z = map(float, values)
    return x, y, z


def _directions(values: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:  # noqa: ANN401
    numbers = list(map(float, values or (1, 0, 0, 0, 1, 0)))
    return tuple(numbers[:3]), tuple(numbers[3:])


def _pair(values: Any) -> tuple[float, float]:  # noqa: ANN401
    rows, columns = map(float, values or (1, 1))
    return rows, columns


def largest_stack(frames: Sequence[Frame]) -> tuple[list[Frame], int]:
    """Return the frames of the most common shape and direction, and how many others there are."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _alike(frame, group[0]):
                group.append(frame)
                break
        else:
            groups.append([frame])
    largest = max(groups, key=len)
    return largest, len(frames) - len(largest)


def _alike(one: Frame, other: Frame) -> bool:
    same = (one.rows, one.columns, one.bands) == (other.rows, other.columns, other.bands)
    return same and float(np.abs(np.subtract(one.directions, other.directions)).max()) <= TURNED


def volumes_of(frames: Sequence[Frame], step_mm: float) -> tuple[list[FrameStack], tuple[str, ...]]:
    """Sort frames of one direction by position into volumes; return them and notes on what is odd.

    Frames of one place are of several volumes, in the order of acquisition, echo, time, b-value and
    instance. ``step_mm`` is the distance of slices that is taken where positions say none.
    """
    places: dict[float, list[Frame]] = {}
    tolerance = max(1e-3, 1e-3 * step_mm)
    for frame in sorted(frames, key=lambda each: (each.depth, each.order)):
        places.setdefault(_place_of(frame.depth, places, tolerance), []).append(frame)
    counts = list(map(len, places.values()))
    notes: tuple[str, ...] = ()
    if min(counts) < max(counts):
        notes = ("Some of its places hold fewer frames than others; those are left.",)
    for there in places.values():
        there.sort(key=lambda each: each.order)
    volumes = zip(*places.values(), strict=False)  # as many as the place of fewest frames has
    stacks = [_stack(volume, step_mm) for volume in volumes]
    return [stack for stack, _odd in stacks], (*notes, *stacks[0][1])


def _place_of(depth: float, places: Iterable[float], tolerance: float) -> float:
    """Return the place that a depth is at: one that is known already, or itself."""
    near = [place for place in places if abs(place - depth) <= tolerance]
    if near:
        return near[-1]
    return depth


def _stack(frames: Sequence[Frame], step_mm: float) -> tuple[FrameStack, tuple[str, ...]]:
    first, last = frames[0], frames[-1]
    if first.position is None or last.position is None or len(frames) == 1:
        notes: tuple[str, ...] = ()
        if first.position is None:
            notes = (
                "The files do not say where their slices lie: they are sorted by instance number.",
            )
        return FrameStack(tuple(frames), first.normal * step_mm), notes
    steps = np.diff([frame.depth for frame in frames])
    usual = float(np.median(steps))
    lost = [_lost_within(step, usual) for step in steps]
    count = len(frames) - 1 + sum(lost)
    # From end to end, so that a stack that is sheared against its normal keeps its places.
    step = (np.array(last.position) - np.array(first.position)) / count
    filled: list[Frame | None] = [first]
    for frame, gap in zip(frames[1:], lost, strict=True):
        filled += [*[None] * gap, frame]
    return FrameStack(tuple(filled), step), _odd(steps, usual, sum(lost))


def _lost_within(step: float, usual: float) -> int:
    """Return how many slices are missing between two neighbours."""
    if step <= GAP * usual:
        return 0
    return max(0, round(step / usual) - 1)


def _odd(steps: NDArray[np.float64], usual: float, lost: int) -> tuple[str, ...]:
    if lost:
        word = "slices are"
        if lost == 1:
            word = "slice is"
        note = f"{lost} {word} missing: the step between neighbours is {usual:g} mm and once"
        return (f"{note} {steps.max():g} mm.",)
    if float(np.abs(steps - usual).max()) > UNEVEN * usual:
        note = f"Its slices are unevenly spaced, {steps.min():g} to {steps.max():g} mm"
        return (f"{note}: a mean step is taken.",)
    return ()
