"""Losses against torch's, and against sums written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from slidecam.learning.recipes.tables import TrainSpec
from slidecam.learning.training.losses import Loss, loss_for, mix_up, soft_targets

LABELS = torch.tensor([0, 2, 1, 2, 2])


def logits() -> torch.Tensor:
    return torch.randn((5, 3), generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 3.0, 1.0])])
def test_cross_entropy_is_torch_s(weights: torch.Tensor | None) -> None:
    ours = Loss(weights=weights)(logits(), soft_targets(LABELS, 3))
    assert torch.allclose(ours, cross_entropy(logits(), LABELS, weight=weights))


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_labels_are_torch_s(smoothing: float) -> None:
    ours = Loss(smoothing=smoothing)(logits(), soft_targets(LABELS, 3))
    assert torch.allclose(ours, cross_entropy(logits(), LABELS, label_smoothing=smoothing))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_is_the_paper_s_sum(gamma: float) -> None:
    weights = [0.5, 1.0, 2.0]
    total = normaliser = 0.0
    for row, label in zip(logits().tolist(), LABELS.tolist(), strict=True):
        p = math.exp(row[label]) / sum(map(math.exp, row))
        total -= weights[label] * (1 - p) ** gamma * math.log(p)
        normaliser += weights[label]
    ours = Loss(gamma, weights=torch.tensor(weights))(logits(), soft_targets(LABELS, 3))
    assert ours.item() == pytest.approx(total / normaliser, rel=1e-5)


def test_focal_loss_of_what_is_certain_has_a_finite_gradient() -> None:
    sure = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(Loss(0.5)(sure, soft_targets(torch.tensor([0]), 3)), sure)
    assert gradient.isfinite().all()


def test_a_recipe_s_loss_weighs_rare_classes() -> None:
    loss = loss_for(TrainSpec(balance="weights", loss="focal", focal_gamma=1.5), LABELS, 3)
    assert loss.gamma == 1.5
    assert loss.weights is not None
    assert torch.allclose(loss.weights, torch.tensor([5 / 3, 5 / 3, 5 / 9]))
    assert loss_for(TrainSpec(), LABELS, 3) == Loss()


def test_mixing_keeps_a_picture_and_its_target_together() -> None:
    pixels = torch.eye(4)
    mixed, targets = mix_up(pixels, torch.eye(4), 1.0, torch.Generator().manual_seed(2))
    assert torch.equal(mixed, targets)
    assert torch.allclose(targets.sum(1), torch.ones(4))
    assert not torch.equal(mixed, pixels)


def test_mixing_is_drawn_from_its_generator_alone() -> None:
    pixels = torch.rand(4, 3)
    first, second = (
        mix_up(pixels, torch.eye(4), 0.4, torch.Generator().manual_seed(5))[0] for _time in range(2)
    )
    assert torch.equal(first, second)
