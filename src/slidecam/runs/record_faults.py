"""What may stand in ``run.json``: a rule for each key that is read, and all faults at once.

People open the file and harm it; what they wrote by hand is not taken for what a run found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, get_args

from slidecam.classes import Activation
from slidecam.geometry import AXES

if TYPE_CHECKING:
    from collections.abc import Iterator

Test = Callable[[Any], bool]

FINISHED = ("done", "partly", "skipped")
"""Status of a slide whose outputs are all written."""

STATUS = ("running", "failed", *FINISHED)

SHOWN = 60
"""Letters of a wrong value that are shown."""


@dataclass(frozen=True)
class _Rule:
    """What the value of a key is: in words, and whether one is so; ``a.b`` is a key in a table."""

    key: str
    expected: str
    holds: Test
    needed: bool = False


def faults_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all that is wrong with a record of the present version, as clauses; most are sound."""
    found: dict[str, str] = {}
    for rule in RULES:
        *parents, last = rule.key.split(".")
        table: Any = data
        for parent in parents:
            table = _within(table, parent)
        # A table that is missing or none has a rule of its own.
        if not isinstance(table, Mapping):
            continue
        if last not in table:
            if rule.needed:
                found[rule.key] = f"{rule.key} is missing"
        elif not rule.holds(table[last]):
            value = json.dumps(table[last], ensure_ascii=False)[:SHOWN]
            found[rule.key] = f"{rule.key} is {value}, not {rule.expected}"
    for place in _without_end(data, ""):
        if not place.startswith(tuple(found)):
            found[place] = f"{place} is not a finite number"
    return tuple(found.values())


def _within(table: object, key: str) -> object:
    if isinstance(table, Mapping):
        return table.get(key)
    return None


def _without_end(value: object, place: str) -> Iterator[str]:
    """Yield the places of all numbers that are none or infinite: JSON has no such."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _without_end(each, f"{place}.{key}".lstrip("."))
    if isinstance(value, list):
        for each in value:
            yield from _without_end(each, place)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def _is_above_zero(value: object) -> bool:
    return _is_number(value) and value > 0


def _is_size(value: object) -> bool:
    return _is_whole(value) and value > 0


def _is_count(value: object) -> bool:
    return _is_whole(value) and value >= 0


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _one_of(*known: str) -> Test:
    return lambda value: isinstance(value, str) and value in known


def _or_null(holds: Test) -> Test:
    return lambda value: value is None or holds(value)


def _listed(holds: Test, count: int | None = None) -> Test:
    """Return the test of a list, of ``count`` values if that is said, all of which are so."""

    def of_list(value: object) -> bool:
        if not isinstance(value, list) or count not in {None, len(value)}:
            return False
        return all(map(holds, value))

    return of_list


def _tabled(holds: Test) -> Test:
    return lambda value: isinstance(value, Mapping) and all(map(holds, value.values()))


def _is_heatmap(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("file"), str)


TEXT, TEXT_OR_NULL, TABLE = "a text", "a text or null", "a table"
SIZE = "two whole numbers above 0"

RULES = (
    _Rule("status", f"one of {', '.join(STATUS)}", _one_of(*STATUS)),
    _Rule("started", TEXT, _is_text),
    _Rule("resumed", "a whole number", _is_count),
    _Rule("made_in", TEXT_OR_NULL, _or_null(_is_text)),
    _Rule("input", TABLE, _is_table, needed=True),
    _Rule("input.path", TEXT, _is_text, needed=True),
    _Rule("input.fingerprint", TEXT_OR_NULL, _or_null(_is_text)),
    _Rule("input.reader", TEXT_OR_NULL, _or_null(_is_text)),
    _Rule("input.format", TEXT, _is_text),
    _Rule("input.size_px", SIZE, _or_null(_listed(_is_size, 2)), needed=True),
    _Rule(
        "input.bounds_px",
        "four whole numbers",
        _or_null(_listed(_is_whole, 4)),
        needed=True,
    ),
    _Rule("input.axis", f"one of {', '.join(AXES)}", _one_of(*AXES)),
    _Rule("input.planes", "a whole number", _or_null(_is_count)),
    _Rule("input.voxels", "whole numbers above 0", _listed(_is_size)),
    _Rule("input.spacing_mm", "numbers above 0", _listed(_is_above_zero)),
    _Rule("input.affine_ras_mm", "rows of numbers", _listed(_listed(_is_number))),
    _Rule("spacing", TABLE, _or_null(_is_table)),
    _Rule("spacing.um_px", "two numbers above 0", _listed(_is_above_zero, 2), needed=True),
    _Rule("spacing.from", TEXT, _is_text, needed=True),
    _Rule("foreground", TABLE, _or_null(_is_table)),
    _Rule("foreground.from", TEXT, _is_text, needed=True),
    _Rule("foreground.share", "a number from 0 to 1", _is_share, needed=True),
    _Rule("bundle", TABLE, _is_table, needed=True),
    _Rule("bundle.name", TEXT, _is_text, needed=True),
    _Rule("bundle.path", TEXT, _is_text),
    _Rule("bundle.digest", TEXT_OR_NULL, _or_null(_is_text)),
    _Rule("bundle.class_names", "a list of texts", _listed(_is_text), needed=True),
    _Rule("bundle.class_colors", "a list of [r, g, b]", _listed(_listed(_is_count, 3))),
    _Rule(
        "bundle.activation",
        f"one of {', '.join(get_args(Activation))}",
        _one_of(*get_args(Activation)),
    ),
    _Rule("bundle.thresholds", "a list of numbers", _or_null(_listed(_is_number))),
    _Rule("bundle.temperature", "a number above 0", _is_above_zero),
    _Rule("qupath", TABLE, _or_null(_is_table), needed=True),
    _Rule("qupath.corner_px", "two whole numbers", _listed(_is_whole, 2), needed=True),
    _Rule("qupath.size_px", SIZE, _or_null(_listed(_is_size, 2)), needed=True),
    _Rule("plan", TABLE, _is_table, needed=True),
    _Rule("painting", TABLE, _or_null(_is_table)),
    _Rule("ngff", TEXT, _is_text),
    _Rule("device", TEXT, _is_text),
    _Rule("machine", TABLE, _is_table),
    _Rule("versions", TABLE, _is_table),
    _Rule("finished", TEXT, _is_text),
    _Rule("reason", TEXT, _is_text),
    _Rule("remedy", TEXT, _is_text),
    _Rule("traceback", "a list of texts", _listed(_is_text)),
    _Rule("tiles", "a table of counts", _tabled(_is_count)),
    _Rule("classes", "a list of tables", _listed(_is_table)),
    _Rule("failures", "a list of tables", _listed(_is_table)),
    _Rule("heatmaps", "a list of tables, each with its file", _listed(_is_heatmap)),
    _Rule("seconds", "a table of numbers", _tabled(_is_number)),
    _Rule("volume", TABLE, _or_null(_is_table)),
    _Rule("volume.called", TEXT_OR_NULL, _or_null(_is_text), needed=True),
)
"""Of every key that `RunRecord` reads; keys that it does not know are left alone."""
