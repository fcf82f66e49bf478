"""The column beside the overview's panels.

Counts, classes, the heat's scale, and the facts of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from slidecam.class_names import NONE_CALLED
from slidecam.classes import NONE_COLOR
from slidecam.drawing.heat import blended
from slidecam.drawing.pen import Pen, Place, Type
from slidecam.drawing.style import INK, MUTED, as_hex, percent_words
from slidecam.reports.overlay import PALE, UNREADABLE_COLOR, heat_scale
from slidecam.runs.legend import SHARE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from slidecam.pixels import RGB
    from slidecam.runs.legend import ClassifiedTissue, ClassSummary
    from slidecam.runs.record_parts import RecordedHeatmap
    from slidecam.runs.tiles import TileTable

DISCLAIMER = "Research use only. Not for diagnosis."

WIDTH = 3.3
"""Inches."""

LISTED = 9
"""Classes that are listed one by one; the rest share a line."""

ROW, DETAIL, BLOCK = 0.36, 0.235, 0.3
"""Inches: a class with its bar, a line of facts, and the space between blocks."""

HEAT_HEADING, HEAT_SCALE = 0.21, 0.74
"""Inches: the word above the scales of heat, and one of them."""

OWN_SCALE = "share of the slide's scale"
"""What heat is counted in where nobody fixed its scale."""

HEADING = Type(8.5, MUTED, "bold")
WORDS = Type(9.5)
FIGURES = Type(9.5, INK, align="right")
SMALL = Type(8.5, MUTED)
SMALL_RIGHT = Type(8.5, MUTED, align="right")
TRACK = "#e9ecf0"


@dataclass(frozen=True)
class HeatScale:
    """The colours of one method's heat.

    Attributes
    ----------
    label
        What a value means.
    ticks
        What stands at the left end, in the middle and at the right end.
    signed
        Whether the colours part at the middle.
    color
        A class's, where the colours go from nothing to it; None for those of heat.
    """

    label: str
    ticks: tuple[str, str, str] = ("0", "0.5", "1")
    signed: bool = False
    color: RGB | None = None

    def strip(self, pixels: int = 256) -> NDArray[np.uint8]:
        """Return the colours from the left end to the right one, as on glass: uint8, (1, n, 3)."""
        if self.color is None:
            return heat_scale(pixels, signed=self.signed)
        cover = np.linspace(0, 1, pixels)[:, None]
        colors = np.broadcast_to(np.array(self.color, np.float32), (pixels, 3))
        return np.rint(blended(np.full_like(colors, PALE), colors, cover)).astype(np.uint8)[None]


def recorded_scale(title: str, record: RecordedHeatmap, channel: int, *, signed: bool) -> HeatScale:
    """Return what the colours of a heatmap on disk mean.

    Shares of the slide's scale, or raw values where the scale was fixed.
    """
    limits, words = record.raw_limits(channel), "raw values on a fixed scale"
    if limits is None:
        limits, words = (0.0, 1.0), OWN_SCALE
    low, high = limits
    if signed:
        low = -high
    ticks = f"{low:g}", f"{(low + high) / 2:g}", f"{high:g}"
    return HeatScale(f"{title}, {words}", ticks, signed)


@dataclass(frozen=True)
class SidebarFacts:
    """What the column tells.

    Attributes
    ----------
    details
        Lines of (label, value).
    scales
        What each kind of heat means.
    whole_picture
        Whether there is one tile, the picture: then its probabilities are shown instead of counts
        of tiles.
    """

    details: tuple[tuple[str, str], ...]
    scales: tuple[HeatScale, ...] = ()
    whole_picture: bool = False


@dataclass(frozen=True)
class _Row:
    name: str
    color: RGB | None
    count: int | None
    share: float | None


class Sidebar:
    """The column, laid out before the sheet is cut, so that the sheet can be as high as it needs.

    Parameters
    ----------
    table, division
        The slide's tiles, how they divide among the classes, and what shares are shares of.
    facts
        What else to tell.
    """

    def __init__(
        self,
        table: TileTable,
        division: tuple[tuple[ClassSummary, ...], ClassifiedTissue],
        facts: SidebarFacts,
    ) -> None:
        summary, self._tissue = division
        self._table, self._facts = table, facts
        if facts.whole_picture and table.done.any():
            self._rows = _probability_rows(summary, table.activation)
        else:
            self._rows = [*_class_rows(summary), *_other_rows(table, self._tissue)]

    @property
    def height(self) -> float:
        """Inches that the column takes."""
        heat = 0.0
        if self._facts.scales:
            heat = HEAT_HEADING + HEAT_SCALE * len(self._facts.scales) + BLOCK
        return (
            0.75
            + ROW * max(len(self._rows), 1)
            + BLOCK
            + heat
            + 0.55
            + DETAIL * len(self._facts.details)
        )

    def draw(self, pen: Pen, left: float, top: float) -> None:
        """Draw the column with its top left corner at a place in inches."""
        top = self._draw_counts(pen, left, top)
        for row in self._rows:
            _draw_row(pen, left, top, row)
            top += ROW
        top += BLOCK
        if self._facts.scales:
            pen.text(left, top + 0.1, "HEATMAPS", HEADING)
            top += HEAT_HEADING
            for scale in self._facts.scales:
                top = draw_heat_scale(pen, left, top, scale)
            top += BLOCK
        _draw_details(pen, left, top, self._facts.details)

    def _draw_counts(self, pen: Pen, left: float, top: float) -> float:
        classified = int(self._table.done.sum())
        words, figures = f"{classified:,} tiles classified", SHARE_NAMES[self._tissue.unit]
        if classified == 1:
            words = "1 tile classified"
        if self._facts.whole_picture:
            words, figures = "the whole picture", "probability"
        pen.text(left, top + 0.1, "CLASSES", HEADING)
        pen.text(left, top + 0.36, words, WORDS)
        pen.text(left + WIDTH, top + 0.36, figures, SMALL_RIGHT)
        return top + 0.7


def _probability_rows(summary: tuple[ClassSummary, ...], activation: str) -> list[_Row]:
    """Return the classes of a single picture, with the probability of each.

    Of many, the most probable.
    """
    rows = [_Row(one.name, one.color, None, one.mean_probability) for one in summary]
    if activation == "none":
        rows = [replace(row, share=None) for row in rows]
    if len(rows) <= LISTED:
        return rows
    return sorted(rows, key=lambda row: -(row.share or 0))[:LISTED]


def _class_rows(summary: tuple[ClassSummary, ...]) -> list[_Row]:
    """Return the classes in the classifier's order.

    Of many, the most frequent and a line for the rest.
    """
    rows = [_Row(one.name, one.color, one.count, one.share) for one in summary]
    if len(rows) <= LISTED:
        return rows
    rows.sort(key=lambda row: -(row.count or 0))
    rest = rows[LISTED - 1 :]
    count, share = (
        sum(row.count or 0 for row in rest),
        sum(row.share or 0 for row in rest),
    )
    return [*rows[: LISTED - 1], _Row(f"{len(rest)} other classes", None, count, share)]


def _other_rows(table: TileTable, tissue: ClassifiedTissue) -> Iterator[_Row]:
    failed = int(table.failed.sum())
    counts = table.call_counts
    undecided, several = counts.get("none_called", 0), counts.get("several_called", 0)
    if undecided:
        yield _Row(
            NONE_CALLED.capitalize(), NONE_COLOR, undecided, tissue.share(tissue.none_called)
        )
    if several:
        yield _Row("Called several classes", None, several, tissue.share(tissue.several_called))
    if failed:
        yield _Row("Could not be read", UNREADABLE_COLOR, failed, None)


def _draw_row(pen: Pen, left: float, top: float, row: _Row) -> None:
    color = TRACK
    if row.color:
        color = as_hex(row.color)
    pen.box(Place(left, top - 0.11, 0.14, 0.14), color, 0.02)
    pen.text(left + 0.22, top, row.name, WORDS, WIDTH - 1.35)
    if row.count is not None:
        pen.text(left + WIDTH - 0.5, top, f"{row.count:,}", FIGURES)
    if row.share is not None:
        pen.text(left + WIDTH, top, percent_words(row.share), FIGURES)
    pen.box(Place(left + 0.22, top + 0.07, WIDTH - 0.22, 0.05), TRACK, 0.024)
    if row.count != 0 and row.share is not None:
        pen.box(
            Place(left + 0.22, top + 0.07, max(0.05, (WIDTH - 0.22) * row.share), 0.05),
            color,
            0.024,
        )


def draw_heat_scale(
    pen: Pen, left: float, top: float, scale: HeatScale, width: float = WIDTH
) -> float:
    """Draw the colours of one method's heat with its top left corner at a place in inches.

    Return where it ends.
    """
    low, middle, high = scale.ticks
    pen.text(left, top + 0.15, scale.label, WORDS, width)
    pen.image(Place(left, top + 0.27, width, 0.16), scale.strip())
    pen.text(left, top + 0.61, low, SMALL)
    pen.text(left + width / 2, top + 0.61, middle, Type(8.5, MUTED, align="center"))
    pen.text(left + width, top + 0.61, high, SMALL_RIGHT)
    return top + HEAT_SCALE


def _draw_details(pen: Pen, left: float, top: float, details: tuple[tuple[str, str], ...]) -> None:
    if details:
        pen.text(left, top + 0.1, "RUN", HEADING)
    for index, (label, value) in enumerate(details):
        base = top + 0.36 + index * DETAIL
        pen.text(left, base, label, SMALL)
        pen.text(
            left + WIDTH,
            base,
            value,
            Type(8.5, INK, align="right"),
            WIDTH - 0.15 - pen.measure(label, SMALL),
        )


def draw_foot(pen: Pen, margin: float, said: Sequence[str]) -> None:
    """Draw the first of some sentences, what a picture is not for, and who made it."""
    for sentence in said[:1]:
        pen.text(margin, pen.height - 0.46, sentence, Type(8.5, MUTED), pen.width - 2 * margin)
    pen.text(margin, pen.height - 0.26, DISCLAIMER, Type(8.5, MUTED))
    pen.text(pen.width - margin, pen.height - 0.26, "slidecam", Type(8.5, MUTED, align="right"))
