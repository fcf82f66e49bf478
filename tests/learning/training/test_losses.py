from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy

from slidecam.learning.recipes.tables import TrainSpec
from slidecam.learning.training.losses import (
    Loss,
    class_weights,
    log_shares,
    loss_for,
    mix_up,
    oversampled,
    shuffled,
    soft_targets,
)

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


@pytest.mark.parametrize("strength", [0.37, 1.0])
def test_the_loss_sees_logits_with_the_log_shares_of_the_classes_added(strength: float) -> None:
    loss = loss_for(TrainSpec(balance="prior", balance_strength=strength), LABELS, 3)
    shares = torch.tensor([1 / 5, 1 / 5, 3 / 5])
    expected = cross_entropy(logits() + strength * shares.log(), LABELS)
    ours = loss(logits(), soft_targets(LABELS, 3))
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_class_without_pictures_has_a_finite_log_share() -> None:
    assert log_shares(torch.tensor([0, 0, 2]), 3).exp().tolist() == pytest.approx(
        [2 / 3, 1 / 3, 1 / 3]
    )


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


UNEVEN = torch.tensor([0] * 10 + [1] * 3 + [3] * 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_weights_are_scikit_learns_balanced_ones() -> None:
    labels = UNEVEN[UNEVEN != 3]
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels.numpy())
    np.testing.assert_allclose(class_weights(labels, 2).numpy(), expected, rtol=1e-6)


def test_a_class_without_pictures_weighs_nothing_and_the_mean_weight_is_one() -> None:
    weights = class_weights(UNEVEN, 5)
    assert weights[[2, 4]].tolist() == [0, 0]
    assert torch.isclose(weights[UNEVEN].mean(), torch.tensor(1.0))


def test_an_oversampled_epoch_has_every_class_as_often_as_the_largest() -> None:
    rows = oversampled(UNEVEN, seeded())
    assert torch.bincount(UNEVEN[rows]).tolist() == [10, 10, 0, 10]
    times = torch.bincount(rows)
    assert times[:10].tolist() == [1] * 10
    assert sorted(times[10:13].tolist()) == [3, 3, 4]
    assert sorted(times[13:].tolist()) == [2, 2, 3, 3]


def test_the_generator_alone_decides_and_moves_on() -> None:
    torch.manual_seed(1)
    used = seeded()
    first, second = oversampled(UNEVEN, used), oversampled(UNEVEN, used)
    torch.manual_seed(2)
    assert torch.equal(first, oversampled(UNEVEN, seeded()))
    assert not torch.equal(first, second)
    assert not torch.equal(first.sort().values, first)


def test_a_shuffled_epoch_has_every_picture_once() -> None:
    rows = shuffled(50, seeded(3))
    assert rows.sort().values.tolist() == list(range(50))
    assert torch.equal(rows, shuffled(50, seeded(3)))
    assert not torch.equal(rows, shuffled(50, seeded(4)))
