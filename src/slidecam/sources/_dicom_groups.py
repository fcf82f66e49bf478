"""Frames as volumes: what is said of their steps and numbers, and of what differs within them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from slidecam.sources._dicom_traits import (
    ACQUISITION,
    B_VALUE,
    COMPONENT,
    ECHO,
    IMAGE_TYPE,
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
