"""The volumes of a DICOM series: its frames by place, and those of one place by what they are."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.sources._dicom_groups import (
    REPETITION,
    SAME_MM,
    FrameStack,
    Group,
    alternates,
    depths_of,
    left_out,
    lie_closer_than_said,
    lost_within,
    odd,
    together,
    traits_of_frames,
    uneven,
    usual_step,
)
from slidecam.sources._dicom_traits import (
    COMPONENT,
    DIRECTION,
    IMAGE_TYPE,
    MEANINGS,
    TIMES,
    is_magnitude,
    name_of,
    tells_volumes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from slidecam.sources._dicom_frames import Frame
    from slidecam.sources._dicom_traits import Value

_position = attrgetter("position")

TURNED = 1e-3
"""How far two frames' directions may differ and still be of one stack."""

_SAME_SPACING = 1e-3
_SAME_PLACE = 0.02
"""Share of a step that frames of one place may lie apart: those of echoes are rounded apart."""

_FAR_OFF = 10
"""Slices that are missing at least where one is said to lie far off."""

_MOST_LINES = 1000
"""Lines through two slices that are tried, to find the one that a stack lies along."""


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


def volumes_of(frames: Sequence[Frame], step_mm: float) -> SeriesVolumes:
    """Sort the frames of a series into volumes, each frame into one or among those left out.

    Frames of one place are told apart by what their files say of them, whatever their order in
    those. ``step_mm`` is the distance of slices that is taken where positions say none.
    """
    kept = _without_copies(frames)
    copies = len(frames) - len(kept)
    readings = left_out(copies, "is a copy of another's file", "are copies of others' files")
    alike, others = _most_alike(kept)
    readings += others
    if any(frame.in_sequence for frame in alike):
        stacks = _sequence(alike, step_mm)
        return SeriesVolumes(stacks, len(frames) - len(alike), tuple(readings), in_sequence=True)
    placed = _placed(alike)
    readings += left_out(
        len(alike) - len(placed), "does not say where it lies", "do not say where they lie"
    )
    near = _near(placed, step_mm)
    readings += left_out(len(placed) - len(near), "lies far off the others", "lie far off them")
    in_line = _in_line(near)
    readings += left_out(
        len(near) - len(in_line), "lies sideways of the others", "lie sideways of the others"
    )
    places = _places(in_line, _tolerance(step_mm))
    groups, repeated = _split(in_line, places)
    readings += left_out(repeated, "repeats the place of another", "repeat the places of others")
    stacks = tuple(map(partial(_stack, step_mm), groups))
    readings += uneven(groups)
    readings += together(groups, places)
    readings += odd(groups, stacks)
    return SeriesVolumes(stacks, len(frames) - len(in_line) + repeated, tuple(readings))


def _tolerance(step_mm: float) -> float:
    """Return how many mm of depth count as the same place."""
    return max(SAME_MM, _SAME_PLACE * step_mm)


def _without_copies(frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames without those of files that are another's to the byte."""
    alike: dict[Any, list[Frame]] = {}
    for frame in frames:
        key = (frame.number, frame.corner, frame.instance, frame.position, frame.traits)
        alike.setdefault(key, []).append(frame)
    kept: dict[Frame, None] = dict.fromkeys(frames)
    for same in alike.values():
        known: set[bytes] = set()
        for frame in same[: len(same) * (len(same) > 1)]:
            digest = hashlib.sha256(frame.path.read_bytes()).digest()
            if digest in known:
                del kept[frame]
            known.add(digest)
    return [*kept]


def _near(frames: list[Frame], step_mm: float) -> list[Frame]:
    """Return the frames of the largest stack, where some lie farther off than it is deep."""
    if None in map(_position, frames):
        return frames
    ordered = sorted(frames, key=lambda frame: frame.depth)
    steps = np.diff(depths_of(ordered))
    apart = steps[steps > _tolerance(step_mm)]
    if not apart.size:
        return frames
    usual = max(usual_step(apart), step_mm / 2)
    lost = np.array([*map(partial(lost_within, usual), steps)])
    cuts = np.flatnonzero(lost >= max(_FAR_OFF, len(apart) + 1)) + 1
    pieces = np.split(np.arange(len(ordered)), cuts)
    return [ordered[place] for place in max(pieces, key=len)]


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
    if None in map(_position, frames):
        return [*frames]
    depths = depths_of(frames)
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
            if next_but and other[0] - at[0] > SAME_MM:
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


def _split(frames: Sequence[Frame], places: dict[Frame, int]) -> tuple[list[Group], int]:
    """Return the frames by what names them, no two of a place together; and how many are over."""
    at_place = Counter(places[frame] for frame in frames)
    most = max(at_place.values())
    of_frames = traits_of_frames(frames)
    for trait, of_frame in of_frames.items():
        tells = trait not in MEANINGS and tells_volumes(trait)
        tells = tells or lie_closer_than_said(frames)
        if tells and alternates(of_frame, places):
            return _by_trait(frames, places, trait, of_frame)
    if most == 1:
        return [Group((), tuple(frames))], 0
    for trait, of_frame in of_frames.items():
        # What has more values differs from slice to slice, and is no volume's.
        if _differs(of_frame, places) and len(set(of_frame.values())) <= most:
            return _by_trait(frames, places, trait, of_frame)
    return _by_instance(frames, places, min(at_place.values()))


def _by_trait(
    frames: Sequence[Frame],
    places: dict[Frame, int],
    trait: str,
    of_frame: dict[Frame, Value],
) -> tuple[list[Group], int]:
    values = _sorted(trait, of_frame)
    groups: list[Group] = []
    over = 0
    for value in values:
        same = [frame for frame in frames if of_frame[frame] == value]
        inner, left = _split(same, places)
        name = name_of(trait, value, values)
        groups += map(partial(_named, name), inner)
        over += left
    return groups, over


def _named(name: str, group: Group) -> Group:
    return replace(group, names=(name, *group.names))


def _differs(of_frame: dict[Frame, Value], places: dict[Frame, int]) -> bool:
    """Whether a trait differs among frames of one place."""
    first: dict[int, Value] = {}
    return any(first.setdefault(places[each], value) != value for each, value in of_frame.items())


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
    frames: Sequence[Frame],
    places: dict[Frame, int],
    volumes: int,
) -> tuple[list[Group], int]:
    """Return the n-th frame of each place together, and how many places have more."""
    there: dict[int, list[Frame]] = {}
    for frame in sorted(frames, key=_by_number):
        there.setdefault(places[frame], []).append(frame)
    groups: list[Group] = []
    for number in range(volumes):
        names: tuple[str, ...] = ()
        if volumes > 1:
            names = (f"{REPETITION} {number + 1}",)
        groups.append(Group(names, tuple(map(itemgetter(number), there.values()))))
    return groups, len(frames) - volumes * len(there)


def _by_number(frame: Frame) -> tuple[list[float], list[str], float, str, int]:
    """Return what sorts frames of one place that nothing names: their times, then instances."""
    numbers = [value for _name, value in frame.traits if isinstance(value, float)]
    times = [str(value) for name, value in frame.traits if name in TIMES]
    return numbers, times, frame.instance, frame.path.name, frame.number


def _stack(step_mm: float, group: Group) -> FrameStack:
    """Return a group's frames by place, with gaps where slices are missing."""
    frames = sorted(group.frames, key=lambda frame: frame.depth)
    first, last = frames[0], frames[-1]
    name = ", ".join(group.names)
    if first.position is None or last.position is None or len(frames) == 1:
        return FrameStack(tuple(frames), first.normal * step_mm, name)
    steps = np.diff(depths_of(frames))
    usual = usual_step(steps)
    lost = [*map(partial(lost_within, usual), steps)]
    count = len(frames) - 1 + sum(lost)
    # From end to end, so that a stack that is sheared against its normal keeps its places.
    step = (np.array(last.position) - np.array(first.position)) / count
    filled: list[Frame | None] = [first]
    for frame, gap in zip(frames[1:], lost, strict=True):
        filled += [*[None] * gap, frame]
    return FrameStack(tuple(filled), step, name)
