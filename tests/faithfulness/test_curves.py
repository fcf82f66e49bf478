"""Deletion and insertion: areas that are known beforehand, and RISE's own way of counting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from slidecam.errors import UsageError
from slidecam.faithfulness.curves import Curve, CurveSpec, curves
from slidecam.faithfulness.perturbation import ClassScorer, run_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from slidecam.models import Classifier

EDGE = 28


class SwitchedOn(nn.Module):
    """Sure of its class as long as one pixel is bright, sure of the contrary otherwise."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return 100 * torch.sign(pixels[:, :1, 3, 5] - 0.5)


def both(
    classifier: Classifier, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], steps: int
) -> tuple[Curve, Curve]:
    """Return the curves of a bright picture on a dark baseline."""
    picture, baseline = torch.ones(3, EDGE, EDGE), torch.zeros(3, EDGE, EDGE)
    (found,) = run_all(ClassScorer(classifier, 0), [curves(picture, baseline, values, steps)])
    return found


def test_a_step_models_areas_are_known(make_classifier: Callable[..., Classifier]) -> None:
    classifier = make_classifier(SwitchedOn(), "sigmoid")
    knows, contrary = np.zeros((EDGE, EDGE), np.float32), np.zeros((EDGE, EDGE), np.float32)
    knows[3, 5], contrary[3, 5] = 1, -1
    deletion, insertion = both(classifier, knows, 28)
    # Gone, or there, after the first of 28 steps: the trapezoid's half of it is all that is left of
    # the area.
    assert deletion.auc == pytest.approx(0.5 / 28)
    assert insertion.auc == pytest.approx(1 - 0.5 / 28)
    deletion, insertion = both(classifier, contrary, 28)
    assert deletion.auc == pytest.approx(1 - 0.5 / 28)
    assert insertion.auc == pytest.approx(0.5 / 28)


def test_among_equals_pixels_go_row_by_row(make_classifier: Callable[..., Classifier]) -> None:
    deletion, insertion = both(
        make_classifier(SwitchedOn(), "sigmoid"), np.zeros((EDGE, EDGE), np.float32), 28
    )
    # 28 steps of 28 rows: the pixel of row 3 goes in the fourth.
    assert deletion.auc == pytest.approx(3.5 / 28)
    assert insertion.auc == pytest.approx(1 - 3.5 / 28)


def test_a_linear_models_areas_are_those_of_the_sorted_sum(
    make_classifier: Callable[..., Classifier],
    linear: Callable[..., nn.Module],
    tiles: Callable[..., torch.Tensor],
    picture_of: Callable[..., torch.Tensor],
) -> None:
    classifier = make_classifier(linear())
    picture = picture_of(classifier, tiles(1))
    gains = (picture * next(classifier.network.parameters())[0]).sum(0).numpy().astype(np.float64)
    (found,) = run_all(
        ClassScorer(classifier, 0),
        [curves(picture, torch.zeros_like(picture), gains.astype(np.float32), 49)],
    )
    lost = np.concatenate([[0], np.cumsum(np.sort(gains.ravel())[::-1])])[:: EDGE * EDGE // 49]
    np.testing.assert_allclose(found[0].values, gains.sum() - lost, atol=1e-4)
    np.testing.assert_allclose(found[1].values, lost, atol=1e-4)


def test_curves_equal_rises_own_loop(
    make_classifier: Callable[..., Classifier], linear: Callable[..., nn.Module],
    tiles: Callable[..., torch.Tensor],
    picture_of: Callable[..., torch.Tensor],
) -> None:  # fmt: skip
    classifier = make_classifier(linear(classes=3), "softmax", classes=3)
    picture = picture_of(classifier, tiles(1))
    baseline = torch.full_like(picture, 0.3)
    values = np.random.default_rng(0).random((EDGE, EDGE), np.float32)
    (found,) = run_all(ClassScorer(classifier, 1), [curves(picture, baseline, values, "rise")])
    for curve, start, finish in ((found[0], picture, baseline), (found[1], baseline, picture)):
        expected = rise(classifier, start, finish, values)
        np.testing.assert_allclose(curve.values, expected, atol=1e-6)
        # RISE's area: the sum without half of both ends, over the number of steps.
        area = (expected.sum() - expected[0] / 2 - expected[-1] / 2) / (len(expected) - 1)
        assert curve.auc == pytest.approx(area)


def rise(
    classifier: Classifier,
    start: torch.Tensor,
    finish: torch.Tensor,
    values: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Change a row's worth of pixels at a time, each picture made from the one before.

    RISE's code does the same.
    """
    current, said = start.clone(), []
    order = np.argsort(-values.ravel(), kind="stable")
    for step in range(EDGE + 1):
        logits = classifier.run_normalised(current[None], gradients=False).logits
        said.append(float(logits.softmax(1)[0, 1]))
        for place in order[EDGE * step : EDGE * (step + 1)]:
            current[:, place // EDGE, place % EDGE] = finish[:, place // EDGE, place % EDGE]
    return np.asarray(said)


def test_more_steps_than_pixels_are_as_many_as_pixels() -> None:
    picture = torch.zeros(3, 2, 2)
    perturbation = curves(picture, picture, np.zeros((2, 2), np.float32), 28)
    assert perturbation.count == len(list(perturbation.pictures)) == 8


def test_the_spec_refuses_what_cannot_be_drawn() -> None:
    with pytest.raises(UsageError, match=r"'grey'.*zero, blur"):
        CurveSpec(baselines=("zero", "grey"))
    with pytest.raises(UsageError, match="0 steps"):
        CurveSpec(steps=0)
