"""The column beside the overview's panels: counts, classes, the heat's scale, and the facts of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slidecam.exchange.overlay import NO_WINNER_COLOR, UNREADABLE_COLOR, heat_scale
from slidecam.exchange.pen import INK, MUTED, Pen, Place, Type, as_hex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slidecam.exchange.summary import ClassSummary
    from slidecam.exchange.tiles import TileTable
    from slidecam.sources.source import RGB

WIDTH = 3.3
"""Inches."""

LISTED = 9
"""Classes that are told one by one; the rest share a line."""

ROW, DETAIL, BLOCK = 0.36, 0.235, 0.3
"""Inches: a class with its bar, a line of facts, and the space between blocks."""

HEADING = Type(8.5, MUTED, "bold")
WORDS = Type(9.5)
FIGURES = Type(9.5, INK, align="right")
SMALL = Type(8.5, MUTED)
SMALL_RIGHT = Type(8.5, MUTED, align="right")
TRACK = "#e9ecf0"


@dataclass(frozen=True)
class SidebarFacts:
    """What the column tells: lines of (label, value), and the heat's label or nothing."""

    details: tuple[tuple[str, str], ...]
    heat_label: str


@dataclass(frozen=True)
class _Row:
    name: str
    color: RGB | None
    count: int
    share: float | None


class Sidebar:
    """The column, laid out before the sheet is cut, so that the sheet can be as high as it needs.

    Parameters
    ----------
    table, summary
        The slide's tiles and how they divide among the classes.
    facts
        What else to tell.
    """

    def __init__(self, table: TileTable, summary: tuple[ClassSummary, ...], facts: SidebarFacts) -> None:
        self._table, self._facts = table, facts
        self._rows = [*_class_rows(summary), *_other_rows(table, summary)]

    @property
    def height(self) -> float:
        """Inches that the column takes."""
        heat = 0.95 + BLOCK if self._facts.heat_label else 0
        return 0.75 + ROW * max(len(self._rows), 1) + BLOCK + heat + 0.55 + DETAIL * len(self._facts.details)

    def draw(self, pen: Pen, left: float, top: float) -> None:
        """Draw the column with its top left corner at a place in inches."""
        top = self._draw_counts(pen, left, top)
        for row in self._rows:
            _draw_row(pen, left, top, row)
            top += ROW
        top += BLOCK
        if self._facts.heat_label:
            top = _draw_heat_scale(pen, left, top, self._facts.heat_label) + BLOCK
        _draw_details(pen, left, top, self._facts.details)

    def _draw_counts(self, pen: Pen, left: float, top: float) -> float:
        classified = int(self._table.done.sum())
        words = f"{classified:,} {'tile' if classified == 1 else 'tiles'} classified"
        pen.text(left, top + 0.1, "CLASSES", HEADING)
        pen.text(left, top + 0.36, words, WORDS)
        pen.text(left + WIDTH, top + 0.36, "share of tiles", SMALL_RIGHT)
        return top + 0.7


def _class_rows(summary: tuple[ClassSummary, ...]) -> list[_Row]:
    """Return the classes in the classifier's order; of many, the most frequent and a line for the rest."""
    rows = [_Row(one.name, one.color, one.count, one.share) for one in summary]
    if len(rows) <= LISTED:
        return rows
    rows.sort(key=lambda row: -row.count)
    rest = rows[LISTED - 1 :]
    count, share = sum(row.count for row in rest), sum(row.share or 0 for row in rest)
    return [*rows[: LISTED - 1], _Row(f"{len(rest)} other classes", None, count, share)]


def _other_rows(table: TileTable, summary: tuple[ClassSummary, ...]) -> Iterator[_Row]:
    classified, failed = int(table.done.sum()), int(table.failed.sum())
    undecided = classified - sum(one.count for one in summary)
    if undecided:
        yield _Row("No class", NO_WINNER_COLOR, undecided, undecided / classified)
    if failed:
        yield _Row("Could not be read", UNREADABLE_COLOR, failed, None)


def _draw_row(pen: Pen, left: float, top: float, row: _Row) -> None:
    color = as_hex(row.color) if row.color else TRACK
    pen.box(Place(left, top - 0.11, 0.14, 0.14), color, 0.02)
    pen.text(left + 0.22, top, row.name, WORDS, WIDTH - 1.35)
    pen.text(left + WIDTH - 0.5, top, f"{row.count:,}", FIGURES)
    pen.text(left + WIDTH, top, "" if row.share is None else _percent(row.share), FIGURES)
    pen.box(Place(left + 0.22, top + 0.07, WIDTH - 0.22, 0.05), TRACK, 0.024)
    if row.count and row.share is not None:
        pen.box(Place(left + 0.22, top + 0.07, max(0.05, (WIDTH - 0.22) * row.share), 0.05), color, 0.024)


def _percent(share: float) -> str:
    percent = 100 * share
    if 0 < percent < 1:
        return "<1 %"
    return f"{percent:.0f} %"


def _draw_heat_scale(pen: Pen, left: float, top: float, label: str) -> float:
    pen.text(left, top + 0.1, "HEATMAPS", HEADING)
    pen.text(left, top + 0.36, label, WORDS, WIDTH)
    pen.image(Place(left, top + 0.48, WIDTH, 0.16), heat_scale(256))
    pen.text(left, top + 0.82, "0", SMALL)
    pen.text(left + WIDTH / 2, top + 0.82, "0.5", Type(8.5, MUTED, align="center"))
    pen.text(left + WIDTH, top + 0.82, "1", SMALL_RIGHT)
    return top + 0.9


def _draw_details(pen: Pen, left: float, top: float, details: tuple[tuple[str, str], ...]) -> None:
    if details:
        pen.text(left, top + 0.1, "RUN", HEADING)
    for index, (label, value) in enumerate(details):
        base = top + 0.36 + index * DETAIL
        pen.text(left, base, label, SMALL)
        pen.text(left + WIDTH, base, value, Type(8.5, INK, align="right"), WIDTH - 0.15 - pen.measure(label, SMALL))
