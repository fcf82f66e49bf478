"""A slide's pictures with words round them: ``overview.png``, and the figure of a part of it.

Slide, classes and heatmaps side by side, with what one needs to judge them: title, scale bar,
legend and facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slidecam.drawing.pen import Pen, Place, Type, shrunk
from slidecam.drawing.style import INK, MUTED, as_hex
from slidecam.files import replacing
from slidecam.reports.overlay import class_map, colored, faded, heated, resampled
from slidecam.reports.sidebar import (
    HEADING,
    SMALL_RIGHT,
    HeatScale,
    Sidebar,
    SidebarFacts,
    draw_foot,
    draw_heat_scale,
)
from slidecam.reports.sidebar import WIDTH as SIDEBAR
from slidecam.runs.legend import classified_tissue, summarise_classes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.geometry import Size, Spacing
    from slidecam.pixels import RGB
    from slidecam.runs.legend import ClassSummary, OwnParts
    from slidecam.runs.tiles import TileTable

NO_TISSUE = "No tissue found"

HEAT_PANELS = 4
"""Classes whose heat is drawn; the OME-Zarr has all."""

MARGIN, HEADER, FOOTER = 0.45, 1.15, 0.55
"""Inches round everything, above and below the panels."""

TITLE, SCALE, GAP = 0.34, 0.42, 0.3
"""Inches above a panel for its title, below a row for the scale bar, and between columns."""

GRID_WIDTH, GRID_HEIGHT = 13.0, 8.4
"""Inches that the panels may take together."""

NARROWEST, LOWEST = 2.1, 0.15
"""Inches of the room of a panel, so that its title fits, and of the height of a very wide slide."""

BAR_SHARE = 0.3
"""The scale bar is at most this share of the slide's width, or an inch."""


@dataclass(frozen=True)
class OverviewFacts:
    """What stands beside the panels.

    Attributes
    ----------
    slide, model, method, date
        As they are to be read; ``method`` is empty where there are no heatmaps.
    size, spacing
        Level-0 size of the slide, and its µm per level-0 pixel: for the scale bar.
    details, said
        Further lines of (label, value); and sentences on the heatmaps: one stands below, and all
        are in the file.
    whole_picture
        Whether the one tile is the whole picture.
    """

    slide: str
    model: str
    method: str
    date: str
    size: Size
    spacing: Spacing | None
    details: tuple[tuple[str, str], ...] = ()
    whole_picture: bool = False
    said: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class OverviewHeat:
    """One level of a method's heatmap whose corner is the slide's.

    Attributes
    ----------
    values
        float32, (classes, height, width), 0 to 1 (-1 to 1 if signed), NaN where there is nothing.
    pitch, class_names
        Level-0 pixels per pixel of ``values``, and a name per channel.
    label
        What a value means: ``Grad-CAM++, share of the slide's scale``.
    title
        The method, where several are shown.
    signed
        Whether values below 0 speak against a class.
    ticks, notes
        What stands at the left end, in the middle and at the right end of the colours; and for each
        class what a reader must know of its panel, or nothing.
    """

    values: NDArray[np.float32]
    pitch: float
    class_names: tuple[str, ...]
    label: str
    title: str = "Heatmap"
    signed: bool = False
    ticks: tuple[str, str, str] = ("0", "0.5", "1")
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Panel:
    title: str
    pixels: NDArray[np.uint8]
    color: RGB | None = None
    note: str = ""


@dataclass(frozen=True)
class Layout:
    """How panels of ``width`` x ``height`` inches stand in rows."""

    columns: int
    rows: int
    width: float
    height: float

    @property
    def pitch(self) -> tuple[float, float]:
        """Inches from one panel to the next, across and down."""
        return max(self.width, NARROWEST) + GAP, self.height + TITLE + GAP

    @property
    def size(self) -> tuple[float, float]:
        """Inches of all panels together, scale bar included."""
        return self.columns * self.pitch[0] - GAP, self.rows * self.pitch[1] - GAP + SCALE

    def place(self, index: int) -> Place:
        """Return where a panel's picture stands."""
        row, column = divmod(index, self.columns)
        left = MARGIN + column * self.pitch[0]
        return Place(left, HEADER + row * self.pitch[1] + TITLE, self.width, self.height)


def write_overview_png(
    path: Path,
    thumbnail: NDArray[np.uint8],
    table: TileTable,
    parts: OwnParts,
    heats: Sequence[OverviewHeat],
    facts: OverviewFacts,
) -> None:
    """Draw the overview of one slide.

    Parameters
    ----------
    path
        Where to write the PNG.
    thumbnail
        The whole slide, uint8, (height, width, 3), about 1000 pixels on its longer side.
    table
        The slide's tiles; if there are none, the picture says so.
    parts
        What each of them counts for in shares.
    heats
        For each method a level of its heatmap about as fine as the thumbnail.
    facts
        What stands beside the panels.
    """
    summary, tissue = summarise_classes(table, parts), classified_tissue(table, parts)
    alone = facts.whole_picture and bool(table.done.any())
    count = 2 - alone + sum(min(len(heat.class_names), HEAT_PANELS) for heat in heats)
    layout = plan_panels(count, facts.size)
    thumbnail = shrunk(thumbnail, layout.place(0).pixels)
    panels = _first_panels(thumbnail, table, facts.size, alone=alone)
    for heat in heats:
        panels += _heat_panels(thumbnail, heat, facts.size, summary)
    scales = tuple(HeatScale(heat.label, heat.ticks, heat.signed) for heat in heats)
    beside = SidebarFacts(facts.details, scales, facts.whole_picture)
    sidebar = Sidebar(table, (summary, tissue), beside)
    pen = Pen(
        layout.size[0] + SIDEBAR + 3 * MARGIN + GAP,
        max(layout.size[1], sidebar.height) + HEADER + FOOTER,
    )
    _draw_words(pen, facts)
    for index, panel in enumerate(panels):
        _draw_panel(pen, layout, index, panel)
    _draw_scale_bar(pen, layout, facts)
    sidebar.draw(pen, pen.width - MARGIN - SIDEBAR, HEADER + 0.15)
    with replacing(path) as fresh:
        pen.save(fresh, facts.said)


def plan_panels(count: int, slide: Size) -> Layout:
    """Return rows and columns in which ``count`` pictures of a slide are large with few holes."""
    aspect = slide.height / slide.width
    layouts = [_fit(columns, -(-count // columns), aspect) for columns in range(1, count + 1)]
    # Holes count double: people would rather read a row of somewhat smaller pictures.
    return max(
        layouts, key=lambda one: one.width * one.height * (count / (one.rows * one.columns)) ** 2
    )


def _fit(columns: int, rows: int, aspect: float) -> Layout:
    room = (GRID_WIDTH + GAP) / columns - GAP, (GRID_HEIGHT + GAP) / rows - GAP - TITLE
    width = min(room[0], room[1] / aspect)
    return Layout(columns, rows, width, max(width * aspect, LOWEST))


def _first_panels(
    thumbnail: NDArray[np.uint8], table: TileTable, slide: Size, *, alone: bool
) -> list[_Panel]:
    """Return the slide and its classes, but that of a whole picture, which stands beside it."""
    if alone:
        return [_Panel("Picture", thumbnail)]
    return [_Panel("Slide", thumbnail), _class_panel(thumbnail, table, slide)]


def _class_panel(thumbnail: NDArray[np.uint8], table: TileTable, slide: Size) -> _Panel:
    if not len(table):
        return _Panel("Classes", faded(thumbnail), note=NO_TISSUE)
    shape = (thumbnail.shape[0], thumbnail.shape[1])
    labels = class_map(table, slide, shape)
    note = ""
    if not table.done.any():
        note = "No tile classified"
    classes = colored(thumbnail, labels, np.array(table.class_colors, np.uint8))
    return _Panel("Classes", classes, note=note)


def _heat_panels(
    thumbnail: NDArray[np.uint8], heat: OverviewHeat, slide: Size, summary: tuple[ClassSummary, ...]
) -> list[_Panel]:
    """Return a panel per class; of many, for those that win most tiles, or are most probable."""
    known = {one.name: one for one in summary}
    classes = [known[name] for name in heat.class_names]

    def least(index: int) -> tuple[int, float]:
        return -classes[index].count, -(classes[index].mean_probability or 0)

    chosen = sorted(range(len(classes)), key=least)[:HEAT_PANELS]
    region = slide.width / heat.pitch, slide.height / heat.pitch
    shape = (thumbnail.shape[0], thumbnail.shape[1])
    panels = []
    for index in sorted(chosen):
        values = resampled(heat.values[index], region, shape)
        picture = heated(thumbnail, values, signed=heat.signed)
        title = f"{heat.title}: {heat.class_names[index]}{_aside(heat, index)}"
        panels.append(_Panel(title, picture, classes[index].color))
    return panels


def _aside(heat: OverviewHeat, index: int) -> str:
    if heat.notes and heat.notes[index]:
        return f" ({heat.notes[index]})"
    return ""


def _draw_words(pen: Pen, facts: OverviewFacts) -> None:
    room = pen.width - 2 * MARGIN
    made_by = "   ·   ".join(filter(None, (facts.model, facts.method, facts.date)))
    pen.text(MARGIN, 0.56, facts.slide, Type(17, INK, "bold"), room)
    pen.text(MARGIN, 0.84, made_by, Type(10, MUTED), room)
    draw_foot(pen, MARGIN, facts.said)


def _draw_panel(pen: Pen, layout: Layout, index: int, panel: _Panel) -> None:
    place = layout.place(index)
    indent = 0.0
    if panel.color:
        indent = 0.2
        pen.box(Place(place.left, place.top - 0.2, 0.13, 0.13), as_hex(panel.color), 0.02)
    pen.text(
        place.left + indent,
        place.top - 0.09,
        panel.title,
        Type(10.5),
        layout.pitch[0] - GAP - indent,
    )
    pen.image(place, panel.pixels)
    if panel.note:
        middle = place.left + place.width / 2, place.top + place.height / 2
        pen.text(*middle, panel.note, Type(13, MUTED, "bold", "center"))


def _draw_scale_bar(pen: Pen, layout: Layout, facts: OverviewFacts) -> None:
    if facts.spacing is None:
        return
    place = layout.place((layout.rows - 1) * layout.columns)
    pen.scale_bar(place, facts.size.width * facts.spacing.x, max(BAR_SHARE, 1 / layout.width))


FIGURE_LONGEST, FIGURE_NARROWEST = 7.5, 2.6
"""Inches of the picture's longer side, and the least of its place, so that words fit."""

FIGURE_MARGIN, FIGURE_HEADER, FIGURE_FOOTER, LEGEND_WIDTH, FIGURE_GAP = 0.4, 0.95, 0.85, 3.3, 0.35
"""Inches round everything, above and below the picture, of the legend's column, and before it."""

LEGEND_ROW, LEGEND_DETAIL = 0.3, 0.23
"""Inches of a class and of a line of facts."""


@dataclass(frozen=True)
class FigureClass:
    """A class in the legend: its name and colour, and what stands behind it."""

    name: str
    color: RGB
    said: str


@dataclass(frozen=True)
class FigureFacts:
    """What is said round the picture.

    Attributes
    ----------
    title, subtitle
        Above it.
    um_per_px
        µm per pixel of the picture; None for no scale bar.
    legend, legend_title
        Classes that it shows, and what stands behind each.
    heat
        What its colours mean, if it shows heat.
    details, said
        Further lines of (label, value), and sentences: the first stands below, all are in the file.
    """

    title: str
    subtitle: str
    um_per_px: float | None
    legend: tuple[FigureClass, ...] = ()
    legend_title: str = ""
    heat: HeatScale | None = None
    details: tuple[tuple[str, str], ...] = ()
    said: tuple[str, ...] = ()


def write_figure_png(path: Path, pixels: NDArray[np.uint8], facts: FigureFacts) -> None:
    """Draw a picture, uint8 (height, width, 3), with its scale bar and legend, all or nothing."""
    height, width = pixels.shape[:2]
    scale = FIGURE_LONGEST / max(height, width)
    place = Place(FIGURE_MARGIN, FIGURE_HEADER, width * scale, height * scale)
    column = FIGURE_MARGIN + max(place.width, FIGURE_NARROWEST) + FIGURE_GAP
    height = max(place.height, _column_height(facts))
    pen = Pen(column + LEGEND_WIDTH + FIGURE_MARGIN, FIGURE_HEADER + height + FIGURE_FOOTER)
    room = pen.width - 2 * FIGURE_MARGIN
    pen.text(FIGURE_MARGIN, 0.5, facts.title, Type(15, INK, "bold"), room)
    pen.text(FIGURE_MARGIN, 0.75, facts.subtitle, Type(9.5, MUTED), room)
    pen.image(place, pixels)
    if facts.um_per_px is not None:
        pen.scale_bar(place, facts.um_per_px * width, BAR_SHARE)
    _draw_column(pen, column, FIGURE_HEADER, facts)
    draw_foot(pen, FIGURE_MARGIN, facts.said)
    with replacing(path) as fresh:
        pen.save(fresh, facts.said)


def _column_height(facts: FigureFacts) -> float:
    height = LEGEND_DETAIL * len(facts.details)
    if facts.legend:
        height += 0.3 + LEGEND_ROW * len(facts.legend) + 0.2
    if facts.heat:
        height += 1.2
    return height


def _draw_column(pen: Pen, left: float, top: float, facts: FigureFacts) -> None:
    if facts.legend:
        pen.text(left, top + 0.1, "CLASSES", HEADING)
        pen.text(left + LEGEND_WIDTH, top + 0.1, facts.legend_title, SMALL_RIGHT)
        top += 0.3
        top = _draw_classes(pen, left, top, facts.legend) + 0.2
    if facts.heat:
        pen.text(left, top + 0.1, "COLOURS", HEADING)
        top = draw_heat_scale(pen, left, top + 0.21, facts.heat) + 0.25
    for label, value in facts.details:
        pen.text(left, top + 0.1, label, Type(8.5, MUTED))
        pen.text(left + 1.05, top + 0.1, value, Type(8.5), LEGEND_WIDTH - 1.05)
        top += LEGEND_DETAIL


def _draw_classes(pen: Pen, left: float, top: float, classes: Sequence[FigureClass]) -> float:
    for one in classes:
        pen.box(Place(left, top, 0.16, 0.16), as_hex(one.color), 0.02)
        pen.text(left + 0.26, top + 0.135, one.name, Type(9.5), 1.75)
        pen.text(left + LEGEND_WIDTH, top + 0.135, one.said, Type(9.5, INK, align="right"))
        top += LEGEND_ROW
    return top
