"""What may stand in ``run.json``: the type of each key that is read, and all faults at once.

People open the file and harm it; what they wrote by hand is not taken for what a run found. Values
are held against their types, and these put into words, as settings are (see `slidecam.settings`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt, Le

from slidecam.classes import Activation
from slidecam.geometry import Axis
from slidecam.settings import Hint, NotTakenError, key_within, shown, taken, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Finished = Literal["done", "partly", "skipped"]

FINISHED = get_args(Finished)
"""Status of a slide whose outputs are all written."""

Status = Literal["running", "failed", Finished]

SHOWN_LENGTH = 60
"""Characters of a wrong value that a clause repeats: several of them stand in one sentence."""

Count = Annotated[int, Ge(0)]
Edge = Annotated[int, Gt(0)]
Length = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]
Table = Mapping[str, object]


@dataclass(frozen=True)
class _Rule:
    """The type of a key's value; ``a.b`` is a key in a table, or in each table of a list."""

    key: str
    kind: Hint
    needed: bool = False


def faults_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all that is wrong with a record of the present version, as clauses; most are sound."""
    return _broken(RULES, data)


def faults_of_store(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all that is wrong with what ``run.zarr`` says of itself, as clauses."""
    return _broken(STORE_RULES, attributes)


def _broken(rules: Sequence[_Rule], data: Mapping[str, Any]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for rule in rules:
        *parents, name = rule.key.split(".")
        for where, table in _tables(data, parents):
            place = key_within(where, name)
            if not _lies_in(place, found):
                found |= _fault(rule, place, table, name)
    for place in _endless(data):
        if not _lies_in(place, found):
            found[place] = f"{place} is not a finite number"
    return tuple(found.values())


def _fault(rule: _Rule, place: str, table: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return what is wrong with a key of a table, by its place; empty where nothing is."""
    if name not in table:
        if rule.needed:
            return {place: f"{place} is missing"}
        return {}
    try:
        taken(table[name], rule.kind)
    except NotTakenError:
        value = shown(table[name], SHOWN_LENGTH)
        return {place: f"{place} is {value}, not {words_of(rule.kind)}"}
    return {}


def _tables(
    value: object,
    parents: Sequence[str],
    where: str = "",
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the tables that lie under these keys, each with its place.

    What is missing or no table has a rule of its own.
    """
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from _tables(each, parents, key_within(where, str(number)))
    elif isinstance(value, Mapping) and parents:
        yield from _tables(value.get(parents[0]), parents[1:], key_within(where, parents[0]))
    elif isinstance(value, Mapping):
        yield where, value


def _endless(value: object, place: str = "") -> Iterator[str]:
    """Yield the places of all numbers that are none or infinite: JSON has no such."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _endless(each, key_within(place, key))
    if isinstance(value, list):
        for each in value:
            yield from _endless(each, place)


def _lies_in(place: str, places: Iterable[str]) -> bool:
    """Return whether a place is one of others, or within one."""
    return any(f"{place}.".startswith(f"{each}.") for each in places)


RULES = (
    _Rule("status", Status),
    _Rule("started", str),
    _Rule("resumed", Count),
    _Rule("made_in", str | None),
    _Rule("input", Table, needed=True),
    _Rule("input.path", str, needed=True),
    _Rule("input.fingerprint", str | None),
    _Rule("input.reader", str | None),
    _Rule("input.format", str),
    _Rule("input.group", str),
    _Rule("input.size_px", tuple[Edge, Edge] | None, needed=True),
    _Rule("input.bounds_px", tuple[int, int, int, int] | None, needed=True),
    _Rule("input.axis", Axis),
    _Rule("input.planes", Count | None),
    _Rule("input.voxels", tuple[Edge, ...]),
    _Rule("input.readings", tuple[str, ...]),
    _Rule("input.spacing_mm", tuple[Length, ...]),
    _Rule("input.affine_ras_mm", tuple[tuple[float, ...], ...]),
    _Rule("spacing", Table | None),
    _Rule("spacing.um_px", tuple[Length, Length], needed=True),
    _Rule("spacing.from", str, needed=True),
    _Rule("foreground", Table | None),
    _Rule("foreground.from", str, needed=True),
    _Rule("foreground.share", Share, needed=True),
    _Rule("bundle", Table, needed=True),
    _Rule("bundle.name", str, needed=True),
    _Rule("bundle.path", str),
    _Rule("bundle.digest", str | None),
    _Rule("bundle.class_names", tuple[str, ...], needed=True),
    _Rule("bundle.class_colors", tuple[tuple[Count, Count, Count], ...]),
    _Rule("bundle.activation", Activation),
    _Rule("bundle.thresholds", tuple[float, ...] | None),
    _Rule("bundle.temperature", Length),
    _Rule("bundle.class_biases", tuple[float, ...] | None),
    _Rule("bundle.calibrated_on", Count),
    _Rule("qupath", Table | None, needed=True),
    _Rule("qupath.corner_px", tuple[int, int], needed=True),
    _Rule("qupath.size_px", tuple[Edge, Edge] | None, needed=True),
    _Rule("plan", Table, needed=True),
    _Rule("painting", Table | None),
    _Rule("ngff", str),
    _Rule("device", str),
    _Rule("machine", Table),
    _Rule("versions", Table),
    _Rule("finished", str),
    _Rule("reason", str),
    _Rule("remedy", str),
    _Rule("traceback", tuple[str, ...]),
    _Rule("tiles", Mapping[str, Count]),
    _Rule("tissue", Table),
    _Rule("classes", tuple[Table, ...]),
    _Rule("failures", tuple[Table, ...]),
    _Rule("heatmaps", tuple[Table, ...]),
    _Rule("heatmaps.file", str, needed=True),
    _Rule("seconds", Mapping[str, float]),
    _Rule("written", tuple[Table, ...]),
    _Rule("written.file", str, needed=True),
    _Rule("written.bytes", Count, needed=True),
    _Rule("written.sha256", str, needed=True),
    _Rule("volume", Table | None),
    _Rule("volume.called", str | None, needed=True),
)
"""Of every key that `RunRecord` reads; keys that it does not know are left alone."""

STORE_RULES = (
    _Rule("step", Edge, needed=True),
    _Rule("row step", Edge),
    _Rule("spoiled", str),
    _Rule("tissue found", Mapping[str, str]),
    _Rule("classes", Table),
    _Rule("classes.class_names", tuple[str, ...], needed=True),
    _Rule("classes.class_colors", tuple[tuple[Count, Count, Count], ...] | None),
    _Rule("classes.activation", Activation, needed=True),
    _Rule("classes.thresholds", tuple[float, ...] | None),
    _Rule("classes.temperature", Length),
    _Rule("classes.class_biases", tuple[float, ...] | None),
    _Rule("classes.calibrated_on", Count),
    _Rule("digest", Table, needed=True),
    _Rule("digest.slide", str | None),
    _Rule("digest.model", str | None),
    _Rule("digest.reader", str | None),
    _Rule("digest.µm/px", tuple[Length, Length] | None),
    _Rule("digest.heatmap", tuple[str, ...] | None),
    _Rule("digest.heatmap classes", tuple[str, ...] | None),
)
"""Of what ``run.zarr`` says of itself beside its arrays (see `slidecam.store.layout`)."""
