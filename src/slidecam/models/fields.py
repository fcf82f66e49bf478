"""Strict reading of JSON objects.

A value of the right type, or a `CardError` that says how to mend it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from slidecam.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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

    def text(self, key: str, example: str) -> str:
        """Return a string."""
        value = self._value(key, example)
        if not isinstance(value, str):
            raise self._wrong(key, "a string", example)
        return value

    def whole(self, key: str, example: int) -> int:
        """Return a whole number; ``224.0`` counts as one, ``true`` does not."""
        value = self._value(key, example)
        if not is_number(value) or value != int(value):
            raise self._wrong(key, "a whole number", example)
        return int(value)

    def number(self, key: str, example: float) -> float:
        """Return a finite number."""
        value = self._value(key, example)
        if not is_number(value):
            raise self._wrong(key, "a number", example)
        return float(value)

    def array(self, key: str, example: object) -> list[object]:
        """Return a list of anything."""
        value = self._value(key, example)
        if not isinstance(value, list):
            raise self._wrong(key, "a list", example)
        return value

    def texts(self, key: str, example: list[str]) -> tuple[str, ...]:
        """Return a list of strings."""
        texts = tuple(item for item in self.array(key, example) if isinstance(item, str))
        if len(texts) != len(self.array(key, example)):
            raise self._wrong(key, "a list of strings", example)
        return texts

    def three(self, key: str, example: list[float]) -> tuple[float, float, float]:
        """Return three finite numbers, one for each of red, green and blue."""
        numbers = [float(item) for item in self.array(key, example) if is_number(item)]
        if len(self.array(key, example)) != 3 or len(numbers) != 3:  # noqa: PLR2004  (red, green, blue)
            raise self._wrong(key, "three numbers", example)
        return numbers[0], numbers[1], numbers[2]

    def section(self, key: str, example: Mapping[str, object]) -> JsonFields:
        """Return an object inside this one."""
        value = self._value(key, example)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object", example)
        return JsonFields(self.path, value, f"{self.prefix}{key}.")

    def _value(self, key: str, example: object) -> object:
        if key not in self.values:
            raise self.error(key, "is missing", f'Add "{key}", for example {_shown(example)}.')
        return self.values[key]

    def _wrong(self, key: str, wanted: str, example: object) -> CardError:
        problem = f"is {_shown(self.values[key])}, not {wanted}"
        return self.error(key, problem, f"Write {wanted}, for example {_shown(example)}.")


def read_json_object(path: Path) -> JsonFields:
    """Return the JSON object in ``path``; CardError if it cannot be read or is something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CardError(
            path, f"is not readable as JSON: {error}.", "Mend the file, or make it anew."
        ) from error
    if not isinstance(values, dict):
        raise CardError(
            path, f"holds {_shown(values)}, not a JSON object.", "Put its keys between { and }."
        )
    return JsonFields(path, values)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is a finite int or float; bools are not numbers here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: object, longest: int = 80) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
