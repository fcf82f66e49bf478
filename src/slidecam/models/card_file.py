"""The JSON file of a card: its object, and everything that is wrong with what it says.

Also what keys get wrong together that are each of their type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slidecam.class_names import TAKEN, broken_name, doubled_name, taken_name
from slidecam.classes import ClassSet
from slidecam.errors import CardError
from slidecam.geometry import COARSEST, FINEST
from slidecam.models.channels import (
    ARGUMENT,
    COLOURS,
    IN_WORDS,
    REMEDY,
    argued_channels,
    channel_problem,
)
from slidecam.parsing import ParseError, json_in
from slidecam.settings import Complaints, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CARD_FILE = "card.json"

SHOWN_LENGTH = 80
"""Characters of a file that holds no object which a message repeats."""


@dataclass
class CardComplaints(Complaints):
    """Everything that is wrong with a card, as one `CardError`.

    Attributes
    ----------
    faults
        Problem and remedy of each line.
    """

    faults: list[tuple[str, str]] = field(default_factory=list)

    def add(self, key: str, problem: str, remedy: str) -> None:
        """Note one more; the key is written as it stands in JSON."""
        super().add(f'"{key}"', problem, remedy)
        self.faults.append((f'"{key}" {problem}.', remedy))

    def check(self, path: Path) -> None:
        """Refuse the card in ``path`` where there is a complaint.

        Raises
        ------
        CardError
            The only one, or a list of them all.
        """
        if len(self.faults) == 1:
            raise CardError(path, *self.faults[0])
        if self.faults:
            listed = "\n".join(f"  - {line}" for line in self.lines)
            of = _called(path)
            problem = f"{len(self.faults)} things are wrong in {of}:\n{listed}\nAll in one file"
            raise CardError(path, problem, "Mend each of them.")


def read_json_object(path: Path) -> dict[str, object]:
    """Return the JSON object in ``path``; CardError if it cannot be read or is something else."""
    try:
        values = json_in(path)
    except (OSError, ParseError) as error:
        problem = f"{_called(path)} is not readable as JSON: {error}."
        raise CardError(path, problem, "Mend the file, or make it anew.") from error
    if not isinstance(values, dict):
        problem = f"{_called(path)} holds {shown(values, SHOWN_LENGTH)}, not a JSON object."
        raise CardError(path, problem, "Put its keys between { and }.")
    return values


def _called(path: Path) -> str:
    """Return what people call a file that says what weights are: not every one is a card."""
    if path.name == CARD_FILE:
        return "the card"
    return path.name


def is_said(text: str) -> bool:
    """Whether a text is more than blanks."""
    return bool(text.strip())


def check_together(
    values: Mapping[str, Any],
    complaints: CardComplaints,
    coarsest: float = COARSEST,
) -> None:
    """Complain of what keys of a card get wrong that are each of their type.

    Parameters
    ----------
    values
        What was read, by its key; keys that are not there, or were wrong, are not looked at.
    complaints
        Where to note what is wrong.
    coarsest
        µm per pixel up to which a spacing is believed.
    """
    _check_channels(values, complaints)
    names = values.get("class_names")
    if names:
        _check_names(names, complaints)
        _check_counts(len(names), values, complaints)
        _check_calling(len(names), values, complaints)
        if values.get("volume") is not None and values.get("activation") is not None:
            values["volume"].check(names, values["activation"], complaints)
    spacing = values.get("spacing_um_px")
    if spacing is not None and not FINEST <= spacing <= coarsest:
        problem = f"is {spacing:g} µm per pixel, which is outside {FINEST:g} to {coarsest:g}"
        remedy = "Write the spacing of the tiles that the network was trained on."
        complaints.add("spacing_um_px", problem, remedy)


def _check_channels(values: Mapping[str, Any], complaints: CardComplaints) -> None:
    channels = values.get("channels")
    if channels is None:
        channels = COLOURS
    argued = argued_channels(values.get("architecture_args") or {})
    for key, count in (("channels", channels), ("architecture_args", argued)):
        problem = channel_problem(count)
        if problem and count is not None:
            complaints.add(key, f"says {problem}", REMEDY)
            return
    if argued not in {None, channels}:
        problem = f"holds {ARGUMENT} = {argued} for {channels} channels ({IN_WORDS[channels]})"
        complaints.add("architecture_args", problem, f'Write "channels": {argued} on the card.')
        return
    for key in ("mean", "std"):
        found = values.get(key)
        if found and len(found) != channels:
            problem = f"is {shown(found)} for channels: {channels} ({IN_WORDS[channels]})"
            complaints.add(key, problem, "Write one number for each channel.")


def _check_names(names: tuple[str, ...], complaints: CardComplaints) -> None:
    if not all(map(is_said, names)):
        problem = f"is {shown(names)}, with an empty name"
        complaints.add("class_names", problem, "Write one name for each logit of the network.")
    broken = broken_name(names)
    if broken is not None:
        problem = f"names {broken!r}, with a line break or a control character"
        complaints.add(
            "class_names",
            problem,
            "Write each name on one line, without characters that turn its direction.",
        )
    taken = taken_name(names)
    if taken is not None:
        complaints.add("class_names", f"names {taken!r}, {TAKEN}", "Name it otherwise.")
    twice = doubled_name(names)
    if twice is not None:
        remedy = "Give every class a name of its own."
        complaints.add("class_names", f"names {twice!r} twice", remedy)


def _check_counts(classes: int, values: Mapping[str, Any], complaints: CardComplaints) -> None:
    kinds = (("class_colors", "colour"), ("thresholds", "number"), ("class_biases", "number"))
    for key, noun in kinds:
        found = values.get(key)
        if found and len(found) != classes:
            problem = f"holds {len(found)} {noun}s for {classes} classes"
            remedy = f"Write one {noun} for each class, or leave the key out."
            complaints.add(key, problem, remedy)


def _check_calling(classes: int, values: Mapping[str, Any], complaints: CardComplaints) -> None:
    activation, thresholds = values.get("activation"), values.get("thresholds")
    if values.get("class_biases") and activation in {"sigmoid", "none"}:
        problem = f"stands beside the activation {activation!r}, whose classes do not add up to 1"
        complaints.add("class_biases", problem, "Leave the key out.")
    if activation == "softmax" and classes == 1:
        problem = 'is "softmax" with one class, whose probability is then always 1'
        complaints.add("activation", problem, 'Write "sigmoid", or name every class.')
    if activation is None or not thresholds:
        return
    # Of so many classes, whatever they are called.
    numbered = ClassSet(tuple(map(str, range(classes))), activation)
    if not numbered.has_thresholds:
        problem = f"stands beside several classes of {activation!r}, whose largest is called"
        complaints.add("thresholds", problem, "Leave the key out.")
    if activation == "sigmoid" and not all(0 < value <= 1 for value in thresholds):
        problem = f"is {list(thresholds)}, and a probability is from 0 to 1"
        complaints.add("thresholds", problem, "Write numbers above 0, and 1 at most.")
