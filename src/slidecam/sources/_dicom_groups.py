"""Frames as volumes: what is said of their steps and numbers, and of what differs within them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import RefusedSourceError
from slidecam.sources._dicom_apart import FrameDecoder
from slidecam.sources._dicom_traits import (
    ACQUISITION,
    B_VALUE,
    COMPONENT,
    ECHO,
    IMAGE_TYPE,
    MEANINGS,
    SCALES,
    TIMES,
    tells_volumes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slidecam.sources._dicom_frames import Frame
    from slidecam.sources._dicom_traits import Value

SAME_MM = 1e-3

GAP = 1.5
"""Of the usual step: from there on a slice is missing between two."""

UNEVEN = 0.05
"""Share of the usual step by which others may differ before a note says so."""

_BESIDE = 0.1
"""Share of a pixel that slices may lie beside the line of their stack before a note says so."""

_NEIGHBOURS_ALIKE = 0.2
"""Share of neighbouring places that may be alike in what alternates from slice to slice."""

_NEVER_OF_ONE_SLICE = {IMAGE_TYPE, COMPONENT, ECHO, B_VALUE, *SCALES}
"""What does not differ from slice to slice of one volume."""

_AS_UNLIKE, _BORDERS = 3.0, 6
"""By how much neighbours of two scales may differ, of what two of one do; how many are compared."""

_ONE_SCALE = "Export the series anew in one scale, or put the files of each into their own folder."

_LEAST_IN_RUNS, _OF_RUNS = 6, 0.75
"""Slices that make runs of numbers at least, and share of steps that are those within runs."""

_NAMED = 6
"""Volumes that a reading describes."""


REPETITION = "repetition"
"""What volumes are called that nothing tells apart."""


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
class Group:
    """Frames of which no two lie at one place, and what they are called."""

    names: tuple[str, ...]
    frames: tuple[Frame, ...]


def traits_of_frames(frames: Sequence[Frame]) -> dict[str, dict[Frame, Value]]:
    """Return the traits in which frames differ, the most telling first."""
    names: dict[str, None] = {}
    for frame in frames:
        names.update(dict.fromkeys(dict(frame.traits)))
    found: dict[str, dict[Frame, Value]] = {}
    for name in names:
        of_frame = {frame: dict(frame.traits).get(name) for frame in frames}
        if len(set(of_frame.values())) > 1:
            found[name] = of_frame
    return found


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
        if not TIMES.keys().isdisjoint(traits_of_frames(sum((each.frames for each in groups), ()))):
            by = f"the times that they state, then {by}"
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


def _lie_as_said(frames: Sequence[Frame]) -> bool:
    """Whether neighbours lie as far apart as SpacingBetweenSlices says."""
    steps = np.diff(np.sort(depths_of(frames)))
    said = frames[0].apart
    return bool(said and steps.size and abs(usual_step(steps) - said) <= UNEVEN * said)


def lie_closer_than_said(frames: Sequence[Frame]) -> bool:
    """Whether neighbours lie closer than SpacingBetweenSlices says that slices of one volume do."""
    steps = np.diff(np.sort(depths_of(frames)))
    steps = steps[steps > SAME_MM]
    said = frames[0].apart
    return bool(said and steps.size and said > GAP * usual_step(steps))


def alternates(of_frame: dict[Frame, Value], places: dict[Frame, int]) -> bool:
    """Whether frames of each value lie between those of others, as two echoes half a step apart.

    Looked at is where all of them lie, as one may go on where another ends.
    """
    at_place: dict[int, set[Value]] = {}
    of_value: dict[Value, set[int]] = {}
    for frame, value in of_frame.items():
        at_place.setdefault(places[frame], set()).add(value)
        of_value.setdefault(value, set()).add(places[frame])
    if min(map(len, of_value.values())) < 2:  # noqa: PLR2004  (it has no neighbour)
        return False
    first, last = max(map(min, of_value.values())), min(map(max, of_value.values()))
    between = sorted(place for place in at_place if first <= place <= last)
    alike = 0
    for place, next_place in pairwise(between):
        alike += not at_place[place].isdisjoint(at_place[next_place])
    return len(between) > 1 and alike <= _NEIGHBOURS_ALIKE * (len(between) - 1)


def together(groups: Sequence[Group], places: dict[Frame, int]) -> list[str]:
    """Return sentences on what differs within volumes, of which each might be several."""
    said: dict[str, None] = {}
    for group in groups:
        sure = _lie_as_said(group.frames)
        for trait, of_frame in traits_of_frames(group.frames).items():
            counts = Counter(of_frame.values())
            in_turns = trait == ACQUISITION and alternates(of_frame, places) and not sure
            # What has a value of its own for a slice is of slices, but for what no slice has alone.
            several = min(counts.values()) > 1 or trait in _NEVER_OF_ONE_SLICE
            if in_turns or (tells_volumes(trait) and several):
                words = f"Its slices differ in {trait} ({len(counts)} values), and no two of one"
                said[f"{words} place do: they are taken for one volume."] = None
        runs = _runs(group.frames)
        if runs > 1 and not sure:
            words = f"By their instance numbers its slices are {runs} runs, which lie between each"
            said[f"{words} other's slices: they are taken for one volume."] = None
    return [*said]


def _runs(frames: Sequence[Frame]) -> int:
    """Return by how many runs of numbers frames are counted that lie between each other's."""
    by_number = sorted(frames, key=lambda frame: (frame.instance, frame.number))
    depths = depths_of(by_number)
    if len(frames) < _LEAST_IN_RUNS or np.ptp(depths) < SAME_MM:
        return 1
    places = np.argsort(np.argsort(depths))
    steps = np.abs(np.diff(places))
    usual = int(np.median(steps))
    if usual < 2 or (steps == usual).mean() < _OF_RUNS:  # noqa: PLR2004  (each next one)
        return 1
    return usual


def refuse_two_scales(given: str, stack: FrameStack) -> None:
    """Refuse slices of several scales that do not go on in each other.

    What MONOCHROME1 turns is turned by the range that its file can hold. Where others are
    MONOCHROME2, the two meet if that range is the one that they were turned by; else half of the
    volume would be of another grey, or turned that should not be.

    Raises
    ------
    RefusedSourceError
        If neighbours of two scales differ by far more than the nearest two of one do.
    """
    frames = [frame for frame in stack.frames if frame is not None]
    for trait in MEANINGS:
        values = [dict(frame.traits).get(trait) for frame in frames]
        borders = [place for place in range(1, len(frames)) if values[place - 1] != values[place]]
        for place in borders[:: max(1, len(borders) // _BORDERS)]:
            if not _go_on(frames, values, place):
                kinds = " and ".join(sorted({str(value or "not said") for value in values}))
                problem = f"Its slices differ in {trait} ({kinds}), and their greys do not meet."
                raise RefusedSourceError(given, problem, _ONE_SCALE)


def _go_on(frames: Sequence[Frame], values: Sequence[object], place: int) -> bool:
    """Whether a slice and the one before it, of another scale, are as like as two of one."""
    across = _difference(frames[place - 1], frames[place])
    if across is None:
        return True
    within = []
    for own in (place - 1, place):
        nearest = _nearest_alike(values, own)
        if nearest is not None:
            within.append(_difference(frames[own], frames[nearest]) or 0.0)
    return bool(within) and across <= _AS_UNLIKE * max(within)


def _nearest_alike(values: Sequence[object], own: int) -> int | None:
    """Return which other one nearest to a place has its value, or None."""
    for step in range(1, len(values)):
        for other in (own - step, own + step):
            if 0 <= other < len(values) and values[other] == values[own]:
                return other
    return None


def _difference(one: Frame, other: Frame) -> float | None:
    """Return the mean difference of two slices' greys; None where one cannot be read or compared.

    Of what cannot be read, whoever reads the volume says so.
    """
    try:
        with FrameDecoder() as decode:
            pixels = [each.of_picture(decode(each)) for each in (one, other)]
        greys = [np.asarray(each, np.float64) for each in pixels]
    except Exception:  # noqa: BLE001  (the boundary of a slice: it fails where it is read)
        return None
    if greys[0].shape != greys[1].shape:
        return None
    apart = np.abs(greys[0] - greys[1])
    apart = apart[np.isfinite(apart)]
    if not apart.size:
        return None
    return float(apart.mean())
