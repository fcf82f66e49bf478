"""JSON, TOML, CSV, XML, gzip and ZIP as they come from outside: one door each, with bounds.

What is too long, too deep or broken raises `ParseError` and nothing else; whoever asked says in
words of its own which file it was. `slidecam.settings` then holds values against their types.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
import zipfile
import zlib
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MOST_BYTES = 2**28
"""Of a text; annotations of a million cells take about as many."""

MOST_UNPACKED = 2**29
"""Bytes that a packed file may hold."""

DEEPEST = 64
"""How deep values may lie in each other: GeoJSON takes eight, QuPath's projects some more."""

LARGEST = 2**64
"""Whole numbers lie below: there is no count, place or seed beyond, and no array takes one."""

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ALIKE = bytes.maketrans(b"{}", b"[]")
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_LONG_NUMBER = re.compile(rb"[0-9]{20}")


class ParseError(ValueError):
    """A text is not what it should be, in words; it never leaves the callers of this room."""


def bytes_in(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return all bytes of a file; ParseError if there are too many, OSError as the system says."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ParseError(f"it has more than {most >> 20} MB")
    return content


def text_of(content: bytes) -> str:
    """Return a text of UTF-8, without the mark that some programs begin one with; ParseError."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParseError(f"the text is not UTF-8: {error}") from error


def json_of(content: str | bytes) -> Any:  # noqa: ANN401  (whatever JSON holds)
    """Return the values of a JSON text.

    Raises
    ------
    ParseError
        If it is none, or longer, deeper or with larger numbers than anything of use.
    """
    raw = content
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogatepass")
    if len(raw) > MOST_BYTES:
        raise ParseError(f"it has more than {MOST_BYTES >> 20} MB")
    if isinstance(content, bytes):
        content = text_of(content)
    read_int = None
    if _LONG_NUMBER.search(raw):
        read_int = _believable
    try:
        values = json.loads(content, parse_int=read_int)
    except RecursionError as error:
        raise _too_deep() from error
    except ParseError:
        raise
    except ValueError as error:
        raise ParseError(str(error)) from error
    if _is_deep(raw):
        raise _too_deep()
    return values


def whole_number(text: str) -> int | None:
    """Return the number that a text is in plain digits; None if it is none, or of `LARGEST` on.

    Python's own reading refuses 5,000 digits with an error of its own, and `str.isdigit` takes ².
    """
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(LARGEST)):
        return None
    number = int(text)
    return number if number < LARGEST else None


def json_in(path: Path) -> Any:  # noqa: ANN401  (whatever JSON holds)
    """Return the values of a JSON file; ParseError as `json_of`, OSError where it is not read."""
    return json_of(bytes_in(path))


def toml_of(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text; ParseError if it is none, or too deep."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise _too_deep() from error
    # TOMLDecodeError is one; numbers and dates beyond Python's raise others.
    except (ValueError, OverflowError) as error:
        raise ParseError(str(error)) from error


def toml_in(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file; ParseError as `toml_of`, OSError where it is not read."""
    return toml_of(text_of(bytes_in(path)))


def rows_in(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of a table in CSV and its rows by them; a cell that is not there is empty.

    Empty lines are no rows.

    Raises
    ------
    ParseError
        If it is no text, or no table, or a row has more values than there are columns.
    OSError
        If it cannot be read.
    """
    lines = io.StringIO(text_of(bytes_in(path)), newline="")
    columns, *rows = [row for _number, row in cells_of(lines) if row] or [[]]
    return columns, [_by_column(columns, row, number) for number, row in enumerate(rows, 2)]


def cells_of(
    lines: Iterable[str], delimiter: str = ",", *, skip_spaces: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row's last line, from 1, and its cells; ParseError as `rows_in`.

    ``skip_spaces`` leaves out those behind a delimiter.
    """
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=skip_spaces)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise ParseError(str(error)) from error


def _by_column(columns: list[str], row: list[str], number: int) -> dict[str, str]:
    if len(row) > len(columns):
        hint = 'put a value with a comma in quotes, as in "a, b.png"'
        raise ParseError(f"line {number}: there are more values than columns; {hint}")
    padded = [*row, *[""] * len(columns)]
    return dict(zip(columns, padded, strict=False))


def xml_of(content: str | bytes) -> ET.Element:
    """Return the root of an XML text; ParseError if it is broken or too long, or would expand.

    Nothing that it names is fetched.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")
    if len(content) > MOST_BYTES:
        raise ParseError(f"it has more than {MOST_BYTES >> 20} MB")
    try:
        return ET.fromstring(content)  # noqa: S314  (expat fetches nothing and stops what expands)
    except (ET.ParseError, ValueError, LookupError, RecursionError) as error:
        raise ParseError(str(error)) from error


def unpacked(content: bytes, most: int = MOST_UNPACKED) -> bytes:
    """Return what gzip packed, all members of it.

    Raises
    ------
    ParseError
        If it is damaged, cut off, or holds more than ``most`` bytes.
    """
    parts: list[bytes] = []
    left, room = content, most + 1
    try:
        while left.strip(b"\0"):
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            parts.append(member.decompress(left, room))
            room -= len(parts[-1])
            if room <= 0:
                raise ParseError(f"it unpacks to more than {most >> 20} MB")
            if not member.eof:
                raise ParseError("it is cut off")
            left = member.unused_data
    except zlib.error as error:
        raise ParseError(str(error)) from error
    return b"".join(parts)


def only_member(content: bytes, most: int = MOST_UNPACKED) -> bytes:
    """Return the one file that a ZIP archive holds, as QuPath's export packs it.

    Raises
    ------
    ParseError
        If it is damaged, locked, holds no file or several, or more than ``most`` bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [member.filename for member in archive.infolist() if not member.is_dir()]
            if len(names) != 1:
                raise ParseError(f"the ZIP archive holds {len(names)} files, and one is read")
            with archive.open(names[0]) as member:
                found = member.read(most + 1)
    # What is locked is a RuntimeError, what is packed in another way NotImplementedError.
    except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, zlib.error) as error:
        raise ParseError(f"the ZIP archive cannot be read: {error}") from error
    if len(found) > most:
        raise ParseError(f"it unpacks to more than {most >> 20} MB")
    return found


def _believable(digits: str) -> int:
    # Digits are counted first: Python reads no more than 4,300 of them, and those slowly.
    if len(digits.lstrip("-0")) > len(str(LARGEST)) or abs(int(digits)) >= LARGEST:
        raise ParseError(f"the number {digits[:24]}… is too large")
    return int(digits)


def _is_deep(raw: bytes) -> bool:
    """Whether brackets lie deeper in each other than `DEEPEST`, in a text that was read.

    Innermost pairs are taken away, all at once, as often as they may lie in each other: what is
    left then is deeper, or stands in a string.
    """
    return _has_deeper(raw) and _has_deeper(_STRINGS.sub(b"", raw))


def _has_deeper(raw: bytes) -> bool:
    brackets = raw.translate(_ALIKE, _NOT_BRACKETS)
    for _depth in range(DEEPEST):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _too_deep() -> ParseError:
    return ParseError(f"its values lie more than {DEEPEST} deep in each other")
