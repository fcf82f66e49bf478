"""What must be known of a method's maps of several tiles: the worst beside the typical.

An explanation comes with facts: settings, which are the same for every tile, and what became of the
tile, which is another one each time. A sum of them that kept one tile's would hide the others'.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def _in_words(value: object) -> str:
    if isinstance(value, Spread):
        return f"{value.worst:.4g} at worst, {value.typical:.4g} typically"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
