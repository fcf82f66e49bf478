"""Charts: a white sheet, axes that look alike, words that matplotlib can draw, and the picture.

Matplotlib's objects and none of its globals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from slidecam.drawing.pen import drawable
from slidecam.drawing.style import DPI, INK, LINE, MUTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

LegendPlace = Literal["lower right", "upper left", "upper center", "best"]

LONGEST = 22
"""Letters of a name that are shown."""


def blank_figure(
    width: float,
    height: float,
    dpi: int = DPI,
    layout: Literal["constrained"] | None = None,
) -> Figure:
    """Return a white figure of ``width`` x ``height`` inches, whose axes are still to be placed."""
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure and its only axes."""
    figure, grid = grid_of(1, 1, width, height)
    return figure, grid[0]


def two_rows(width: float, height: float) -> tuple[Figure, Axes, Axes]:
    """Return a figure, its large axes, and small ones below that share their x."""
    figure = blank_figure(width, height, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    return figure, styled(above), styled(below)


def grid_of(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, row by row."""
    figure = blank_figure(width, height, layout="constrained")
    found = figure.subplots(rows, columns, squeeze=False)
    return figure, list(map(styled, found.ravel()))


def styled(axes: Axes) -> Axes:
    """Give axes the look of all: grey, and open above and on the right."""
    axes.tick_params(labelsize=9, colors=MUTED)
    for item in (axes.xaxis.label, axes.yaxis.label, axes.title):
        item.set(fontsize=10, color=INK)
    for side, spine in axes.spines.items():
        spine.set(edgecolor=LINE, visible=side in {"left", "bottom"})
    return axes


def add_legend(axes: Axes, place: LegendPlace, title: str = "") -> None:
    """Add a legend whose ground lets curves shine through."""
    legend = axes.legend(
        loc=place,
        fontsize=8.5,
        frameon=True,
        framealpha=0.85,
        edgecolor=LINE,
        title=title or None,
    )
    legend.get_title().set(fontsize=8.5, color=MUTED)


def plain(words: str, longest: int = LONGEST) -> str:
    """Return words as matplotlib draws them.

    No formulas, no glyph that its font lacks, no longer than is shown, and no underscore at the
    front, which would keep them out of a legend.
    """
    short = drawable(words)
    if len(short) > longest:
        short = short[: longest - 1].rstrip() + "…"
    if short.startswith("_"):
        short = f"\N{HAIR SPACE}{short}"
    return short.replace("$", r"\$")


def pixels_of(figure: Figure) -> NDArray[np.uint8]:
    """Return a drawn figure, uint8, (height, width, 3)."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def picture_of(figure: Figure) -> Image.Image:
    """Return a drawn figure as a picture."""
    return Image.fromarray(pixels_of(figure))


MOST_BARS = 24
"""Bars up to which their names can be read; of more, the largest are drawn."""


def stacked_bars(
    names: Sequence[str],
    series: Mapping[str, Sequence[int]],
    colors: Sequence[str],
    title: str,
    unit: str,
) -> Image.Image:
    """Return a picture of lying bars, one for each name, with its total at the end.

    Parameters
    ----------
    names
        In their order, from above.
    series
        Counts of each name by what a part of a bar is called, in the order of the parts.
    colors
        Of the parts.
    title, unit
        Of the chart, and of its counts.
    """
    totals = np.sum(list(series.values()), axis=0)
    shown = np.sort(np.argsort(-totals, kind="stable")[:MOST_BARS])
    if len(shown) < len(names):
        title += f", the {len(shown)} largest of {len(names)}"
    figure, axes = sheet(6.2, 1.3 + 0.34 * len(shown))
    places, left = np.arange(len(shown)), np.zeros(len(shown))
    for (part, counts), color in zip(series.items(), colors, strict=True):
        lengths = np.asarray(counts)[shown]
        axes.barh(places, lengths, left=left, color=color, label=plain(part), height=0.7)
        left += lengths
    for place, total in zip(places, left, strict=True):
        axes.annotate(
            f"{total:,.0f}",
            (total, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    axes.set_yticks(places, [plain(names[index]) for index in shown])
    axes.invert_yaxis()
    axes.set(xlabel=unit, title=title, xlim=(0, max(1, 1.12 * float(left.max(initial=0)))))
    if len(series) > 1:
        add_legend(axes, "best")
    return picture_of(figure)
