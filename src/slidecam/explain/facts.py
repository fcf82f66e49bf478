"""What must be known of a method's maps: what they show, in which unit, and how much there is.

An explanation comes with facts: settings, which are the same for every tile, and what became of the
tile, which is another one each time. A sum of them that kept one tile's would hide the others'.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slidecam.explain.catalogue import CATALOGUE, title_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slidecam.models.card import Card

ALMOST_NOTHING = 0.01
"""Of probability: a map whose largest value stands for less is said to show almost nothing."""

USUAL, ADDITIVE = "gradcam++", "cam"
"""What is mapped where no method is named: the second too where the head is linear."""

WELL_EXPLAINED = 0.7
"""Share of the variance that a surrogate explains; below it, its map says so."""

STEEPEST = 4.0
"""Logits by which a probability moves at most by 1, at the steepest place of a sigmoid."""

HIGH_IS_WORSE = frozenset({"completeness gap", "passes"})
"""Facts of which the largest is the least favourable; of all others that are numbers it is the
smallest."""


@dataclass(frozen=True)
class Spread:
    """One number of several tiles: the least favourable, and the median."""

    worst: float
    typical: float


def facts_of_tiles(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what holds of all tiles.

    Parameters
    ----------
    facts
        Of each tile, in their order; see `Explanation`.

    Returns
    -------
    dict
        By name: the value itself where all tiles have it; a `Spread` where it is a number that
        differs; else each tile's, as a list.
    """
    names = dict.fromkeys(name for each in facts for name in each)
    return {name: _of_tiles(name, [each.get(name) for each in facts]) for name in names}


def _of_tiles(name: str, values: list[Any]) -> object:
    if all(value == values[0] for value in values):
        return values[0]
    numbers = [value for value in values if value is not None]
    if not all(isinstance(value, int | float) for value in numbers):
        return values
    if name in HIGH_IS_WORSE:
        worst = max(numbers)
    else:
        worst = min(numbers)
    return Spread(worst, statistics.median(numbers))


def facts_record(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of several tiles as JSON values: a spread's worst, and ``typical NAME``."""
    record: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, Spread):
            record[name] = value.worst
            record[f"typical {name}"] = value.typical
        else:
            record[name] = value
    return record


def facts_in_words(facts: Mapping[str, Any]) -> str:
    """Return the facts of several tiles as a line for people."""
    return ", ".join(f"{name}: {_in_words(value)}" for name, value in facts.items())


def unit_of(method: str, facts: Mapping[str, Any] | None = None) -> str:
    """Return the unit of a method's raw values, given the facts of its maps; empty if unknown."""
    if method not in CATALOGUE:
        return ""
    unit = CATALOGUE[method].unit
    if unit != "target":
        return unit
    target = str((facts or {}).get("target", "")).removesuffix("s")
    return {"logit": "logits"}.get(target, target)


def shown_by(method: str, facts: Mapping[str, Any] | None = None) -> str:
    """Return in one sentence what a method's maps show and in which unit; empty if unknown."""
    if method not in CATALOGUE:
        return ""
    entry, unit = CATALOGUE[method], unit_of(method, facts)
    return f"{entry.title} shows {entry.help} ({unit})."


def map_note(method: str, unit: str, peak: float, places: int) -> str:
    """Return why there is little or nothing to see on a map; empty where there is enough.

    Parameters
    ----------
    method, unit
        Its name, and `unit_of` it.
    peak
        The largest raw value, whatever its sign.
    places
        Cells of the map, which values ``per`` something are summed over.
    """
    if not peak:
        return _empty_words(method)
    moved = _probability_moved(unit, peak, places)
    if moved is None or moved >= ALMOST_NOTHING:
        return ""
    return f"almost nothing: at most {100 * moved:.1g} % of probability"


def least_scale(unit: str, places: int) -> float:
    """Return the least raw value that a map's last colour may stand for; 0 for any.

    It is `ALMOST_NOTHING` of probability: what is less is painted faint, and not at full colour.
    """
    moved = _probability_moved(unit, 1.0, places)
    if moved is None:
        return 0.0
    return ALMOST_NOTHING / moved


def tile_notes(method: str, facts: Mapping[str, Any], peak: float, places: int) -> tuple[str, ...]:
    """Return what limits a tile's map: that there is little to see, that a model fits it badly.

    Parameters are `map_note`'s, and the facts of the tile's own map.
    """
    notes = [map_note(method, unit_of(method, facts), peak, places)]
    explained = facts.get("explained variance")
    if isinstance(explained, float) and explained < WELL_EXPLAINED:
        notes.append(f"explains {100 * explained:.0f} % only: its linear model fits badly")
    return tuple(filter(None, notes))


def _empty_words(method: str) -> str:
    if method in CATALOGUE and CATALOGUE[method].signed:
        return "empty: no place has a say"
    return "empty: nothing speaks for it, and what speaks against it is not shown"


def _probability_moved(unit: str, peak: float, places: int) -> float | None:
    """Return how much of probability a raw value can stand for at most; None if it is of none."""
    if unit == "probability":
        return peak
    if unit == "logits":
        return peak / STEEPEST
    if unit.startswith("logits per"):
        return peak * places / STEEPEST
    return None


def usual_methods(card: Card, *, linear: bool) -> tuple[str, ...]:
    """Return the methods that are mapped where none is named, the one that leads first.

    That is the one that was shown to be faithful by what was measured for the card. Where nothing
    was, or none is, it is ``cam`` where the head is linear: what it shows adds up to the logit.
    """
    methods: tuple[str, ...] = (USUAL,)
    if linear:
        methods = (ADDITIVE, USUAL)
    if card.heatmap_evidence is None:
        return methods
    lead = card.heatmap_evidence.lead(methods) or methods[0]
    return (lead, *(name for name in methods if name != lead))


def measured(card: Card, method: str) -> str:
    """Return in one sentence how faithful a method was measured to be; empty where nobody did."""
    if card.heatmap_evidence is None:
        return ""
    return card.heatmap_evidence.said_of([method], title_of)


def said_of_methods(card: Card, methods: Sequence[str]) -> tuple[str, ...]:
    """Return what is said of a classifier's heatmaps: what each shows, and what was measured.

    Parameters
    ----------
    card
        The classifier's.
    methods
        Names, the one that leads first.
    """
    said = [shown_by(name) for name in methods]
    evidence = card.heatmap_evidence
    measured = evidence.said_of(methods, title_of) if evidence is not None else ""
    if measured:
        said.append(measured)
        if evidence is not None and evidence.lead(methods) is None:
            said.append("By that, none of them was shown to be faithful.")
    elif methods:
        said.append(
            f"How faithful its heatmaps are was not measured for {card.name}: slidecam"
            " faithfulness measures it."
        )
    if len(methods) > 1:
        beside = " and ".join(map(title_of, methods[1:]))
        said.append(
            f"{title_of(methods[0])} is shown first, {beside} beside it"
            f" (on volumes by --heatmap {','.join(methods)})."
        )
    return tuple(filter(None, said))


def _in_words(value: object) -> str:
    if isinstance(value, Spread):
        return f"{value.worst:.4g} at worst, {value.typical:.4g} typically"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
