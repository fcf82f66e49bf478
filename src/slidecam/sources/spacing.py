"""One policy for µm per pixel.

An explicit value, else the file's own, else an error with the remedy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.errors import SpacingError, UsageError, without_secrets
from slidecam.files import table_rows
from slidecam.geometry import COARSEST, COARSEST_VOXEL, FINEST, FINEST_VOXEL, Spacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slidecam.sources.source import SourceFacts

MICROMETRES = {
    "Å": 1e-4, "angstrom": 1e-4, "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "m": 1e6, "meter": 1e6, "metre": 1e6, "in": 25_400.0, "inch": 25_400.0,
}  # fmt: skip
"""µm in one of each unit, by the names that OME, NGFF and ImageJ write.

OME's own default is the µm.
"""

CONFLICT = 0.05
"""How far an override may lie from the file's value, relative to it, before a note says so."""

_REMEDY = "Pass --mpp X (µm per pixel, for example --mpp 0.25) or a CSV with the columns slide,mpp."


def spacing_of(x: float, y: float) -> Spacing | None:
    """Return what a file says of µm per pixel; None where it is no length."""
    if 0 < x < math.inf and 0 < y < math.inf:
        return Spacing(x, y)
    return None


@dataclass(frozen=True)
class SettledSpacing:
    """The spacing to work with, where it came from, and what the user should hear about it.

    Attributes
    ----------
    spacing
        µm per level-0 pixel.
    origin
        ``"override"`` or the property of the file, e.g. ``"openslide.mpp-x"``.
    warning
        Sentences where an override contradicts the file by more than 5 %, or one of several
        overrides is not used; else None.
    """

    spacing: Spacing
    origin: str
    warning: str | None

    def with_note(self, note: str) -> SettledSpacing:
        """Return it with one more sentence for the user, if there is one."""
        return replace(self, warning=" ".join(filter(None, (self.warning, note))) or None)


def given_spacing(
    names: Sequence[str], mpp: float | None, rows: Mapping[str, float]
) -> tuple[float | None, str]:
    """Return what the user gave for one slide, and a sentence on what of it is not used.

    Parameters
    ----------
    names
        What its row may be called by; the first is the slide's.
    mpp
        µm per pixel of all slides of the call, or None.
    rows
        µm per pixel by slide, which win.

    Raises
    ------
    UsageError
        If two rows are of this slide and say different things.
    """
    found = {name: rows[name] for name in names if name in rows}
    if not found:
        return mpp, ""
    value = next(iter(found.values()))
    if len(set(found.values())) > 1:
        said = ", ".join(f"{name} {each:g}" for name, each in found.items())
        raise UsageError(
            f"Two rows of the spacing table are of one slide and differ: {said} µm/px.",
            "Keep one of them.",
        )
    if mpp is None or mpp == value:
        return value, ""
    name = next(iter(found))
    return value, (
        f"The row {name} of the spacing table, {value:g} µm/px, is used, and --mpp {mpp:g} is not."
    )


def settle_spacing(facts: SourceFacts, override: Spacing | float | None = None) -> SettledSpacing:
    """Decide the spacing of a slide.

    Parameters
    ----------
    facts
        What the file says.
    override
        µm per level-0 pixel that the user gave, or None.

    Raises
    ------
    SpacingError
        If neither says a spacing, or the one that counts lies outside 0.05-20 µm per pixel.
    """
    if override is not None:
        given = override
        if not isinstance(given, Spacing):
            given = Spacing(float(given), float(given))
        if not _believable(given, facts):
            problem = f"The override {_words(given)} is outside {FINEST:g}-{COARSEST:g} µm/px."
            raise SpacingError(facts.path, problem, _REMEDY)
        return SettledSpacing(given, "override", _conflict(facts, given))
    if facts.spacing is None:
        raise SpacingError(facts.path, "The file says nothing of its µm per pixel.", _REMEDY)
    if not _believable(facts.spacing, facts):
        low, high = _range(facts)
        found = f"{_words(facts.spacing)} in {facts.spacing_from}"
        found = f"{found} is outside {low:g}-{high:g} µm/px"
        problem = f"{found}: too far from any slide's to be believed."
        raise SpacingError(facts.path, problem, _REMEDY)
    return SettledSpacing(facts.spacing, facts.spacing_from or "file", None)


def read_spacings(path: str | Path) -> dict[str, float]:
    """Read overrides from a CSV file.

    Columns ``slide`` (file name or stem) and ``mpp`` (µm per pixel).

    Returns
    -------
    dict
        µm per pixel by slide, as the file names them: look up `names_of`.

    Raises
    ------
    SpacingError
        If the file cannot be read, has a column missing, names a slide twice, or holds a value that
        is no number between 0.05 and 20; the message names the line.
    """
    spacings: dict[str, float] = {}
    for line, slide, value in _rows(Path(path)):
        if slide in spacings:
            raise SpacingError(path, f"Line {line} names {slide} again.", "Keep one row per slide.")
        spacings[slide] = spacing_in(path, line, value)
    return spacings


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line number, slide and mpp of each row; a path of a slide stands for its name."""
    remedy = "The first line is slide,mpp and each further line a file name and its µm per pixel."
    try:
        for line, row in table_rows(path, ("slide", "mpp")):
            name = row["slide"].replace("\\", "/").rsplit("/", maxsplit=1)[-1]
            if not name:
                raise SpacingError(path, f"Line {line} names no slide.", remedy)
            yield line, name, row["mpp"]
    except UsageError as error:
        raise SpacingError(path, error.problem, error.remedy) from error


def spacing_in(path: str | Path, line: int, text: str) -> float:
    """Return the µm per pixel in a cell of a table; SpacingError, naming the line."""
    try:
        # A decimal comma, as spreadsheets of most of Europe write it.
        value = float(text.replace(",", ".", 1))
    except ValueError:
        value = math.nan
    if not FINEST <= value <= COARSEST:
        limits = f"{FINEST:g} and {COARSEST:g}"
        problem = f"Line {line} says mpp {text!r}, which is no number between {limits}."
        remedy = "Write µm per pixel with a decimal point, for example 0.25."
        raise SpacingError(path, problem, remedy)
    return value


def _believable(spacing: Spacing, facts: SourceFacts) -> bool:
    low, high = _range(facts)
    return low <= spacing.x <= high and low <= spacing.y <= high


def _range(facts: SourceFacts) -> tuple[float, float]:
    if facts.stack is None:
        return FINEST, COARSEST
    return FINEST_VOXEL, COARSEST_VOXEL


def _conflict(facts: SourceFacts, given: Spacing) -> str | None:
    own = facts.spacing
    if own is None or not _believable(own, facts):
        return None
    if max(abs(given.x / own.x - 1), abs(given.y / own.y - 1)) <= CONFLICT:
        return None
    said = f"{facts.spacing_from} says {_words(own)}"
    return f"{without_secrets(facts.path)}: the override {_words(given)} is used, though {said}."


def _words(spacing: Spacing) -> str:
    return f"{spacing}/px"
