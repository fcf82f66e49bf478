"""Figures show what they should for two classes and for thirty.

They are left out where there is nothing to show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from slidecam.drawing.pen import LONGEST, plain
from slidecam.learning.cells.protocols import scatter_figure
from slidecam.learning.evaluation import plots as figures
from slidecam.learning.evaluation.evaluation import EvaluationSpec, evaluate_predictions
from slidecam.learning.evaluation.plots import (
    confusion_figure,
    learning_curve,
    probability_figure,
    reliability_figure,
    roc_figure,
    worst_pictures,
)
from slidecam.learning.intervals import IntervalSpec
from slidecam.learning.predictions import Predictions

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.learning.evaluation.evaluation import Evaluation


def evaluation(classes: int = 3, count: int = 90, **changes: Any) -> Evaluation:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), labels] += 1.5
    names = tuple(f"class number {index}" for index in range(classes))
    made = Predictions(labels, logits, names, **changes)
    return evaluate_predictions(made, EvaluationSpec(intervals=IntervalSpec(20)))


def ink(picture: Image.Image | None) -> NDArray[np.bool_]:
    """Return which pixels are not white."""
    assert picture is not None
    return np.asarray(np.asarray(picture).min(axis=2) < 250)


@pytest.mark.parametrize("classes", [2, 30])
def test_every_figure_is_drawn_whole_and_nothing_touches_its_edges(classes: int) -> None:
    found = evaluation(classes, temperature=1.5)
    for draw in (confusion_figure, roc_figure, reliability_figure, probability_figure):
        marks = ink(draw(found))
        assert 0.01 < marks.mean() < 0.9, draw.__name__
        for side in (marks[0], marks[-1], marks[:, 0], marks[:, -1]):
            assert not side.any(), draw.__name__


def test_the_legend_of_probabilities_lies_beside_the_bars_and_no_bar_hides_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figures, "picture_of", lambda figure: figure)
    drawn: Any = probability_figure(evaluation(3))
    drawn.canvas.draw()
    for axes in drawn.axes[:3]:
        legend = axes.get_legend()
        assert legend.get_window_extent().y0 >= axes.get_window_extent().y1
        filled = {
            text.get_text(): patch.get_fill()
            for text, patch in zip(legend.texts, legend.get_patches(), strict=True)
        }
        assert filled == {"true": True, "other classes": False}


def test_a_right_prediction_is_a_dark_diagonal() -> None:
    labels = np.arange(30) % 3
    made = Predictions(labels, np.eye(3)[labels] * 9, ("a", "b", "c"))
    marks = np.asarray(
        confusion_figure(evaluate_predictions(made, EvaluationSpec(intervals=IntervalSpec(20))))
    )
    dark = (marks < 100).all(axis=2) | ((marks[..., 0] < 30) & (marks[..., 2] < 120))
    assert 0.1 < dark.mean() < 0.3


def test_calibration_draws_a_second_curve() -> None:
    one, both = (
        np.asarray(reliability_figure(evaluation(temperature=t))).astype(int) for t in (1.0, 2.0)
    )
    orange = [((each[..., 0] > 190) & (each[..., 2] < 60)).sum() for each in (one, both)]
    assert orange[0] == 0
    assert orange[1] > 200


def test_scores_have_no_reliability_and_one_class_has_no_curve() -> None:
    assert reliability_figure(evaluation(activation="none")) is None
    assert probability_figure(evaluation(activation="none")).width > 500
    made = Predictions(np.zeros(5, np.int64), np.zeros((5, 2)), ("a", "b"))
    assert (
        roc_figure(evaluate_predictions(made, EvaluationSpec(intervals=IntervalSpec(20)))) is None
    )


def test_a_learning_curve_needs_a_history() -> None:
    assert learning_curve([]) is None
    assert learning_curve([{"epoch": 1, "seconds": 3}]) is None
    assert ink(learning_curve([{"epoch": 1, "phase": 0, "train_loss": 0.5}])).any()


def test_a_new_phase_is_marked() -> None:
    rows = [
        {"epoch": epoch, "phase": 0, "train_loss": 1 / epoch, "val_accuracy": 0.5}
        for epoch in (1, 2, 3)
    ]
    one, two = learning_curve(rows), learning_curve([*rows[:2], {**rows[2], "phase": 1}])
    assert ink(two).sum() > ink(one).sum() + 100


def test_the_most_wrong_picture_comes_first(tmp_path: Path) -> None:
    colors = ["red", "lime", "blue"]
    for color in colors:
        Image.new("RGB", (30, 30), color).save(tmp_path / f"{color}.png")
    paths = tuple(tmp_path / f"{color}.png" for color in colors)
    logits = np.array([[1.0, 0.0], [0.0, 5.0], [0.0, 1.0]])  # right, quite wrong, wrong
    made = Predictions(
        np.zeros(3, np.int64), logits, ("a", "b"), tuple(path.name for path in paths), paths=paths
    )
    sheet = worst_pictures(evaluate_predictions(made, EvaluationSpec(intervals=IntervalSpec(20))))
    assert sheet is not None
    pixels = np.asarray(sheet).astype(int)
    red, lime, blue = (
        (pixels == np.array(rgb)).all(axis=2) for rgb in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    )
    assert not red.any()
    assert lime.nonzero()[1].mean() < blue.nonzero()[1].mean()
    assert lime.sum() > 20_000


def test_nothing_wrong_has_no_sheet_and_a_picture_that_is_gone_is_grey(tmp_path: Path) -> None:
    labels = np.array([0, 1])
    gone = (tmp_path / "gone.png",) * 2
    right, wrong = (
        evaluate_predictions(
            Predictions(labels, sign * np.eye(2), ("a", "b"), ("x", "y"), paths=gone),
            EvaluationSpec(intervals=IntervalSpec(20)),
        )
        for sign in (1, -1)
    )
    assert worst_pictures(right) is None
    sheet = worst_pictures(wrong)
    assert ((np.asarray(sheet) == 230).all(axis=2)).sum() > 20_000


def test_points_of_each_class_have_their_colour() -> None:
    points = np.random.default_rng(0).normal(size=(200, 2))
    picture = np.asarray(
        scatter_figure(points, np.arange(200) % 2, ("a", "b"), ((0, 114, 178), (213, 94, 0)))
    )
    for color in ((0, 114, 178), (213, 94, 0)):
        assert (picture == color).all(axis=2).sum() > 500


def test_words_are_drawn_as_they_are() -> None:
    assert plain("$5") == r"\$5"
    assert plain("白") == "\N{WHITE SQUARE}"
    assert plain("x" * 100) == "x" * (LONGEST - 1) + "…"
