"""A picture of a slide or a part of it as a figure: title, scale bar, legend, and subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slidecam.drawing.palette import INK, MUTED, as_hex
from slidecam.drawing.pen import Pen, Place, Type
from slidecam.files import replacing
from slidecam.reports.picture import BAR_SHARE, DISCLAIMER
from slidecam.reports.sidebar import HeatScale, draw_heat_scale

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from slidecam.pixels import RGB

LONGEST, NARROWEST = 7.5, 2.6
"""Inches of the picture's longer side, and the least of its place, so that words fit."""

MARGIN, HEADER, FOOTER, COLUMN, GAP = 0.4, 0.95, 0.85, 3.3, 0.35
"""Inches round everything, above and below the picture, of the legend's column, and before it."""

ROW, DETAIL = 0.3, 0.23
"""Inches of a class and of a line of facts."""

HEADING = Type(8.5, MUTED, "bold")


@dataclass(frozen=True)
class FigureClass:
    """A class in the legend: its name and colour, and what stands behind it."""

    name: str
    color: RGB
    told: str


@dataclass(frozen=True)
class FigureFacts:
    """What is said round the picture.

    Attributes
    ----------
    title, subtitle
        Above it.
    um_per_px
        µm per pixel of the picture; None for no scale bar.
    legend
        Classes that it shows.
    legend_title
        What stands behind each class.
    heat
        What its colours mean, if it shows heat.
    details
        Further lines of (label, value).
    """

    title: str
    subtitle: str
    um_per_px: float | None
    legend: tuple[FigureClass, ...] = ()
    legend_title: str = ""
    heat: HeatScale | None = None
    details: tuple[tuple[str, str], ...] = ()


def write_figure_png(path: Path, pixels: NDArray[np.uint8], facts: FigureFacts) -> None:
    """Draw a picture, uint8 (height, width, 3), with its scale bar and legend, all or nothing."""
    height, width = pixels.shape[:2]
    scale = LONGEST / max(height, width)
    place = Place(MARGIN, HEADER, width * scale, height * scale)
    column = MARGIN + max(place.width, NARROWEST) + GAP
    pen = Pen(column + COLUMN + MARGIN, HEADER + max(place.height, _column_height(facts)) + FOOTER)
    room = pen.width - 2 * MARGIN
    pen.text(MARGIN, 0.5, facts.title, Type(15, INK, "bold"), room)
    pen.text(MARGIN, 0.75, facts.subtitle, Type(9.5, MUTED), room)
    pen.image(place, pixels)
    if facts.um_per_px is not None:
        pen.scale_bar(place, facts.um_per_px * width, BAR_SHARE)
    _draw_column(pen, column, HEADER, facts)
    pen.text(MARGIN, pen.height - 0.25, DISCLAIMER, Type(8.5, MUTED))
    pen.text(pen.width - MARGIN, pen.height - 0.25, "slidecam", Type(8.5, MUTED, align="right"))
    with replacing(path) as fresh:
        pen.save(fresh)


def _column_height(facts: FigureFacts) -> float:
    classes = 0.0
    if facts.legend:
        classes = 0.3 + ROW * len(facts.legend) + 0.2
    return classes + (1.2 if facts.heat else 0.0) + DETAIL * len(facts.details)


def _draw_column(pen: Pen, left: float, top: float, facts: FigureFacts) -> None:
    if facts.legend:
        pen.text(left, top + 0.1, "CLASSES", HEADING)
        pen.text(left + COLUMN, top + 0.1, facts.legend_title, Type(8.5, MUTED, align="right"))
        top += 0.3
        top = _draw_classes(pen, left, top, facts.legend) + 0.2
    if facts.heat:
        pen.text(left, top + 0.1, "COLOURS", HEADING)
        top = draw_heat_scale(pen, left, top + 0.21, facts.heat) + 0.25
    for label, value in facts.details:
        pen.text(left, top + 0.1, label, Type(8.5, MUTED))
        pen.text(left + 1.05, top + 0.1, value, Type(8.5), COLUMN - 1.05)
        top += DETAIL


def _draw_classes(pen: Pen, left: float, top: float, classes: Sequence[FigureClass]) -> float:
    for one in classes:
        pen.box(Place(left, top, 0.16, 0.16), as_hex(one.color), 0.02)
        pen.text(left + 0.26, top + 0.135, one.name, Type(9.5), 1.75)
        pen.text(left + COLUMN, top + 0.135, one.told, Type(9.5, INK, align="right"))
        top += ROW
    return top
