"""The volumes of a DICOM series: its frames by place, and those of one place by what they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from slidecam.sources._dicom_traits import (
    COMPONENT,
    DIRECTION,
    IMAGE_TYPE,
    is_magnitude,
    name_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from slidecam.sources._dicom_frames import Frame
    from slidecam.sources._dicom_traits import Value

TURNED = 1e-3
"""How far two frames' directions may differ and still be of one stack."""

GAP = 1.5
"""Of the usual step: from there on a slice is missing between two."""

UNEVEN = 0.05
"""Share of the usual step by which others may differ before a note says so."""

_SAME_SPACING = 1e-3
_SAME_MM = 1e-3
_MOST_LINES = 1000
"""Lines through two slices that are tried, to find the one that a stack lies along."""

_NAMED = 6
"""Volumes that a reading describes."""


@dataclass(frozen=True)
class FrameStack:
    """The frames of one volume by position.

    Attributes
    ----------
    frames
        From one end to the other; None where one is missing.
    step
        mm vector from frame to frame, LPS.
    name
        What it is called by what differs from the other volumes; empty where it is the only one.
    """

    frames: tuple[Frame | None, ...]
    step: NDArray[np.float64]
    name: str = ""


@dataclass(frozen=True)
class SeriesVolumes:
    """What a series is made of.

    Attributes
    ----------
    stacks
        Its volumes.
    left_out
        Frames that belong to none of them.
    readings
        A sentence on each thing that is odd, and on all that is left out.
    in_sequence
        Whether the volumes are single frames, which follow each other and are no slices.
    """

    stacks: tuple[FrameStack, ...]
    left_out: int
    readings: tuple[str, ...]
    in_sequence: bool = False


@dataclass(frozen=True)
class _Group:
    """Frames of which no two lie at one place, and what they are called."""

    names: tuple[str, ...]
    frames: tuple[Frame, ...]


def volumes_of(frames: Sequence[Frame], step_mm: float) -> SeriesVolumes:
    """Sort the frames of a series into volumes, each frame into one or among those left out.

    Frames of one place are told apart by what their files say of them, whatever their order in
    those. ``step_mm`` is the distance of slices that is taken where positions say none.
    """
    alike, readings = _most_alike(frames)
    if any(frame.in_sequence for frame in alike):
        stacks = _sequence(alike, step_mm)
        return SeriesVolumes(stacks, len(frames) - len(alike), tuple(readings), in_sequence=True)
    placed = _placed(alike)
    nowhere = len(alike) - len(placed)
    if nowhere:
        readings.append(_said(nowhere, "does not say where it lies", "do not say where they lie"))
    in_line = _in_line(placed)
    aside = len(placed) - len(in_line)
    if aside:
        readings.append(_said(aside, "lies sideways of the others", "lie sideways of the others"))
    places = _places(in_line, max(_SAME_MM, 1e-3 * step_mm))
    groups, repeated = _split(in_line, places)
    if repeated:
        readings.append(
            _said(repeated, "repeats the place of another", "repeat the places of others")
        )
    stacks = tuple(_stack(group, step_mm) for group in groups)
    readings += _uneven(groups)
    readings += _odd(groups, stacks)
    return SeriesVolumes(stacks, len(frames) - len(in_line) + repeated, tuple(readings))


def _said(count: int, one: str, several: str) -> str:
    if count == 1:
        return f"1 of its slices {one} and is left out."
    return f"{count} of its slices {several} and are left out."


def _placed(frames: list[Frame]) -> list[Frame]:
    """Return the frames that say where they lie; all of them where none does."""
    placed = [frame for frame in frames if frame.position is not None]
    return placed or frames


def _most_alike(frames: Sequence[Frame]) -> tuple[list[Frame], list[str]]:
    """Return the frames of the most common shape, direction and spacing; sentences on others."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _shaped_alike(frame, group[0]) and _spaced_alike(frame, group[0]):
                group.append(frame)
                break
        else:
            groups.append([frame])
    largest = max(groups, key=len)
    turned, spaced = 0, 0
    for group in groups:
        if group is largest:
            continue
        if _shaped_alike(group[0], largest[0]):
            spaced += len(group)
        else:
            turned += len(group)
    readings: list[str] = []
    if turned:
        readings.append(
            f"{turned} of its pictures lie in another direction or shape and are left out."
        )
    if spaced:
        rows, columns = largest[0].spacing
        readings.append(
            f"{spaced} of its pictures have another PixelSpacing than {rows:g} x {columns:g} mm"
            " and are left out."
        )
    return largest, readings


def _shaped_alike(one: Frame, other: Frame) -> bool:
    same = (one.rows, one.columns, one.bands) == (other.rows, other.columns, other.bands)
    same = same and (one.in_sequence, one.is_guess) == (other.in_sequence, other.is_guess)
    return same and float(np.abs(np.subtract(one.directions, other.directions)).max()) <= TURNED


def _spaced_alike(one: Frame, other: Frame) -> bool:
    return bool(np.allclose(one.spacing, other.spacing, rtol=_SAME_SPACING, atol=0))


def _sequence(frames: Sequence[Frame], step_mm: float) -> tuple[FrameStack, ...]:
    """Return each frame as a volume of one slice, in the order of their files and in them."""
    stacks: list[FrameStack] = []
    ordered = sorted(frames, key=lambda frame: (frame.instance, frame.path.name, frame.number))
    for frame in ordered:
        name = f"frame {frame.number + 1} of instance {int(frame.instance)}"
        stacks.append(FrameStack((frame,), frame.normal * step_mm, name))
    return tuple(stacks)


def _in_line(frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames that lie along one line, straight or leaning: those of the largest stack.

    Slices that jump sideways by more than a pixel belong to another stack.
    """
    if any(frame.position is None for frame in frames):
        return [*frames]
    depths = np.array([frame.depth for frame in frames])
    aside = np.array([np.dot(frame.directions, frame.position or ()) for frame in frames])
    tolerance = max(frames[0].spacing)
    places = np.unique(np.column_stack([depths, aside]).round(3), axis=0)
    best, kept = 0, np.ones(len(frames), bool)
    for at, slope in _lines(places):
        apart = aside - at[1:] - (depths - at[0])[:, None] * slope
        inside = np.abs(apart).max(axis=1) <= tolerance
        if int(inside.sum()) > best:
            best, kept = int(inside.sum()), inside
        if best == len(frames):
            break
    return [frame for frame, inside in zip(frames, kept, strict=True) if inside]


def _lines(
    places: NDArray[np.float64],
) -> Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield a place and how far a stack leans there for each mm of depth: upright ones first."""
    stride = max(1, len(places) // _MOST_LINES)
    for at in places[::stride]:
        yield at, np.zeros(2)
    for next_but in (1, 2, len(places) - 1):
        for number in range(0, len(places) - next_but, stride):
            at, other = places[number], places[number + next_but]
            if next_but and other[0] - at[0] > _SAME_MM:
                yield at, (other[1:] - at[1:]) / (other[0] - at[0])


def _places(frames: Sequence[Frame], tolerance: float) -> dict[Frame, int]:
    """Return the number of each frame's place, from the lowest up."""
    found: dict[Frame, int] = {}
    place, last = -1, -np.inf
    for frame in sorted(frames, key=lambda each: each.depth):
        if frame.depth - last > tolerance:
            place, last = place + 1, frame.depth
        found[frame] = place
    return found


def _split(frames: Sequence[Frame], places: dict[Frame, int]) -> tuple[list[_Group], int]:
    """Return the frames by what names them, no two of a place together; and how many are over."""
    at_place = Counter(places[frame] for frame in frames)
    most = max(at_place.values())
    if most == 1:
        return [_Group((), tuple(frames))], 0
    for trait, of_frame in _varying(frames, places).items():
        values = _sorted(trait, of_frame)
        if len(values) > most:
            continue  # it differs from slice to slice, and is no volume's
        groups: list[_Group] = []
        over = 0
        for value in values:
            same = [frame for frame in frames if of_frame[frame] == value]
            inner, left = _split(same, places)
            name = name_of(trait, value, values)
            groups += map(partial(_named, name), inner)
            over += left
        return groups, over
    return _by_instance(frames, places, min(at_place.values()))


def _named(name: str, group: _Group) -> _Group:
    return replace(group, names=(name, *group.names))


def _varying(frames: Sequence[Frame], places: dict[Frame, int]) -> dict[str, dict[Frame, Value]]:
    """Return the traits that differ among frames of one place, the most telling first."""
    names: dict[str, None] = {}
    for frame in frames:
        names.update(dict.fromkeys(dict(frame.traits)))
    found: dict[str, dict[Frame, Value]] = {}
    for name in names:
        of_frame = {frame: dict(frame.traits).get(name) for frame in frames}
        first: dict[int, Value] = {}
        if any(first.setdefault(places[each], of_frame[each]) != of_frame[each] for each in frames):
            found[name] = of_frame
    return found


def _sorted(trait: str, of_frame: dict[Frame, Value]) -> list[Value]:
    """Return the values of a trait in the order of volumes: what is looked at first, is first."""
    first: dict[Value, float] = {}
    for frame, value in of_frame.items():
        first[value] = min(frame.instance, first.get(value, np.inf))

    def order(value: Value) -> tuple[bool, float, float, str]:
        if trait in {IMAGE_TYPE, COMPONENT}:
            return not is_magnitude(value), 0.0, first[value], str(value)
        if isinstance(value, float) and trait != DIRECTION:
            return True, value, 0.0, ""
        return value is not None, 0.0, first[value], str(value)

    return sorted(first, key=order)


def _by_instance(
    frames: Sequence[Frame], places: dict[Frame, int], volumes: int
) -> tuple[list[_Group], int]:
    """Return the n-th frame of each place together, and how many places have more."""
    there: dict[int, list[Frame]] = {}
    for frame in sorted(frames, key=_by_number):
        there.setdefault(places[frame], []).append(frame)
    groups: list[_Group] = []
    for number in range(volumes):
        names: tuple[str, ...] = ()
        if volumes > 1:
            names = (f"repetition {number + 1}",)
        groups.append(_Group(names, tuple(map(itemgetter(number), there.values()))))
    return groups, len(frames) - volumes * len(there)


def _by_number(frame: Frame) -> tuple[list[float], float, str, int]:
    """Return what sorts frames of one place that nothing names: their times, then instances."""
    numbers = [value for _name, value in frame.traits if isinstance(value, float)]
    return numbers, frame.instance, frame.path.name, frame.number


def _uneven(groups: Sequence[_Group]) -> list[str]:
    """Return the sentence on volumes of different numbers of slices, where there are such."""
    counts = [len(group.frames) for group in groups]
    if len(set(counts)) == 1:
        return []
    said = [f"{', '.join(group.names)}: {len(group.frames)}" for group in groups[:_NAMED]]
    if len(groups) > _NAMED:
        said.append("…")
    return [f"Its volumes do not hold the same number of slices ({'; '.join(said)})."]


def _stack(group: _Group, step_mm: float) -> FrameStack:
    """Return a group's frames by place, with gaps where slices are missing."""
    frames = sorted(group.frames, key=lambda frame: frame.depth)
    first, last = frames[0], frames[-1]
    name = ", ".join(group.names)
    if first.position is None or last.position is None or len(frames) == 1:
        return FrameStack(tuple(frames), first.normal * step_mm, name)
    steps = np.diff([frame.depth for frame in frames])
    usual = float(np.median(steps))
    lost = [*map(partial(_lost_within, usual), steps)]
    count = len(frames) - 1 + sum(lost)
    # From end to end, so that a stack that is sheared against its normal keeps its places.
    step = (np.array(last.position) - np.array(first.position)) / count
    filled: list[Frame | None] = [first]
    for frame, gap in zip(frames[1:], lost, strict=True):
        filled += [*[None] * gap, frame]
    return FrameStack(tuple(filled), step, name)


def _lost_within(usual: float, step: float) -> int:
    """Return how many slices are missing between two neighbours."""
    if step <= GAP * usual:
        return 0
    return max(0, round(step / usual) - 1)


def _odd(groups: Sequence[_Group], stacks: Sequence[FrameStack]) -> list[str]:
    """Return what is odd about the steps between slices, each sentence once."""
    readings: list[str] = []
    if any(frame.position is None for frame in groups[0].frames):
        readings.append(
            "The files do not say where their slices lie: they are sorted by instance number."
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
    steps = np.diff(sorted(frame.depth for frame in frames))
    usual = float(np.median(steps))
    lost = sum(map(partial(_lost_within, usual), steps))
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
    said = frames[0].apart
    if said and usual > GAP * said:
        readings.append(
            f"Its slices lie {usual:g} mm apart, though SpacingBetweenSlices says {said:g} mm:"
            " slices between them may be missing."
        )
    return readings
