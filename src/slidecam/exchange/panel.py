"""``panel.png`` and ``panel.html``: tiles beside their maps, method by method, and the curves that test each map.

All tiles of a method share one scale, so that a tile without evidence looks bare beside one that has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from slidecam.atomic import replacing
from slidecam.exchange.overlay import heat_scale, heated
from slidecam.exchange.pen import INK, MUTED, Pen, Place, Type
from slidecam.pages import picture_uri, write_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

EDGE, GAP, MARGIN = 1.9, 0.16, 0.35
"""Inches of a tile's picture, between pictures, and round everything."""

HEADER, CAPTION, SCALE, FOOTER = 0.95, 0.42, 0.5, 0.35
"""Inches above everything, above each row, below the last row, and at the bottom."""

CURVE_WIDTH = 2.6
PERCENTILE = 99.5
DPI = 150
ROUND = 3

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b1f24")
"""Okabe and Ito's, one for each method."""

DISCLAIMER = "Research use only. Not for diagnosis."


@dataclass(frozen=True, eq=False)
class PanelMap:
    """One method's map of one tile and class.

    Attributes
    ----------
    name, title
        The method, for machines and for people.
    values
        float32, (h, w), raw.
    signed
        Whether negative values speak against the class.
    facts
        What must be said beside the map.
    """

    name: str
    title: str
    values: NDArray[np.float32]
    signed: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PanelCurves:
    """How a class's probability falls and rises as pixels go and come in the order of one method's map.

    Attributes
    ----------
    method, baseline
        Whose order, and what takes the pixels' place.
    fractions, deletion, insertion
        float64, (steps + 1,).
    deletion_auc, insertion_auc
        Areas under both curves.
    """

    method: str
    baseline: str
    fractions: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    deletion_auc: float
    insertion_auc: float

    def told(self) -> dict[str, Any]:
        """Return both areas for a JSON file."""
        return {
            "method": self.method,
            "baseline": self.baseline,
            "deletion AUC": round(self.deletion_auc, 4),
            "insertion AUC": round(self.insertion_auc, 4),
        }


@dataclass(frozen=True, eq=False)
class PanelRow:
    """One tile explained for one class.

    Attributes
    ----------
    name, explained, caption
        The tile, the class, and what is said of them.
    pixels
        uint8, (edge, edge, 3).
    maps
        The same methods in every row.
    curves
        Maybe none.
    """

    name: str
    explained: str
    caption: str
    pixels: NDArray[np.uint8]
    maps: tuple[PanelMap, ...]
    curves: tuple[PanelCurves, ...] = ()


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
        _draw(rows, scales, title).save(fresh)
    write_page(
        "panel",
        folder / "panel.html",
        title=title,
        left_out=max(0, left_out),
        methods=_method_facts(rows),
        rows=[_told(row, scales) for row in rows],
    )


def method_scales(rows: Sequence[PanelRow]) -> dict[str, float]:
    """Return for each method the raw value that is drawn as 1: the `PERCENTILE` of all its tiles' magnitudes."""
    by_method: dict[str, list[NDArray[np.float32]]] = {}
    for row in rows:
        for each in row.maps:
            by_method.setdefault(each.name, []).append(np.abs(each.values).ravel())
    tops = {name: float(np.percentile(np.concatenate(values), PERCENTILE)) for name, values in by_method.items()}
    return {name: top if top > 0 else 1.0 for name, top in tops.items()}


def overlaid(pixels: NDArray[np.uint8], each: PanelMap, top: float) -> NDArray[np.uint8]:
    """Return a tile under one of its maps, uint8, (edge, edge, 3)."""
    low = -1.0 if each.signed else 0.0
    scaled = np.clip(each.values / top, low, 1).astype(np.float32)
    size = (pixels.shape[1], pixels.shape[0])
    enlarged = np.asarray(Image.fromarray(scaled).resize(size, Image.Resampling.BILINEAR))
    return heated(pixels, np.clip(enlarged, low, 1), signed=each.signed)


def _draw(rows: Sequence[PanelRow], scales: Mapping[str, float], title: str) -> Pen:
    first, curved = rows[0], bool(rows[0].curves)
    width = 2 * MARGIN + (1 + len(first.maps)) * (EDGE + GAP) + (CURVE_WIDTH if curved else 0)
    height = HEADER + len(rows) * (CAPTION + EDGE) + SCALE + FOOTER
    pen = Pen(max(width, 5.5), height)
    pen.text(MARGIN, 0.45, title, Type(13, weight="bold"), pen.width - 2 * MARGIN)
    pen.text(MARGIN, 0.7, "Each method has one scale for all tiles; values are raw.", Type(8, MUTED), pen.width)
    for number, row in enumerate(rows):
        _draw_row(pen, row, scales, HEADER + number * (CAPTION + EDGE), heads=number == 0)
    _draw_scales(pen, first, scales, HEADER + len(rows) * (CAPTION + EDGE) + 0.1)
    pen.text(MARGIN, height - 0.15, DISCLAIMER, Type(8, MUTED))
    return pen


def _draw_row(pen: Pen, row: PanelRow, scales: Mapping[str, float], top: float, *, heads: bool) -> None:
    words = f"{row.name}: {row.explained} {row.caption}"
    pen.text(MARGIN, top + 0.15, words, Type(8, INK, "bold"), pen.width - 2 * MARGIN)
    pen.image(_place(0, top), row.pixels)
    for column, each in enumerate(row.maps, 1):
        place = _place(column, top)
        pen.text(place.left, place.top - 0.06, each.title, Type(8, INK if heads else MUTED), EDGE)
        pen.image(place, overlaid(row.pixels, each, scales[each.name]))
    if row.curves:
        left = _place(1 + len(row.maps), top).left
        pen.image(Place(left, top + CAPTION, CURVE_WIDTH - GAP, EDGE), curve_picture(row, CURVE_WIDTH - GAP, EDGE))


def _place(column: int, top: float) -> Place:
    return Place(MARGIN + column * (EDGE + GAP), top + CAPTION, EDGE, EDGE)


def _draw_scales(pen: Pen, row: PanelRow, scales: Mapping[str, float], top: float) -> None:
    for column, each in enumerate(row.maps, 1):
        place = _place(column, top - CAPTION)
        pen.image(Place(place.left, top, EDGE, 0.1), np.repeat(heat_scale(180, signed=each.signed), 4, axis=0))
        highest = f"{scales[each.name]:.{ROUND}g}"
        pen.text(place.left, top + 0.24, f"-{highest}" if each.signed else "0", Type(7, MUTED))
        pen.text(place.left + EDGE, top + 0.24, highest, Type(7, MUTED, align="right"))


def curve_picture(row: PanelRow, width: float, height: float) -> NDArray[np.uint8]:
    """Draw a row's curves, ``width`` x ``height`` inches: deletion solid, insertion dashed; first baseline alone."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    baseline = row.curves[-1].baseline
    colors = {each.name: COLORS[number % len(COLORS)] for number, each in enumerate(row.maps)}
    for curve in (one for one in row.curves if one.baseline == baseline):
        axes.plot(curve.fractions, curve.deletion, color=colors[curve.method], linewidth=1.1)
        axes.plot(curve.fractions, curve.insertion, color=colors[curve.method], linewidth=1.1, linestyle="--")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.tick_params(labelsize=6, colors=MUTED)
    axes.set_title(f"deletion —, insertion - - ({baseline})", fontsize=6.5, color=MUTED, parse_math=False)
    for number, each in enumerate(row.maps):
        axes.text(0.97, 0.93 - 0.08 * number, each.title, color=COLORS[number % len(COLORS)], fontsize=6, ha="right")
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[no-untyped-call]


def _method_facts(rows: Sequence[PanelRow]) -> list[dict[str, Any]]:
    return [
        {"title": each.title, "facts": ", ".join(f"{key}: {_shown(value)}" for key, value in each.facts.items())}
        for each in rows[0].maps
    ]


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _told(row: PanelRow, scales: Mapping[str, float]) -> dict[str, Any]:
    """Return what the page shows of a row."""
    return {
        "name": row.name,
        "explained": row.explained,
        "caption": row.caption,
        "tile": picture_uri(Image.fromarray(row.pixels), 448, exact=True),
        "maps": [
            {
                "title": each.title,
                "scale": f"{'-' if each.signed else '0 … '}{_signed_top(each, scales)}",
                "picture": picture_uri(Image.fromarray(overlaid(row.pixels, each, scales[each.name])), 448, exact=True),
            }
            for each in row.maps
        ],
        "curves": picture_uri(Image.fromarray(curve_picture(row, 4.2, 2.8)), exact=True) if row.curves else None,
        "areas": [curve.told() for curve in row.curves],
    }


def _signed_top(each: PanelMap, scales: Mapping[str, float]) -> str:
    top = f"{scales[each.name]:.{ROUND}g}"
    return f"{top} … {top}" if each.signed else top
