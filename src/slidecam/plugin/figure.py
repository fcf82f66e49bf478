"""A picture of what is on the canvas, with what one needs to judge it.

Scale bar, legend, slide and model.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from slidecam.drawing.palette import INK, MUTED, as_hex
from slidecam.drawing.pen import Pen, Place, Type
from slidecam.files import replacing
from slidecam.plugin import compat
from slidecam.plugin.cards import class_rows
from slidecam.reports.picture import DISCLAIMER

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.plugin.viewer_state import Desk

LONGEST = 9.0
"""Inches of the picture's longer side."""

MARGIN, HEADER, FOOTER, LEGEND = 0.4, 0.9, 0.75, 2.6
ROW = 0.26
BAR_SHARE = 0.25


def write_view(path: Path, pixels: NDArray[np.uint8], desk: Desk) -> None:
    """Write a figure of the canvas.

    Parameters
    ----------
    path
        The PNG to write.
    pixels
        The canvas, uint8, (height, width, 3).
    desk
        Whose run is told beside it, and whose camera says how long the scale bar is.
    """
    per_world = (
        compat.camera(desk.viewer).zoom * pixels.shape[1] / compat.canvas_size(desk.viewer)[1]
    )
    rows, columns = slide_part(desk, (pixels.shape[0], pixels.shape[1]), per_world)
    pixels = pixels[rows, columns]
    high, wide = pixels.shape[:2]
    inch = LONGEST / max(high, wide)
    place = Place(MARGIN, HEADER, wide * inch, high * inch)
    pen = Pen(place.width + LEGEND + 3 * MARGIN, max(place.height, 2.5) + HEADER + FOOTER)
    pen.image(place, pixels)
    _words(pen, desk)
    facts = desk.slide()
    if facts is not None and facts.spacing is not None:
        pen.scale_bar(place, wide / per_world, BAR_SHARE)
    _legend(pen, place.left + place.width + MARGIN, desk)
    with replacing(path) as fresh:
        pen.save(fresh)


def _words(pen: Pen, desk: Desk) -> None:
    run = desk.run
    if run is not None:
        model = run.stored.model
        pen.text(MARGIN, 0.45, run.folder.name, Type(15, INK, "bold"), pen.width - 2 * MARGIN)
        told = f"{model}   ·   {datetime.now(UTC).date().isoformat()}"
        pen.text(MARGIN, 0.7, told, Type(9, MUTED), pen.width - 2 * MARGIN)
    pen.text(MARGIN, pen.height - 0.15, DISCLAIMER, Type(8, MUTED))


def slide_part(desk: Desk, shape: tuple[int, int], per_world: float) -> tuple[slice, slice]:
    """Return the rows and columns of a picture of the canvas that the slide is on.

    All of them where it is not.
    """
    facts = desk.slide()
    if facts is None:
        return slice(None), slice(None)
    corners = facts.placing.to_world(
        np.array([[0, 0], [facts.size.width, facts.size.height]], np.float64)
    )
    middle = np.array(shape) / 2
    edges = (corners - np.array(compat.camera(desk.viewer).center[-2:])) * per_world + middle
    (top, left), (bottom, right) = np.clip(np.rint(edges), 0, shape).astype(int)
    if bottom <= top or right <= left:
        return slice(None), slice(None)
    return slice(top, bottom), slice(left, right)


def _legend(pen: Pen, left: float, desk: Desk) -> None:
    if desk.run is None:
        return
    pen.text(left, HEADER + 0.12, "Class, share of the tissue", Type(9.5, INK, "bold"), LEGEND)
    for number, (name, color, figures) in enumerate(class_rows(desk.run), 1):
        top = HEADER + 0.12 + number * ROW
        pen.box(Place(left, top - 0.11, 0.13, 0.13), as_hex(color), 0.02)
        pen.text(left + 0.2, top, name, Type(9.5), LEGEND - 0.95)
        pen.text(left + LEGEND, top, figures[0], Type(9.5, align="right"))
    shown = [layer.name for layer in desk.viewer.layers if layer.visible]
    top = HEADER + 0.12 + (len(desk.run.table.class_names) + 1.6) * ROW
    pen.text(left, top, "Shown", Type(9.5, INK, "bold"), LEGEND)
    for number, name in enumerate(shown[-6:], 1):
        pen.text(left, top + number * ROW * 0.8, name, Type(8, MUTED), LEGEND)
