"""Where DICOM frames lie and how large their pixels are; what is odd of it, or no file says."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.sources.placement import assumed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from slidecam.sources._dicom_frames import Frame
    from slidecam.sources._dicom_stacks import FrameStack, Group

_SAME_SIZE = 1e-3
_NO_UNIT = 0.01
"""How far a direction's length, or two directions' cosine, may be from what it has to be."""

_FLAT_REGION, _CENTIMETRES, _MM_PER_CM = 1, 3, 10.0
"""Of a region of an ultrasound picture: that it is a section, and that its unit is cm."""


GAP = 1.5
"""Of the usual step: from there on a slice is missing between two."""

UNEVEN = 0.05
"""Share of the usual step by which others may differ before a note says so."""

_BESIDE = 0.1
"""Share of a pixel that slices may lie beside the line of their stack before a note says so."""

_NAMED = 6
"""Volumes that a reading describes."""


REPETITION = "repetition"
"""What volumes are called that nothing tells apart."""


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


def left_out(count: int, one: str, several: str) -> list[str]:
    """Return the sentence on slices that belong to no volume, where there are such."""
    if not count:
        return []
    if count == 1:
        return [f"1 of its slices {one} and is left out."]
    return [f"{count} of its slices {several} and are left out."]


def depths_of(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Return where frames lie along their normal, mm, (frames,)."""
    return np.array([*map(attrgetter("depth"), frames)], np.float64)


def usual_step(steps: NDArray[np.float64]) -> float:
    """Return the step, mm, that half of the slices are apart or less."""
    return float(np.sort(steps)[(len(steps) - 1) // 2])


def uneven(groups: Sequence[Group]) -> list[str]:
    """Return the sentence on volumes of different numbers of slices, where there are such."""
    counts = [len(group.frames) for group in groups]
    if len(set(counts)) == 1:
        return []
    said = [f"{', '.join(group.names)}: {len(group.frames)}" for group in groups[:_NAMED]]
    if len(groups) > _NAMED:
        said.append("…")
    return [f"Its volumes do not hold the same number of slices ({'; '.join(said)})."]


def lost_within(usual: float, step: float) -> int:
    """Return how many slices are missing between two neighbours."""
    if step <= GAP * usual:
        return 0
    return max(0, round(step / usual) - 1)


def odd(groups: Sequence[Group], stacks: Sequence[FrameStack]) -> list[str]:
    """Return what is odd about the steps between slices, each sentence once."""
    readings: list[str] = []
    names = sum((group.names for group in groups), ())
    if any(name.startswith(REPETITION) for name in names):
        by = "their instance numbers"
        frames = groups[0].frames
        if len({frame.path for frame in frames}) < len(frames):
            by = "the order in which their file stores them, which may be any"
        readings.append(
            "Nothing says which of the slices of one place belong together: they are taken by"
            f" {by}."
        )
    if None in map(attrgetter("position"), groups[0].frames):
        readings.append(
            "The files do not say where their slices lie: they are sorted by instance number, and"
            " which end is the head's, and where the volume lies, is a guess."
        )
        return readings
    for group, stack in zip(groups, stacks, strict=True):
        of_volume = ""
        if stack.name and stack is not stacks[0]:
            of_volume = f"Of volume {stack.name}: "
        readings += map(of_volume.__add__, _odd_steps(group.frames))
    if len(readings) > _NAMED:
        readings = [*readings[:_NAMED], "There is more of that kind in other volumes."]
    return readings


def _odd_steps(frames: Sequence[Frame]) -> list[str]:
    if len(frames) == 1:
        return []
    steps = np.diff(np.sort(depths_of(frames)))
    usual = usual_step(steps)
    lost = sum(map(partial(lost_within, usual), steps))
    readings: list[str] = []
    if lost:
        word = "slices are"
        if lost == 1:
            word = "slice is"
        readings.append(
            f"{lost} {word} missing: the step between neighbours is {usual:g} mm and once"
            f" {steps.max():g} mm."
        )
    elif float(np.abs(steps - usual).max()) > UNEVEN * usual:
        readings.append(
            f"Its slices are unevenly spaced, {steps.min():g} to {steps.max():g} mm: a mean step is"
            " taken."
        )
    beside = _beside(frames)
    if beside > _BESIDE * min(frames[0].spacing):
        readings.append(
            f"Its slices lie up to {beside:.3g} mm beside the straight line that they are put on."
        )
    said = frames[0].apart
    if said and said > GAP * usual:
        readings.append(
            f"Its slices lie {usual:g} mm apart, though SpacingBetweenSlices says {said:g} mm."
        )
    if said and usual > GAP * said:
        readings.append(
            f"Its slices lie {usual:g} mm apart, though SpacingBetweenSlices says {said:g} mm:"
            " slices between them may be missing."
        )
    return readings


def _beside(frames: Sequence[Frame]) -> float:
    """Return how many mm slices lie beside the line from the first to the last at most."""
    ordered = sorted(frames, key=lambda frame: frame.depth)
    places = np.array([*map(attrgetter("position"), ordered)], np.float64)
    depths = depths_of(ordered)
    shares = (depths - depths[0]) / (depths[-1] - depths[0])
    apart = places - places[0] - shares[:, None] * (places[-1] - places[0])
    return float(np.linalg.norm(apart, axis=1).max())
