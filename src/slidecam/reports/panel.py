"""``panel.png`` and ``panel.html``.

Tiles beside their maps, method by method, and the curves that test each map.

All tiles of a method share one scale, so that a tile without evidence looks bare beside one that
has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from slidecam.explain.facts import facts_in_words
from slidecam.files import replacing
from slidecam.pages import picture_uri, write_page
from slidecam.reports.panel_rows import method_scales, overlaid, scale_ends
from slidecam.reports.panel_sheet import curve_picture, draw_panel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slidecam.reports.panel_rows import PanelRow

CURVES = (6.4, 2.8)
"""Inches of the page's curves with their legend."""


def write_panel(rows: Sequence[PanelRow], folder: Path, *, title: str, left_out: int = 0) -> None:
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
    """
    scales = method_scales(rows)
    with replacing(folder / "panel.png") as fresh:
        draw_panel(rows, scales, title).save(fresh)
    write_page(
        "panel",
        folder / "panel.html",
        title=title,
        left_out=max(0, left_out),
        methods=_method_facts(rows),
        rows=[_told(row, scales) for row in rows],
    )


def _method_facts(rows: Sequence[PanelRow]) -> list[dict[str, Any]]:
    return [{"title": each.heading, "facts": facts_in_words(each.facts)} for each in rows[0].maps]


def _told(row: PanelRow, scales: Mapping[str, float]) -> dict[str, Any]:
    """Return what the page shows of a row."""
    return {
        "name": row.name,
        "explained": row.explained,
        "captions": row.captions,
        "tile": picture_uri(Image.fromarray(row.pixels), 448, exact=True),
        "maps": [
            {
                "title": each.heading,
                "scale": " … ".join(scale_ends(each, scales[each.name])),
                "picture": picture_uri(
                    Image.fromarray(overlaid(row.pixels, each, scales[each.name])), 448, exact=True
                ),
            }
            for each in row.maps
        ],
        "curves": picture_uri(Image.fromarray(curve_picture(row, *CURVES)), exact=True)
        if row.curves
        else None,
        "areas": [curve.told() for curve in row.curves],
    }
