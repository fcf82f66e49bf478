"""Pictures of a report: mean curves with their bands, and figures with their errors."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from slidecam.drawing.pen import blank_figure, picture_of, plain
from slidecam.drawing.style import FAMILY, GRID, INK, MORE_HUES, MUTED
from slidecam.faithfulness.sentences import LIKE
from slidecam.faithfulness.spec import measure_called
from slidecam.faithfulness.stability import STAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

    from slidecam.faithfulness.report import FaithfulnessReport, MethodFacts

DPI = 130
GREYS = (("#8a929e", "--"), ("#454c57", "--"), ("#b3b9c2", "--"), (INK, ":"))
"""Of the references, and how they are dashed."""

PANEL_WIDTH, PANEL_HEIGHT = 4.6, 3.3
ROW_HEIGHT, ROW_WIDTH = 0.27, 3.1
COLUMNS = 3
"""Inches of a panel with curves, of a method's row in the other panels, and panels side by side."""

NAME_LENGTH = 24
"""Letters of a method's name that a picture has room for."""


def curve_picture(report: FaithfulnessReport) -> Image.Image | None:
    """Return the mean deletion and insertion curves, a panel for each baseline.

    None if there are none.

    Bands are the standard error over tiles.
    """
    measures = list(dict.fromkeys(one.measure for one in report.curves))
    if not measures:
        return None
    columns = max(1, (len(measures) + 1) // 2)
    figure, panels = _sheet(len(measures), columns, (PANEL_WIDTH, PANEL_HEIGHT))
    for panel, measure in zip(panels, measures, strict=True):
        _draw_curves(panel, report, measure)
        panel.set_xlabel("share of pixels changed", color=MUTED, fontsize=8)
        panel.set_ylabel(report.output, color=MUTED, fontsize=8)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return picture_of(figure)


def figure_picture(report: FaithfulnessReport) -> Image.Image | None:
    """Return a panel for each measure, whiskers of one standard error over tiles.

    None without findings.

    Points and no bars, whose zero would dwarf what differs. The first random map's figure is a line
    through all.
    """
    measures = report.shown_measures
    if not measures:
        return None
    height = ROW_HEIGHT * len(report.methods) + 0.7
    figure, panels = _sheet(len(measures), min(COLUMNS, len(measures)), (ROW_WIDTH, height))
    for place, (panel, measure) in enumerate(zip(panels, measures, strict=True)):
        _draw_points(panel, report, measure)
        if place % COLUMNS:
            panel.set_yticklabels([])
        known = measure_called(measure)
        title = f"{known.title}  ({known.good} is good)"
        panel.set_title(title, fontsize=8.5, color=INK, loc="left")
    return picture_of(figure)


def randomisation_picture(report: FaithfulnessReport) -> Image.Image | None:
    """Return how like maps stay to the original ones as more of the network is random.

    None if that was not checked.
    """
    if not report.likenesses:
        return None
    figure, (panel,) = _sheet(1, 1, (PANEL_WIDTH * 1.5, PANEL_HEIGHT))
    checked = {one.stage for one in report.likenesses}
    stages = [name for name in STAGES if name in checked]
    for place, method in enumerate(dict.fromkeys(one.method for one in report.likenesses)):
        by_stage = report.likenesses_of(method)
        means, errors = np.transpose([by_stage[stage] for stage in stages])
        color = MORE_HUES[place % len(MORE_HUES)]
        panel.plot(
            range(len(stages)),
            means,
            color=color,
            marker="o",
            markersize=4,
            label=_short(method),
        )
        panel.errorbar(range(len(stages)), means, np.nan_to_num(errors), color=color, capsize=3)
    panel.set_xticks(range(len(stages)), stages)
    panel.set_ylim(-1.05, 1.05)
    for end in (-1.05, 1.05):
        panel.axhspan(LIKE * np.sign(end), end, color=GRID, alpha=0.5, linewidth=0)
    panel.axhline(0, color=MUTED, linewidth=0.8)
    panel.set_xlabel("what was made random", color=MUTED, fontsize=8)
    panel.set_ylabel("rank correlation", color=MUTED, fontsize=8)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return picture_of(figure)


def _draw_curves(panel: Axes, report: FaithfulnessReport, measure: str) -> None:
    drawn = {one.method: one for one in report.curves if one.measure == measure}
    for method, color, style in _looks(report.methods):
        curve, finding = drawn[method.name], report.finding(method.name, measure)
        panel.plot(
            curve.fractions,
            curve.mean,
            color=color,
            linestyle=style,
            linewidth=1.5,
            label=_short(method.name),
        )
        if finding is not None and np.isfinite(curve.se).all():
            band = (curve.mean - curve.se, curve.mean + curve.se)
            panel.fill_between(curve.fractions, *band, color=color, alpha=0.13, linewidth=0)
    known = measure_called(measure)
    title = known.title.replace(" AUC", "").capitalize()
    panel.set_title(f"{title}  (area: {known.good} is good)", fontsize=9.5, color=INK, loc="left")
    panel.set_xlim(0, 1)


def _draw_points(panel: Axes, report: FaithfulnessReport, measure: str) -> None:
    names = []
    chance = None
    for place, (method, color, _style) in enumerate(_looks(report.methods)):
        names.append(_short(method.name))
        one = report.finding(method.name, measure)
        if one is None or not np.isfinite(one.mean):
            continue
        panel.errorbar(
            one.mean,
            place,
            xerr=np.nan_to_num(one.se_tiles),
            color=color,
            fmt="o",
            markersize=6,
            capsize=3,
            elinewidth=1.6,
        )
        if method.reference and chance is None:
            chance = one.mean
    if chance is not None:
        panel.axvline(chance, color=MUTED, linewidth=0.9, linestyle=":")
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)


def _looks(methods: Sequence[MethodFacts]) -> list[tuple[MethodFacts, str, str]]:
    """Return each method with colour and line: colours for methods, grey dashes for references."""
    hues, greys = cycle(MORE_HUES), cycle(GREYS)
    looks = []
    for one in methods:  # the references stand last
        if one.reference:
            looks.append((one, *next(greys)))
        else:
            looks.append((one, next(hues), "-"))
    return looks


def _short(name: str) -> str:
    return plain(name, NAME_LENGTH)


def _sheet(panels: int, columns: int, inches: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a white sheet with so many panels, each ``inches`` wide and high."""
    rows = -(-panels // columns)
    size = (inches[0] * columns, inches[1] * rows + 0.4)
    figure = blank_figure(*size, dpi=DPI, layout="constrained")
    made = [figure.add_subplot(rows, columns, place + 1) for place in range(panels)]
    for panel in made:
        panel.tick_params(labelsize=8, colors=MUTED, labelfontfamily=FAMILY)
        panel.grid(color=GRID, linewidth=0.6)
        panel.set_axisbelow(True)
        for side in ("top", "right", "left", "bottom"):
            panel.spines[side].set_color(GRID)
    return figure, made
