"""A cohort as a table: a row for each slide, as spreadsheets leave it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.errors import UsageError
from slidecam.files import refuse_unnameable, table_rows
from slidecam.objects import fetched, is_url, said
from slidecam.sources.spacing import spacing_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slidecam.sources.names import Discovery, FoundSlide

COLUMNS = ("path", "name", "mpp", "mask", "group")
"""What is read of such a table; the path alone is needed."""

PATTERN = frozenset("*?[")
"""What a pattern of names holds, as shells write them."""


@dataclass(frozen=True)
class ListedSlide:
    """One row of a table of slides.

    Attributes
    ----------
    line
        Its number in the table.
    path
        Of the slide, or its URL.
    name
        What its outputs are to be called by; empty for the file's own.
    mpp
        µm per level-0 pixel; None for what the file says.
    mask
        The slide's mask; None where there is none.
    group
        The patient or case that it is of; empty where nobody says.
    """

    line: int
    path: str
    name: str = ""
    mpp: float | None = None
    mask: Path | None = None
    group: str = ""


@dataclass(frozen=True)
class SlideList:
    """The rows of a table, and what of it is not read, as sentences."""

    rows: tuple[ListedSlide, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def names(self) -> Mapping[str, str]:
        """The names that rows give, by path."""
        return {row.path: row.name for row in self.rows if row.name}

    def refuse_missing(self) -> None:
        """Refuse a row whose slide is not there, with `UsageError`; URLs are not asked for."""
        for row in self.rows:
            elsewhere = "://" in row.path or _is_pattern(row.path)
            if not elsewhere and not Path(row.path).exists():
                problem = f"Line {row.line} of the table of slides names a slide that is not there."
                raise UsageError(problem, "Check the path, or delete the line.", row.path)

    def on(self, found: Discovery) -> Discovery:
        """Return what was found with what the rows say of each slide; see `spacings`.

        UsageError where a row that says more than a path is of no single slide.
        """
        known = {slide.path for slide in found.slides}
        rows = {row.path: row for row in self.rows}
        for row in self.rows:
            if row.path not in known and row != ListedSlide(row.line, row.path):
                problem = f"Line {row.line} of the table of slides is of no single slide."
                hint = "Name one slide in each row that says more than a path."
                raise UsageError(problem, hint, row.path)
        slides: list[FoundSlide] = []
        for slide in found.slides:
            own = rows.get(slide.path, ListedSlide(0, slide.path))
            slides.append(replace(slide, mask=own.mask, group=own.group))
        ignored = (*self.ignored, *found.ignored)
        return replace(found, slides=tuple(slides), ignored=ignored)

    def spacings(self, found: Discovery) -> Mapping[str, float]:
        """Return what the rows say of µm per pixel, by the slides' names."""
        known = {row.path: row.mpp for row in self.rows if row.mpp is not None}
        return {each.name: known[each.path] for each in found.slides if each.path in known}


def read_slide_list(table: Path) -> SlideList:
    """Read a table of slides.

    Columns are separated by commas, semicolons or tabs, and numbers have a point or a comma. Paths
    are relative to the table's folder.

    Raises
    ------
    UsageError
        If it cannot be read, has no column ``path`` or no row, or a row names no slide, a mask that
        is not there, or a slide that another row names.
    SpacingError
        If a row's ``mpp`` is no number between 0.05 and 20.
    """
    rows: dict[str, ListedSlide] = {}
    others: dict[str, None] = {}
    try:
        for line, cells in table_rows(table, ("path",)):
            others.update(dict.fromkeys(name for name in cells if name not in COLUMNS))
            row = _row(table, line, cells)
            _refuse_again(row, rows)
            rows[row.path] = row
    except UsageError as error:
        raise UsageError(error.problem, error.remedy, table) from error
    if not rows:
        raise UsageError("The table names no slide.", "Write a row for each.", table)
    ignored: list[str] = []
    if any(others):
        names = ", ".join(filter(None, others))
        ignored.append(f"{said(table)}: columns that are not read: {names}.")
    return SlideList(tuple(rows.values()), tuple(ignored))


def _refuse_again(row: ListedSlide, rows: Mapping[str, ListedSlide]) -> None:
    if row.path in rows:
        problem = f"Line {row.line} names the slide of line {rows[row.path].line} again."
        raise UsageError(problem, "Keep one row for each slide.")


def _row(table: Path, line: int, cells: Mapping[str, str]) -> ListedSlide:
    if not cells["path"]:
        raise UsageError(f"Line {line} names no slide.", "Write its path, or delete the line.")
    mpp = None
    if cells.get("mpp"):
        mpp = spacing_in(table, line, cells["mpp"])
    mask = None
    if cells.get("mask"):
        place = _beside(table, cells["mask"])
        mask = fetched(place) if is_url(place) else Path(place)
        if not mask.exists():
            raise UsageError(f"Line {line} names a mask that is not there: {mask}.", "Check it.")
    name = cells.get("name", "")
    if set(name) & set("/\\") or name in {".", ".."}:
        problem = f"Line {line}: no folder of outputs can be called {name!r}."
        raise UsageError(problem, "Give the slide another name.")
    path = _beside(table, cells["path"])
    return ListedSlide(line, path, name, mpp, mask, cells.get("group", ""))


def _beside(table: Path, text: str) -> str:
    """Return a path or URL of a table, which counts from where the table lies."""
    origin = said(table.absolute())
    if "://" in text:
        return text
    if is_url(origin):
        return f"{origin.rpartition('/')[0]}/{text}".replace("\\", "/")
    path = table.absolute().parent / text
    refuse_unnameable(path)
    if not path.exists() and "\\" in text:
        # As Windows writes it.
        path = table.absolute().parent / text.replace("\\", "/")
    return str(path)


def matching(given: str | Path) -> Iterator[str | Path]:
    """Yield what a pattern matches; another input as it is. UsageError for none."""
    text = str(given)
    if not text:
        problem = "One of the inputs is an empty text."
        raise UsageError(problem, "Is a variable of your shell empty?")
    if not _is_pattern(text):
        yield given
        return
    found = sorted(glob(text, recursive=True))  # noqa: PTH207  (an absolute pattern too)
    if not found:
        raise UsageError(f"Nothing is called {text}.", "Check the pattern.")
    yield from found


def _is_pattern(text: str) -> bool:
    """Whether a text is neither a URL nor a file, and has what a pattern of names holds."""
    return "://" not in text and bool(set(text) & PATTERN) and not Path(text).exists()
