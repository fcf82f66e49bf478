"""How classes are named: compared, listed, and what may not stand in a name."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from slidecam.errors import UsageError
from slidecam.parsing import ParseError, cells_of
from slidecam.settings import names_like

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BREAKING = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of control characters, halves of a pair, and ends of lines."""

_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Unicode's classes of characters that show what follows them in another order."""

_MARKS = frozenset("\u200e\u200f\u061c")
"""Marks of an order (LRM, RLM, ALM): what stands beside them is read from their side."""


NONE_CALLED, UNDECIDED = "none called", "undecided"
"""How tables and legends name tiles of no class, and those of which nobody is sure."""

TAKEN = "as tables name tiles of no class, or of which nobody is sure"

LISTED = 16
"""Classes that a remedy lists, counting the others."""


def normal_name(name: str) -> str:
    """Return a class's name as it is compared and kept: NFC, and otherwise as it stands."""
    return unicodedata.normalize("NFC", name)


def listed_names(text: str) -> tuple[str, ...]:
    """Return the names in ``A,B,C``; one with a comma stands in quotes: ``"a, b",c``.

    As in a row of CSV: a quote inside quotes is doubled.
    """
    if broken_name([text]) is not None:
        raise UsageError(
            f"The class names {text!r} hold a line break or a control character.",
            "Write each name on one line, of printable characters.",
        )
    try:
        _place, row = next(cells_of([text], skip_spaces=True), (0, []))
    except ParseError as error:
        problem = f"The class names are no list: {error}."
        raise UsageError(
            problem, 'Write A,B,C, a name with a comma in quotes: "a, b",c.'
        ) from error
    return tuple(normal_name(name.strip()) for name in row)


def classes_meant(name: str, known: Sequence[str]) -> str:
    """Return the remedy for a name that no class has: those like it, and which there are."""
    listed = ", ".join(known[:LISTED])
    if len(known) > LISTED:
        listed += f" and {len(known) - LISTED} more"
    return f"{names_like(name, known, '')} The classes are: {listed}.".strip()


def doubled_name(names: Iterable[str]) -> str | None:
    """Return a name that stands among ``names`` twice, in whatever spelling; None if none does."""
    seen: set[str] = set()
    for name in map(normal_name, names):
        if name in seen:
            return name
        seen.add(name)
    return None


def taken_name(names: Iterable[str]) -> str | None:
    """Return a name that tables have for tiles of no class; None if none is one."""
    for name in names:
        if normal_name(name).casefold() in {NONE_CALLED, UNDECIDED}:
            return name
    return None


def in_one_line(text: str, kept: str = "") -> str:
    r"""Return a text with control characters and ends of lines as ``\x1b``, but those of ``kept``.

    Whatever a file is called, it moves no cursor of a terminal, breaks no line, and no letter of it
    stands in another's place.
    """

    def shown(letter: str) -> str:
        if letter in kept or unicodedata.category(letter) == "Cs" or not _is_breaking(letter):
            return letter
        return letter.encode("unicode_escape").decode("ascii")

    if text.isprintable():
        return text
    return "".join(map(shown, text))


def broken_name(names: Iterable[str]) -> str | None:
    """Return a name that breaks a line or holds a control character; None if none does.

    A table's row or a legend's line would fall apart at it, or be read in another order.
    """
    for name in names:
        if any(map(_is_breaking, name)):
            return name
    return None


def _is_breaking(letter: str) -> bool:
    if letter in _MARKS or unicodedata.category(letter) in _BREAKING:
        return True
    return unicodedata.bidirectional(letter) in _TURNING
