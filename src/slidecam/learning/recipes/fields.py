"""Tables of a recipe as settings.

Every key is held against its dataclass, and every complaint is collected.

The dataclass is the schema. A field's type says what may stand there, `Bounds` in an ``Annotated``
type how large it may be, and its default what holds where the key is left out.
"""

from __future__ import annotations

import difflib
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar

from slidecam.errors import SlidecamError

Settings = TypeVar("Settings")

_NO = object()
"""What `_taken` gives for a value that does not fit; None is a value."""


@dataclass(frozen=True)
class Bounds:
    """From where to where a number may lie, ends included; the low end excluded with ``above``."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def hold(self, number: float) -> bool:
        """Whether ``number`` lies within."""
        return (
            math.isfinite(number)
            and self.low <= number <= self.high
            and not (self.above and number == self.low)
        )

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'from'} {self.low:g}" if math.isfinite(self.low) else ""
        high = f"to {self.high:g}" if math.isfinite(self.high) else ""
        return " ".join(part for part in (low, high) if part)


@dataclass
class Complaints:
    """Everything that is wrong with a recipe.

    Each line names a key, what stands there and what may.
    """

    lines: list[str] = field(default_factory=list)

    def add(self, key: str, problem: str, remedy: str) -> None:
        """Note one more."""
        self.lines.append(f"{key} {problem}. {remedy}")


def settings_of(
    kind: type[Settings], table: object, where: str, complaints: Complaints
) -> Settings | None:
    """Return a table as a dataclass of ``kind``.

    None, with the complaints added, where it cannot be one.

    Parameters
    ----------
    kind
        A dataclass whose fields are numbers, strings, ``Literal`` choices, tuples, mappings or
        unions of these.
    table
        What the recipe holds under ``where``.
    where
        Name of the table, for messages: ``train``.
    complaints
        Where to note what is wrong.
    """
    if not isinstance(table, Mapping):
        complaints.add(
            where, f"is {shown(table)}, not a table", f"Write [{where}] on a line of its own."
        )
        return None
    before = len(complaints.lines)
    hints = typing.get_type_hints(kind, include_extras=True)
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass, as is written above
    for key in table:
        if key not in known:
            complaints.add(f"{where}.{key}", "is not known", _near(key, list(known)))
    values = {
        name: _value(table[name], hints[name], f"{where}.{name}", complaints)
        for name in known
        if name in table
    }
    missing = [
        n
        for n, f in known.items()
        if n not in table and f.default is MISSING and f.default_factory is MISSING
    ]
    for name in missing:
        complaints.add(f"{where}.{name}", "is missing", f"Write {_wanted(hints[name])}.")
    if len(complaints.lines) > before:
        return None
    try:
        return kind(**values)
    except SlidecamError as error:  # what only several keys together can get wrong
        complaints.add(where, f"contradicts itself: {error.problem.rstrip('.')}", error.remedy)
    return None


def shown(value: object) -> str:
    """Return a value as a recipe would write it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _value(value: object, hint: Any, key: str, complaints: Complaints) -> Any:  # noqa: ANN401  (any field's type)
    taken = _taken(value, hint)
    if taken is _NO:
        complaints.add(key, f"is {shown(value)}", f"Write {_wanted(hint)}.")
    return taken


def _taken(value: object, hint: Any) -> Any:  # noqa: ANN401  (the dataclass's own types)
    """Return ``value`` as ``hint`` wants it, or `_NO`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        taken = _taken(value, args[0])
        numbers = [
            part
            for part in (taken if isinstance(taken, tuple) else (taken,))
            if isinstance(part, int | float)
        ]
        return taken if all(args[1].hold(number) for number in numbers) else _NO
    if origin in {typing.Union, types.UnionType}:
        return next((taken for each in args if (taken := _taken(value, each)) is not _NO), _NO)
    if origin is Literal:
        return value if value in args and isinstance(value, str) else _NO
    if origin is tuple:
        return _tuple_taken(value, args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return value if isinstance(value, Mapping) else _NO
    return _plain_taken(value, hint)


def _plain_taken(value: object, hint: type) -> Any:  # noqa: ANN401  (as above)
    if hint is bool:
        return value if isinstance(value, bool) else _NO
    if isinstance(value, bool):
        return _NO
    if hint is float and isinstance(value, int | float):
        return float(value) if math.isfinite(value) else _NO
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(hint, type) and isinstance(value, hint) else _NO


def _tuple_taken(value: object, args: tuple[Any, ...]) -> Any:  # noqa: ANN401  (as above)
    if not isinstance(value, list | tuple):
        return _NO
    kinds = (args[0],) * len(value) if args[-1] is Ellipsis else args
    if len(kinds) != len(value):
        return _NO
    taken = tuple(_taken(part, kind) for part, kind in zip(value, kinds, strict=True))
    return _NO if any(part is _NO for part in taken) else taken


def _wanted(hint: Any) -> str:  # noqa: ANN401  (as above)
    """Return in words what a field may hold."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return f"{_wanted(args[0])} {args[1]}"
    if origin in {typing.Union, types.UnionType}:
        return ", or ".join(_wanted(each) for each in args if each is not type(None))
    if origin is Literal:
        return f"one of {', '.join(shown(each) for each in args)}"
    if origin is tuple:
        count = "" if args[-1] is Ellipsis else f" of {len(args)}"
        return f"a list{count}, each {_wanted(args[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a table"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}.get(
        hint, str(hint)
    )


def _near(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known are {', '.join(known)}."
