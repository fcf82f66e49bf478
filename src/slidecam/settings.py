"""Settings from TOML, JSON, ``KEY=VALUE`` and HTTP, all read by one validator.

A dataclass is the schema: a field's type says what may stand there, ``Ge``, ``Le``, ``Gt`` in an
``Annotated`` type how large it may be, ``doc`` in it how that is said where a type's own words do
not, and its default what holds where the key is left out. A field may be another dataclass.
pydantic holds each value against its type, strictly: ``"3"`` is no number, ``true`` is none, and
only a whole float passes for an int. Everything that is wrong is reported at once, in one wording:
the key, what stands there and what may; or the known key that is nearest.
"""

from __future__ import annotations

import difflib
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import DocInfo, Ge, Gt, Le, MaxLen, MinLen
from pydantic import AllowInfNan, BeforeValidator, ConfigDict, Strict, TypeAdapter, ValidationError

from slidecam.errors import SlidecamError, UsageError

Settings = TypeVar("Settings")

Hint = Any
"""A field's type: a class, a ``Literal``, a tuple, a mapping, a union, or one of them annotated."""

SHOWN_LENGTH = 200
"""Characters of a wrong value that a complaint repeats."""

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
LIMITS = {Ge: "from", Gt: "above", Le: "to", MinLen: "of at least", MaxLen: "and at most"}
LIMIT_FIELDS = {Ge: "ge", Gt: "gt", Le: "le", MinLen: "min_length", MaxLen: "max_length"}
UNIONS = {Union, types.UnionType}
ANYTHING = {Any, object}


def _whole(value: object) -> object:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value


STRICT: Mapping[Hint, Hint] = {
    bool: Annotated[bool, Strict()],
    int: Annotated[int, Strict(), BeforeValidator(_whole)],
    float: Annotated[float, Strict(), AllowInfNan(False)],  # noqa: FBT003  (pydantic's own)
    str: Annotated[str, Strict()],
}
"""What pydantic is given for a plain type, so that no text passes for a number."""


class NotTakenError(Exception):
    """A value is not of the type that was wanted; it never leaves this room's callers."""


@dataclass
class Complaints:
    """Everything that is wrong with settings.

    Each line names a key, what stands there and what may.
    """

    lines: list[str] = field(default_factory=list)

    def add(self, key: str, problem: str, remedy: str) -> None:
        """Note one more."""
        self.lines.append(f"{key} {problem}. {remedy}")


def check_all(checks: Iterable[Callable[[], object]]) -> None:
    """Make every check, and raise at once whatever they raise.

    Raises
    ------
    SlidecamError
        The only fault as it is; a UsageError that lists them where there are several.
    """
    faults = []
    for check in checks:
        try:
            check()
        except SlidecamError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise UsageError(f"{len(faults)} settings are wrong:\n{listed}\n", "Mend each of them.")


def read_settings(
    kind: type[Settings], table: object, where: str, complaints: Complaints
) -> Settings | None:
    """Return a table as a dataclass of ``kind``.

    None, with the complaints added, where it cannot be one.

    Parameters
    ----------
    kind
        A dataclass whose fields are numbers, strings, ``Literal`` choices, tuples, mappings, other
        such dataclasses or unions of these.
    table
        What stands under ``where``.
    where
        Name of the table, for messages: ``train``.
    complaints
        Where to note what is wrong.
    """
    before = len(complaints.lines)
    values = read_fields(kind, table, where, complaints)
    if len(complaints.lines) > before:
        return None
    try:
        return kind(**values)
    except SlidecamError as error:  # what only several keys together can get wrong
        complaints.add(where, f"contradicts itself: {error.clause}", error.remedy)
    return None


def read_fields(
    kind: type, table: object, where: str, complaints: Complaints, *, others: bool = False
) -> dict[str, Any]:
    """Return the values of a table that a dataclass's fields may hold.

    Complain of all others and of those that are missing. Parameters are `read_settings`' and
    `read_values`'.
    """
    hints = hints_of(kind)
    values = read_values(hints, table, where, complaints, others=others)
    if isinstance(table, Mapping):
        for name in sorted(required(kind) - table.keys()):
            complaints.add(key_within(where, name), "is missing", f"Write {words_of(hints[name])}.")
    return values


def read_values(
    hints: Mapping[str, Hint],
    table: object,
    where: str,
    complaints: Complaints,
    *,
    others: bool = False,
) -> dict[str, Any]:
    """Return the values of a table that are of their types; complain of all others.

    Parameters
    ----------
    hints
        What may stand under each key.
    table, where, complaints
        As in `read_settings`.
    others
        Whether keys that are not known may stand there, and mean nothing.
    """
    if not isinstance(table, Mapping):
        problem = f"is {shown(table, SHOWN_LENGTH)}, not a table"
        # Only TOML has tables with names; a body of HTTP is one without.
        remedy = "Write an object."
        if where:
            remedy = f"Write [{where}] on a line of its own."
        complaints.add(where or "this", problem, remedy)
        return {}
    values = {}
    for key in table:
        if key not in hints and not others:
            complaints.add(key_within(where, key), "is not known", nearest(key, list(hints)))
    for key, hint in hints.items():
        if key not in table:
            continue
        try:
            values[key] = _read_value(hint, table[key], key_within(where, key), complaints)
        except NotTakenError as error:
            problem = _problem(table[key], error)
            complaints.add(key_within(where, key), problem, f"Write {words_of(hint)}.")
    return values


def _problem(value: object, error: NotTakenError) -> str:
    """Return what is wrong: the value, or one item of a list that is too long to be shown."""
    cause, text = error.__cause__, shown(value)
    if len(text) > SHOWN_LENGTH and isinstance(value, list) and isinstance(cause, ValidationError):
        place = cause.errors()[0]["loc"][:1]
        for number, each in enumerate(value):
            if place == (number,):
                return f"holds {shown(each, SHOWN_LENGTH)} as number {number + 1}"
    return f"is {shown(value, SHOWN_LENGTH)}"


def _read_value(hint: Hint, value: object, where: str, complaints: Complaints) -> Any:  # noqa: ANN401  (of the hint's type)
    """Return a value as its hint wants it; a table inside a table is read by its dataclass."""
    kind = _optional(hint)
    if not is_dataclass(kind):
        return taken(value, hint)
    if isinstance(value, Mapping):
        return read_settings(typing.cast("type[Any]", kind), value, where, complaints)
    if value is None and kind is not hint:
        return None
    raise NotTakenError


def taken(value: object, hint: Hint) -> Any:  # noqa: ANN401  (of the hint's type)
    """Return ``value`` as ``hint`` wants it; NotTakenError if it is of another type or too large.

    Lists become tuples, whole floats ints, and ints floats where those are wanted; nothing else
    changes.
    """
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError as error:
        raise NotTakenError from error


def from_text(
    text: str,
    hint: Hint,
    parsers: Mapping[type, Callable[[str], Any]] | None = None,
) -> Any:  # noqa: ANN401  (of the hint's type)
    """Return what a text of a command line means where ``hint`` is wanted.

    ``none`` stands for None, ``true`` and ``false`` for bools, commas part the items of a tuple.

    Parameters
    ----------
    text, hint
        What was written, and the type that it should be.
    parsers
        How texts become types that only their owner can read.

    Raises
    ------
    NotTakenError
        If the text is nothing of this type.
    """
    found = _optional(hint)
    if found is not hint and text.lower() == "none":
        return None
    parser = (parsers or {}).get(found)
    if parser is not None:
        return parser(text)
    return taken(_plain_value(text.strip(), found), hint)


def _plain_value(text: str, hint: Hint) -> object:
    """Return the plain value that a text stands for; the text itself where it stands for none."""
    origin, arguments = _parts(hint)
    if origin is Annotated:
        return _plain_value(text, arguments[0])
    if origin is tuple:
        parts = [part.strip() for part in text.split(",")]
        return [_plain_value(part, arguments[0]) for part in parts]
    if origin is Literal:
        return {str(choice): choice for choice in arguments}.get(text, text)
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if hint in {int, float}:
        return _number(text, hint)
    return text


def _number(text: str, kind: type[int | float]) -> object:
    try:
        return kind(text)
    except ValueError:
        return text


@cache
def hints_of(kind: type) -> Mapping[str, Hint]:
    """Return the types of a dataclass's fields by name, annotations included.

    They are read once: Python compiles each annotation that is a text every time.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    return types.MappingProxyType({each.name: hints[each.name] for each in fields(kind)})


def words_of(hint: Hint) -> str:
    """Return in words what a field may hold: ``a number from 0 to 1``."""
    if is_dataclass(hint):
        keys = ", ".join(f'"{each.name}": …' for each in fields(hint))
        return f"{{{keys}}}"
    origin, arguments = _parts(hint)
    if origin is Annotated:
        bare, *limits = arguments
        for limit in limits:
            if isinstance(limit, DocInfo):
                return limit.documentation
        return _bare_words(bare, "".join(map(_limit_words, limits)))
    return _bare_words(hint, "")


def _bare_words(hint: Hint, limits: str) -> str:
    origin, arguments = _parts(hint)
    if origin in UNIONS:
        return ", or ".join(words_of(each) for each in arguments if each is not type(None))
    if origin is Literal:
        return f"one of {', '.join(shown(each) for each in arguments)}"
    if origin in {tuple, list}:
        if origin is tuple and arguments[-1] is not Ellipsis:
            limits = f" of {len(arguments)}"
        return f"a list{limits}, each {words_of(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if arguments[-1] in ANYTHING:
            return "a table"
        return f"a table, each value {words_of(arguments[-1])}"
    return WORDS.get(hint, str(hint)) + limits


def _limit_words(limit: object) -> str:
    """Return a limit in words, with a space before it; nothing for what is none."""
    for kind, word in LIMITS.items():
        if isinstance(limit, kind):
            value = getattr(limit, LIMIT_FIELDS[kind])
            return f" {word} {value:g}"
    return ""


def shown(value: object, longest: int | None = None) -> str:
    """Return a value as JSON, cut to so many characters where it is longer."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    if longest is None or len(text) <= longest:
        return text
    return f"{text[: longest - 1]}…"


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: ``1 slide``, ``3 slides``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}s"


def nearest(key: str, known: typing.Sequence[str]) -> str:
    """Return which known keys may have been meant."""
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known are {', '.join(known) or 'none'}."


def names_like(name: str, known: typing.Sequence[str], otherwise: str) -> str:
    """Return a remedy: the known names like ``name``, capitals aside, or ``otherwise``."""
    folded = {each.casefold(): each for each in known}
    if near := difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5):
        return f"Names like it are {', '.join(folded[each] for each in near)}."
    return otherwise


@cache
def strict(hint: Hint) -> Hint:
    """Return ``hint`` as a type that pydantic takes strictly, whatever lies in it."""
    origin, arguments = _parts(hint)
    if origin is None or origin is Literal:
        return STRICT.get(hint, hint)
    if origin is Annotated:
        return Annotated[(strict(arguments[0]), *arguments[1:])]
    parts = tuple(each if each is Ellipsis else strict(each) for each in arguments)
    if origin in UNIONS:
        return Union[parts]  # noqa: UP007  (made of a tuple)
    return origin[parts]


@cache
def _adapter(hint: Hint) -> TypeAdapter[Any]:
    return TypeAdapter(strict(hint), config=ConfigDict(arbitrary_types_allowed=True))


def _parts(hint: Hint) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint), get_args(hint)


def _optional(hint: Hint) -> Hint:
    """Return a type without its None, where it has one beside one other."""
    origin, arguments = _parts(hint)
    if origin not in UNIONS or type(None) not in arguments:
        return hint
    rest = [each for each in arguments if each is not type(None)]
    if len(rest) == 1:
        return rest[0]
    return Union[tuple(rest)]  # noqa: UP007  (made of a tuple)


def required(kind: type) -> set[str]:
    """Return the names of a dataclass's fields that have no default."""
    without = (each for each in fields(kind) if each.default is MISSING)
    return {each.name for each in without if each.default_factory is MISSING}


def key_within(where: str, name: str) -> str:
    """Return where a key stands in a file: ``train.epochs``; the name alone at the top."""
    if where:
        return f"{where}.{name}"
    return name
