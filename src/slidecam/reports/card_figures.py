"""The figures that stand on a card: by part of the data, with their intervals and extents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slidecam.learning.evaluation.figures import MEASURED_ON
from slidecam.learning.metrics import CLASS_DEFINITIONS, DEFINITIONS
from slidecam.learning.published import published_of

if TYPE_CHECKING:
    from slidecam.models.card import Card

PARTS = {"val": "validation part", "test": "test part", "train": "training part", "": "all of it"}
"""What a data set's parts are called in words."""

LEADING = ("accuracy", "balanced accuracy", "macro F1", "macro AUC")
"""Figures that are said where there is room for a sentence."""


@dataclass(frozen=True)
class MeasuredFigure:
    """One figure on a card.

    Attributes
    ----------
    name, meaning
        As in an evaluation.
    value
        In three digits; empty where there is none.
    interval
        From where to where, and by which method; empty where there is none.
    note
        What a reader must know beside it.
    published
        What others reported, in three digits.
    """

    name: str
    value: str
    interval: str
    note: str
    meaning: str
    published: str


def figures_of(card: Card) -> dict[str, tuple[MeasuredFigure, ...]]:
    """Return what was measured, by part: a training's figures, or numbers that somebody wrote."""
    measured = card.provenance.get("measured") or {}
    found: dict[str, tuple[MeasuredFigure, ...]] = {}
    if not isinstance(measured, Mapping):
        return found
    published = published_of(card.provenance)
    for part in sorted(measured, key=lambda part: part != "test"):
        figures, lines = measured[part], []
        for name, figure in _items(figures):
            if isinstance(figure, Mapping):
                reported = published.shown(name) if published is not None else ""
                lines.append(_figure(name, figure, reported))
        found[PARTS.get(part, str(part))] = tuple(lines)
    return found


def extents_of(card: Card) -> dict[str, str]:
    """Return of how many pictures, patients or slides a part's figures are, where it is known."""
    found: dict[str, str] = {}
    for part, extent in _items(card.provenance.get(MEASURED_ON)):
        if not isinstance(extent, Mapping) or not isinstance(extent.get("pictures"), int):
            continue
        groups = "patients or slides not known"
        if isinstance(extent.get("groups"), int):
            groups = f"of {extent['groups']:,} patients or slides"
        found[PARTS.get(part, part)] = f"{extent['pictures']:,} pictures, {groups}"
    return found


def _items(table: object) -> list[tuple[str, Any]]:
    if isinstance(table, Mapping):
        return [(str(key), value) for key, value in table.items()]
    return []


def _figure(name: str, figure: Mapping[str, Any], reported: str) -> MeasuredFigure:
    value = interval = ""
    if isinstance(figure.get("value"), int | float):
        value = f"{figure['value']:.3f}"
    ends = figure.get("ci95")
    if isinstance(ends, Sequence) and len(ends) == 2:  # noqa: PLR2004  (from and to)
        interval = f"{ends[0]:.3f} to {ends[1]:.3f} ({figure.get('by', 'method not stated')})"
    meaning = DEFINITIONS.get(name) or CLASS_DEFINITIONS.get(name, "")
    return MeasuredFigure(name, value, interval, str(figure.get("note", "")), meaning, reported)


def measured_in_words(card: Card) -> str:
    """Return the leading figures of the part that comes first, in a sentence; empty without any."""
    extents = extents_of(card)
    for part, lines in figures_of(card).items():
        said = []
        for line in lines:
            if line.name in LEADING and line.value:
                said.append(f"{line.name} {line.value}")
                if line.interval:
                    said[-1] += f" ({line.interval.partition(' (')[0]})"
        if said:
            where = f"{part}, {extents[part]}" if part in extents else part
            return f"{', '.join(said)} on the {where}"
    return ""
