"""Strict reading of JSON objects.

A value of the right type, or a `CardError` that says how to mend it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from slidecam.errors import CardError
from slidecam.settings import Hint, NotTakenError, shown, taken

if TYPE_CHECKING:
    from pathlib import Path


SHOWN_LENGTH = 80
"""Characters of a wrong value that a message repeats."""


@dataclass(frozen=True)
class JsonFields:
    """One JSON object of a file, read key by key.

    Attributes
    ----------
    path
        The file, for messages.
    values
        The object's keys and values.
    prefix
        Where in the file the object is: ``weights.`` or nothing.

    Every method returns the value under ``key`` or raises `CardError`; ``example`` is shown in its
    remedy.
    """

    path: Path
    values: Mapping[str, object]
    prefix: str = ""

    def error(self, key: str, problem: str, remedy: str) -> CardError:
        """Return the error for ``key``: what is wrong with it and what to write instead."""
        return CardError(self.path, f'"{self.prefix}{key}" {problem}.', remedy)

    def has(self, key: str) -> bool:
        """Whether there is a value under ``key`` that is not null."""
        return self.values.get(key) is not None

    def check_choice(self, key: str, value: str, choices: Iterable[str]) -> None:
        """Refuse a value read from ``key`` that is none of some; CardError, listing them."""
        if value not in choices:
            raise self.error(key, f"is {value!r}", f"Write one of {', '.join(choices)}.")

    def text(self, key: str, example: str) -> str:
        """Return a string."""
        found: str = self._taken(key, str, "a string", example)
        return found

    def whole(self, key: str, example: int) -> int:
        """Return a whole number; ``224.0`` counts as one, ``true`` does not."""
        found: int = self._taken(key, int, "a whole number", example)
        return found

    def number(self, key: str, example: float) -> float:
        """Return a finite number."""
        found: float = self._taken(key, float, "a number", example)
        return found

    def array(self, key: str, example: object) -> list[object]:
        """Return a list of anything."""
        found: list[object] = self._taken(key, list[object], "a list", example)
        return found

    def texts(self, key: str, example: list[str]) -> tuple[str, ...]:
        """Return a list of strings."""
        self.array(key, example)
        found: tuple[str, ...] = self._taken(key, tuple[str, ...], "a list of strings", example)
        return found

    def three(self, key: str, example: list[float]) -> tuple[float, float, float]:
        """Return three finite numbers, one for each of red, green and blue."""
        self.array(key, example)
        found: tuple[float, float, float] = self._taken(
            key, tuple[float, float, float], "three numbers", example
        )
        return found

    def section(self, key: str, example: Mapping[str, object]) -> JsonFields:
        """Return an object inside this one."""
        found = self._taken(key, Mapping[str, object], "an object", example)
        return JsonFields(self.path, found, f"{self.prefix}{key}.")

    def _taken(self, key: str, kind: Hint, words: str, example: object) -> Any:  # noqa: ANN401  (of that kind)
        like = f"for example {shown(example, SHOWN_LENGTH)}."
        if key not in self.values:
            raise self.error(key, "is missing", f'Add "{key}", {like}')
        try:
            return taken(self.values[key], kind)
        except NotTakenError as error:
            problem = f"is {shown(self.values[key], SHOWN_LENGTH)}, not {words}"
            raise self.error(key, problem, f"Write {words}, {like}") from error


def read_json_object(path: Path) -> JsonFields:
    """Return the JSON object in ``path``; CardError if it cannot be read or is something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        problem = f"The card is not readable as JSON: {error}."
        raise CardError(path, problem, "Mend the file, or make it anew.") from error
    if not isinstance(values, dict):
        problem = f"The card holds {shown(values, SHOWN_LENGTH)}, not a JSON object."
        raise CardError(path, problem, "Put its keys between { and }.")
    return JsonFields(path, values)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is a finite int or float; bools are not numbers here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
