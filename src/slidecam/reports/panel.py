"""``panel.png`` and ``panel.html``: tiles beside their maps, and the curves that test each map.

In the picture, what does not fit beside the tile goes on in further lines. All tiles of a method
share one scale, so that a tile without evidence looks bare beside one that has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image

from slidecam.drawing.pen import Pen, Place, Type, blank_figure, pixels_of
from slidecam.drawing.style import HUES, INK, MUTED
from slidecam.explain.facts import facts_in_words, shown_by
from slidecam.files import replacing
from slidecam.pages import picture_uri, write_page
from slidecam.reports.overlay import heat_scale
from slidecam.reports.panel_rows import method_scales, overlaid, scale_ends
from slidecam.reports.sidebar import DISCLAIMER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from slidecam.reports.panel_rows import PanelMap, PanelRow

EDGE, GAP, MARGIN = 1.9, 0.16, 0.35
"""Inches of a tile's picture, between pictures, and round everything."""

HEADER, CAPTION, TITLE, ENDS, FOOTER = 0.95, 0.19, 0.16, 0.32, 0.75
"""Inches above everything, of a caption's line, above a map, below it, and of the end colours."""

NARROWEST = 6.5
MOST = 6
"""Maps beside a tile; more are wrapped in lines of about equal length, a model's own together."""

CURVE_WIDTH = 4.4
LEGEND: Mapping[str, Any] = MappingProxyType(
    {"frameon": False, "handlelength": 1.2, "labelspacing": 0.3}
)

COLORS = (*HUES, INK)
"""One for each method; where there are more methods, matplotlib's twenty."""


@dataclass(frozen=True, eq=False)
class _Sheet:
    """Where everything of a panel stands; all rows are of one make.

    Attributes
    ----------
    lines
        Which of a row's maps stand in each of its lines.
    captions
        Lines of words above a row.
    heads
        Lines of words above a map: its model's name and its method's.
    curved
        Whether curves stand on the right.
    """

    lines: tuple[range, ...]
    captions: int
    heads: int
    curved: bool

    @property
    def line(self) -> float:
        """Inches of a line of maps."""
        return self.heads * TITLE + EDGE + ENDS

    @property
    def row(self) -> float:
        """Inches of a row."""
        return self.captions * CAPTION + 0.08 + len(self.lines) * self.line

    @property
    def width(self) -> float:
        """Inches of everything."""
        columns = 1 + max(map(len, self.lines))
        return max(
            NARROWEST,
            2 * MARGIN + columns * (EDGE + GAP) - GAP + (CURVE_WIDTH + GAP) * self.curved,
        )

    def place(self, number: int, line: int, column: int) -> Place:
        """Return where a row's picture stands."""
        top = (
            HEADER
            + number * self.row
            + self.captions * CAPTION
            + 0.08
            + line * self.line
            + self.heads * TITLE
        )
        return Place(MARGIN + column * (EDGE + GAP), top, EDGE, EDGE)

    def curves(self, number: int) -> Place:
        """Return where a row's curves stand: as high as two lines, if there are two."""
        first = self.place(number, 0, 1 + max(map(len, self.lines)))
        return Place(first.left, first.top, CURVE_WIDTH, EDGE + (len(self.lines) > 1) * self.line)


def draw_panel(rows: Sequence[PanelRow], scales: Mapping[str, float], title: str) -> Pen:
    """Draw rows, at least one, under the classifier's name.

    Parameters
    ----------
    rows
        Tiles and classes; the same methods in every row.
    scales
        The raw value that is drawn as the last colour, by the maps' names.
    title
        The classifier.
    """
    sheet = _laid(rows)
    height = HEADER + len(rows) * sheet.row + FOOTER
    pen = Pen(sheet.width, height)
    pen.text(MARGIN, 0.45, title, Type(13, weight="bold"), pen.width - 2 * MARGIN)
    pen.text(
        MARGIN,
        0.7,
        "Each method has one scale for all tiles; values are raw.",
        Type(8, MUTED),
        pen.width,
    )
    for number, row in enumerate(rows):
        _draw_row(pen, sheet, row, scales, number)
    _draw_colors(pen, rows[0], height - FOOTER + 0.12)
    pen.text(MARGIN, height - 0.15, DISCLAIMER, Type(8, MUTED))
    return pen


def _laid(rows: Sequence[PanelRow]) -> _Sheet:
    return _Sheet(
        lines=tuple(lines_of([each.model for each in rows[0].maps])),
        captions=max(len(words_above(row)) for row in rows),
        heads=1 + any(each.model for each in rows[0].maps),
        curved=bool(rows[0].curves),
    )


def lines_of(models: Sequence[str]) -> list[range]:
    """Return which maps stand in each line, given whose each map is."""
    if len(models) <= MOST:
        return [range(len(models))]
    lines, first = [], 0
    for _model, own in groupby(models):
        count = len(list(own))
        parts = -(-count // MOST)
        ends = [first + -(-count * part // parts) for part in range(parts + 1)]
        lines += [range(start, end) for start, end in pairwise(ends)]
        first += count
    return lines


def words_above(row: PanelRow) -> tuple[str, ...]:
    """Return what stands above a row.

    One line where there is one model, else the class's and then each model's.
    """
    if len(row.captions) == 1:
        return (f"{row.name}: {row.explained} {row.captions[0]}",)
    return (f"{row.name}: maps for {row.explained}", *row.captions)


def _draw_row(
    pen: Pen, sheet: _Sheet, row: PanelRow, scales: Mapping[str, float], number: int
) -> None:
    first, *others = words_above(row)
    above = HEADER + number * sheet.row + 0.13
    room = pen.width - 2 * MARGIN
    pen.text(MARGIN, above, first, Type(8, INK, "bold"), room)
    for line, words in enumerate(others, 1):
        pen.text(MARGIN, above + line * CAPTION, words, Type(8, INK), room)
    pen.image(sheet.place(number, 0, 0), row.pixels)
    for line, maps in enumerate(sheet.lines):
        for column, index in enumerate(maps, 1):
            _draw_map(pen, sheet.place(number, line, column), row, row.maps[index], scales)
    if row.curves:
        place = sheet.curves(number)
        pen.image(place, curve_picture(row, place.width, place.height))


def _draw_map(
    pen: Pen, place: Place, row: PanelRow, each: PanelMap, scales: Mapping[str, float]
) -> None:
    top = scales[each.name]
    if each.model:
        pen.text(
            place.left,
            place.top - 0.06 - TITLE,
            each.model,
            Type(7.5, INK, "bold"),
            EDGE,
        )
    pen.text(place.left, place.top - 0.06, each.title, Type(7.5, INK), EDGE)
    pen.image(place, overlaid(row.pixels, each, top))
    low, high = scale_ends(each, top)
    middle = place.left + EDGE / 2
    pen.text(middle, place.top + EDGE + 0.12, each.unit, Type(6.5, MUTED, align="center"))
    # The page and the record say it in full.
    notes = "; ".join(note.partition(":")[0] for note in each.notes)
    pen.text(place.left, place.top + EDGE + 0.23, notes, Type(6, INK), EDGE)
    pen.text(place.left, place.top + EDGE + 0.12, low, Type(6.5, MUTED))
    pen.text(place.left + EDGE, place.top + EDGE + 0.12, high, Type(6.5, MUTED, align="right"))


def _draw_colors(pen: Pen, row: PanelRow, top: float) -> None:
    """Draw what the colours mean, once for maps of each kind."""
    meanings = {
        False: "from nothing to the value below the map",
        True: "from against the class (blue) to for it (red)",
    }
    left = MARGIN
    for signed in sorted({each.signed for each in row.maps}):
        pen.image(
            Place(left, top, EDGE, 0.1),
            np.repeat(heat_scale(180, signed=signed), 4, axis=0),
        )
        pen.text(left, top + 0.25, meanings[signed], Type(6.5, MUTED))
        left += pen.measure(meanings[signed], Type(6.5, MUTED)) + 3 * GAP


def curve_picture(row: PanelRow, width: float, height: float) -> NDArray[np.uint8]:
    """Draw a row's curves, ``width`` x ``height`` inches: deletion solid, insertion dashed.

    Last baseline alone.
    """
    figure = blank_figure(width, height, layout="constrained")
    axes = figure.add_subplot()
    _draw_curves(axes, row)
    legend = figure.legend(
        loc="outside right upper", fontsize=_fitting(len(row.maps), height), **LEGEND
    )
    for words in legend.get_texts():
        words.set_parse_math(False)
    return pixels_of(figure)


def _fitting(methods: int, height: float) -> float:
    """Return the points of a legend's words, so that all its lines fit into ``height`` inches."""
    return min(6.0, 72 * height / (1.5 * methods + 1))


def _draw_curves(axes: Axes, row: PanelRow) -> None:
    baseline = row.curves[-1].baseline
    titles = {each.name: each.heading for each in row.maps}
    colors = dict(zip(titles, _line_colors(len(titles)), strict=True))
    for curve in (one for one in row.curves if one.baseline == baseline):
        label = f"{titles[curve.method]}  {curve.deletion_auc:.2f} / {curve.insertion_auc:.2f}"
        axes.plot(
            curve.fractions,
            curve.deletion,
            color=colors[curve.method],
            linewidth=1.1,
            label=label,
        )
        axes.plot(
            curve.fractions,
            curve.insertion,
            color=colors[curve.method],
            linewidth=1.1,
            linestyle="--",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.tick_params(labelsize=6, colors=MUTED)
    axes.set_title(
        f"deletion — / insertion - - ({baseline})",
        fontsize=6.5,
        color=MUTED,
        parse_math=False,
    )


def _line_colors(count: int) -> list[str]:
    if count <= len(COLORS):
        return list(COLORS[:count])
    wheel = colormaps["tab20"]
    return [to_hex(wheel(number % wheel.N)) for number in range(count)]


CURVES = (6.4, 2.8)
"""Inches of the page's curves with their legend."""


def write_panel(
    rows: Sequence[PanelRow],
    folder: Path,
    *,
    title: str,
    left_out: int = 0,
    notes: Sequence[str] = (),
) -> None:
    """Write ``panel.png`` and ``panel.html`` into ``folder``.

    Parameters
    ----------
    rows
        Tiles and classes, at least one.
    folder
        Where to.
    title
        The classifier.
    left_out
        Rows that are not shown.
    notes
        What was chosen of the slide's file, as sentences.
    """
    scales = method_scales(rows)
    with replacing(folder / "panel.png") as fresh:
        draw_panel(rows, scales, title).save(fresh, _said(rows))
    write_page(
        "panel",
        folder / "panel.html",
        title=title,
        left_out=max(0, left_out),
        notes=notes,
        methods=_method_facts(rows),
        rows=[_page_row(row, scales) for row in rows],
    )


def _said(rows: Sequence[PanelRow]) -> list[str]:
    """Return what a panel's file says of its maps: what each shows, its facts, what limits it."""
    said = []
    for each in rows[0].maps:
        shown = shown_by(each.name.rpartition("/")[2], each.facts)
        said.append(f"{shown or each.heading} {facts_in_words(each.facts)}".strip())
    for row in rows:
        for each in row.maps:
            said += [f"{each.heading} of {row.explained}, {row.name}: {one}." for one in each.notes]
    return said


def _method_facts(rows: Sequence[PanelRow]) -> list[dict[str, Any]]:
    found = []
    for each in rows[0].maps:
        shown = shown_by(each.name.rpartition("/")[2], each.facts)
        found.append({"title": each.heading, "facts": facts_in_words(each.facts), "shows": shown})
    return found


def _page_row(row: PanelRow, scales: Mapping[str, float]) -> dict[str, Any]:
    """Return what the page shows of a row."""
    curves = None
    if row.curves:
        curves = picture_uri(Image.fromarray(curve_picture(row, *CURVES)), exact=True)
    return {
        "name": row.name,
        "explained": row.explained,
        "captions": row.captions,
        "tile": picture_uri(Image.fromarray(row.pixels), 448, exact=True),
        "maps": [_page_map(row, each, scales[each.name]) for each in row.maps],
        "curves": curves,
        "areas": [curve.record() for curve in row.curves],
    }


def _page_map(row: PanelRow, each: PanelMap, top: float) -> dict[str, Any]:
    picture = Image.fromarray(overlaid(row.pixels, each, top))
    return {
        "title": each.heading,
        "scale": f"{' … '.join(scale_ends(each, top))} {each.unit}".strip(),
        "notes": "; ".join(each.notes),
        "shows": shown_by(each.name.rpartition("/")[2], each.facts),
        "picture": picture_uri(picture, 448, exact=True),
    }
