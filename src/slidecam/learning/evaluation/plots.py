"""Pictures of an evaluation.

Matplotlib's objects and none of its globals, in colours that the colour-blind can tell.

Every function returns a picture in memory that is readable at the width of a page.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patheffects import Stroke
from matplotlib.ticker import MaxNLocator

from slidecam.drawing.pen import (
    LONGEST,
    add_legend,
    grid_of,
    picture_of,
    plain,
    sheet,
    two_rows,
)
from slidecam.drawing.style import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PALETTE,
    PINK,
    SKY,
    as_hex,
)
from slidecam.errors import DataSetError
from slidecam.learning.calibration import BINS, Reliability, reliability_of
from slidecam.learning.data.pixels import load_pixels
from slidecam.learning.intervals import wilson
from slidecam.learning.metrics import roc_points

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from PIL import Image

    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.predictions import Predictions
    from slidecam.pixels import RGB

DASHES = ("-", "--", "-.", ":")
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9cc7e0", BLUE, "#003a5c"])

SERIES = (BLUE, GREEN, PINK, SKY, AMBER)
"""Of a learning curve, whose training set is orange."""

NUMBERED = 12
"""Classes up to which the confusion matrix has numbers in its cells."""

SHOWN = 6
"""Classes that have a curve or a panel of their own.

Of many, those with the smallest area under the curve.
"""

DARK = 0.55
"""Share of a row from which numbers in its cell are white."""

SHEET_COLUMNS, THUMB_PX = 4, 224


def confusion_figure(evaluation: Evaluation) -> Image.Image:
    """Return the confusion matrix: counts, and the share of each row."""
    counts, names = evaluation.confusion, evaluation.predictions.class_names
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    edge = min(9.0, max(5.4, 2.6 + 0.85 * len(names)))
    figure, axes = sheet(edge, edge * 0.88)
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    ticks, labels, small = range(len(names)), list(map(plain, names)), 6
    look: dict[str, Any] = {}
    if max(map(len, names)) * len(names) > 32:  # noqa: PLR2004  (letters that fit side by side)
        look = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    counted = labels
    if len(names) <= NUMBERED:
        small = 10
        counted = [
            f"{label}\nn = {total}" for label, total in zip(labels, totals[:, 0], strict=True)
        ]
    axes.set_xticks(ticks, labels, fontsize=small, **look)
    axes.set_yticks(ticks, counted, fontsize=small)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion: pictures, share of the row")
    if len(names) <= NUMBERED:
        _write_counts(axes, counts, shares)
    return picture_of(figure)


def _write_counts(axes: Axes, counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for row, column in np.ndindex(counts.shape):
        color = INK
        if shares[row, column] > DARK:
            color = "white"
        words = f"{counts[row, column]}\n{100 * shares[row, column]:.0f} %"
        axes.text(column, row, words, ha="center", va="center", color=color, fontsize=10)


def roc_figure(evaluation: Evaluation) -> Image.Image | None:
    """Return the ROC curves of the classes, each against the rest, with area and interval.

    None if there are none.
    """
    predictions = evaluation.predictions
    chosen = _least_separable(evaluation)
    if not chosen:
        return None
    figure, axes = sheet(6.2, 5.6)
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    for place, index in enumerate(chosen):
        name = predictions.class_names[index]
        false, true = roc_points(predictions.labels == index, predictions.probabilities[:, index])
        look = _line(_color(predictions, index, place), place)
        axes.plot(false, true, label=f"{plain(name)}: {_with_figure(evaluation, name)}", **look)
    title = "ROC, each class against the rest"
    if len(chosen) < len(predictions.class_names):
        title += f", the {len(chosen)} least separable classes"
    axes.set(
        xlabel="1 - specificity", ylabel="sensitivity", title=title, xlim=(-0.01, 1), ylim=(0, 1.01)
    )
    add_legend(axes, "lower right", "AUC (95 % interval)")
    return picture_of(figure)


def reliability_figure(evaluation: Evaluation) -> Image.Image | None:
    """Return how often predictions are right by how sure they are, before and after calibration."""
    predictions = evaluation.predictions
    if not predictions.outputs.are_distributions:
        return None
    figure, axes, below = two_rows(6.2, 5.6)
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    plain = predictions.uncalibrated
    if plain is not None:
        before = reliability_of(plain, predictions.labels)
        _draw_reliability(axes, before, "uncalibrated", {"color": ORANGE, "linestyle": "--"})
    after = reliability_of(predictions.probabilities, predictions.labels)
    words = "as predicted"
    if plain is not None:
        words = predictions.outputs.calibration
    _draw_reliability(axes, after, words, {"color": BLUE})
    _draw_doubt(axes, after)
    below.bar((np.arange(BINS) + 0.5) / BINS, after.counts, 0.9 / BINS, color=BLUE)
    axes.set(
        ylabel="share that is right",
        ylim=(0, 1.02),
        title="Reliability, with 95 % intervals (Wilson)",
    )
    below.set(xlabel="probability of the predicted class", ylabel="pictures", xlim=(0, 1))
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.tick_params(labelbottom=False)
    add_legend(axes, "upper left")
    return picture_of(figure)


def probability_figure(evaluation: Evaluation) -> Image.Image:
    """Return of each class how probable it is said to be where it is true, and where it is not.

    Or its raw score.
    """
    predictions = evaluation.predictions
    probabilities, word = predictions.probabilities, predictions.outputs.output_word
    low, high = min(0.0, float(probabilities.min())), max(1.0, float(probabilities.max()))
    chosen = [1] if len(predictions.class_names) == 2 else _least_separable(evaluation) or [0]  # noqa: PLR2004
    columns = min(2, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    figure, grid = grid_of(rows, columns, 6.2, 1.2 + 2.1 * rows)
    edges = np.linspace(low, high, 21).tolist()
    for place, (axes, index) in enumerate(zip(grid, chosen, strict=False)):
        true = predictions.labels == index
        color = as_hex(_color(predictions, index, place))
        axes.hist(
            probabilities[true, index],
            edges,
            histtype="stepfilled",
            alpha=0.75,
            color=color,
            label="true",
        )
        # An outline, since bars of the one would hide those of the other wherever they are as high.
        axes.hist(
            probabilities[~true, index],
            edges,
            histtype="step",
            color=INK,
            linewidth=1.2,
            label="other classes",
        )
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_title(plain(predictions.class_names[index]), fontsize=10, loc="left", pad=20)
        axes.set(xlabel=word, ylabel="pictures")
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=2,
            fontsize=8.5,
            frameon=False,
            borderaxespad=0.2,
        )
    for axes in grid[len(chosen) :]:
        axes.set_axis_off()
    title = f"{word.capitalize()} of a class, where it is true and where not"
    figure.suptitle(title, fontsize=11, color=INK)
    return picture_of(figure)


WIDE = 10.0
"""From which ratio of losses on their axis is logarithmic."""


def learning_curve(history: Sequence[Mapping[str, Any]]) -> Image.Image | None:
    """Return losses and shares epoch by epoch; None without a history.

    Parameters
    ----------
    history
        One row for each epoch with its ``epoch``. What ends in ``loss`` is drawn on the left; what
        ends in ``accuracy`` or ``f1`` on the right. A change of ``phase`` is marked.
    """
    losses = _series(history, ("loss",))
    shares = _series(history, ("accuracy", "f1"))
    if not losses and not shares:
        return None
    figure, grid = grid_of(1, 2, 9.6, 3.9)
    titles = ("Loss", "Accuracy and F1")
    for axes, series, title in zip(grid, (losses, shares), titles, strict=True):
        for place, (name, points) in enumerate(series.items()):
            color, marker = SERIES[place % len(SERIES)], ""
            if name.startswith("train"):
                color = ORANGE
            if len(points) < 2:  # noqa: PLR2004  (a line needs two ends)
                marker = "o"
            dash = DASHES[place % len(DASHES)]
            axes.plot(
                *zip(*points, strict=True),
                dash,
                color=color,
                marker=marker,
                label=plain(name.replace("_", " ")),
            )
        for epoch in _phase_starts(history):
            axes.axvline(epoch - 0.5, color=MUTED, linewidth=0.8, linestyle=":")
        if title == "Loss" and 0 < WIDE * axes.dataLim.y0 < axes.dataLim.y1:
            axes.set_yscale("log")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        add_legend(axes, "best") if series else axes.set_axis_off()
    return picture_of(figure)


def worst_pictures(evaluation: Evaluation, count: int = 12) -> Image.Image | None:
    """Return the pictures whose true class was thought least probable, with their names.

    None if all are right.
    """
    predictions = evaluation.predictions
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    worst = wrong[np.argsort(predictions.true_outputs[wrong], kind="stable")][:count]
    if not len(worst) or not predictions.paths:
        return None
    rows = math.ceil(len(worst) / SHEET_COLUMNS)
    figure, grid = grid_of(rows, SHEET_COLUMNS, 9.6, 0.5 + 2.95 * rows)
    for axes in grid:
        axes.set_axis_off()
    for axes, index in zip(grid, worst, strict=False):
        axes.imshow(_thumbnail(predictions, index), interpolation="antialiased")
        axes.set_title(_verdict(predictions, int(index)), fontsize=8, loc="left", color=INK)
    figure.suptitle(
        f"The {len(worst)} most wrong of {len(wrong)} wrong predictions", fontsize=11, color=INK
    )
    return picture_of(figure)


def _series(
    history: Sequence[Mapping[str, Any]], endings: tuple[str, ...]
) -> dict[str, list[tuple[float, float]]]:
    series: dict[str, list[tuple[float, float]]] = {}
    for row in history:
        for name, value in row.items():
            if not name.lower().endswith(endings):
                continue
            points = series.setdefault(name, [])
            if value is not None:
                points.append((row["epoch"], value))
    return {name: points for name, points in series.items() if points}


def _phase_starts(history: Sequence[Mapping[str, Any]]) -> Iterable[float]:
    for before, after in pairwise(history):
        if before.get("phase") != after.get("phase"):
            yield float(after["epoch"])


def _draw_reliability(axes: Axes, found: Reliability, words: str, look: Mapping[str, Any]) -> None:
    filled = found.counts > 0
    label = f"{words}: ECE {found.error:.3f}"
    axes.plot(
        found.confidence[filled],
        found.accuracy[filled],
        marker="o",
        markersize=4,
        label=label,
        **look,
    )


def _draw_doubt(axes: Axes, found: Reliability) -> None:
    """Draw Wilson's interval through each bin's accuracy."""
    for at in np.flatnonzero(found.counts):
        ends = wilson(round(found.accuracy[at] * found.counts[at]), int(found.counts[at]))
        axes.plot(
            [found.confidence[at]] * 2, [ends.low, ends.high], color=BLUE, linewidth=0.8, marker="_"
        )


def _color(predictions: Predictions, index: int, place: int) -> RGB:
    """Return a class's colour.

    Of very many classes only those that are shown can have one of their own.
    """
    many = len(predictions.class_names) > len(PALETTE)
    if many:
        return PALETTE[place]
    return predictions.class_colors[index]


def _least_separable(evaluation: Evaluation) -> list[int]:
    """Return the classes that have a curve, in their order.

    Of many the ones with the smallest area.
    """
    areas = []
    for index, name in enumerate(evaluation.predictions.class_names):
        area = evaluation.per_class[name]["AUC"].value
        if area is not None:
            areas.append((area, index))
    return sorted(index for _area, index in sorted(areas)[:SHOWN])


def _with_figure(evaluation: Evaluation, name: str) -> str:
    figure = evaluation.per_class[name]["AUC"]
    if figure.interval is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.interval})"


def _verdict(predictions: Predictions, index: int) -> str:
    true = plain(predictions.class_names[predictions.labels[index]], 14)
    name = predictions.titles[index].rsplit("/", 1)[-1]
    # The end of a file name tells pictures of one patient apart.
    if len(name) > LONGEST:
        name = f"…{name[1 - LONGEST :]}"
    return f"{plain(name)}\nis {true}\nsaid {_called(predictions, index)}"


def _called(predictions: Predictions, index: int) -> str:
    said = predictions.predicted_name(index)
    if not said:
        return "none"
    share = predictions.probabilities[index, predictions.predicted[index]]
    if len(predictions.columns) == 1:
        share = predictions.logits[index, 0]
    return f"{plain(said, 14)} {share:.2f}"


def _thumbnail(predictions: Predictions, index: int) -> NDArray[np.uint8]:
    try:
        return load_pixels(predictions.paths[index], THUMB_PX, seen=predictions.seen)
    except DataSetError:  # gone since it was classified
        return np.full((THUMB_PX, THUMB_PX, 3), 230, np.uint8)


def _line(color: RGB, place: int) -> dict[str, Any]:
    """Return a line seen on white even in yellow, and unlike others even without colour."""
    outline = [
        Stroke(linewidth=2.8, foreground=MUTED),
        Stroke(linewidth=2.0, foreground=as_hex(color)),
    ]
    return {
        "color": as_hex(color),
        "linewidth": 2.0,
        "linestyle": DASHES[place % 4],
        "path_effects": outline,
    }
