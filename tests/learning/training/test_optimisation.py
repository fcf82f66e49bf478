"""Learning rates against torch's schedulers, averages against sums, groups against the recipe."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slidecam.learning.recipes.tables import TrainSpec
from slidecam.learning.training.optimisation import (
    WeightAverage,
    optimizer_for,
    put_in,
    rate_at,
    set_rate,
)
from slidecam.models.pocket_resnet import PocketResNet


def test_steps_are_torch_s() -> None:
    spec = TrainSpec(schedule="step", schedule_every=7, schedule_factor=0.1)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.1)
    for epoch in range(20):
        assert rate_at(spec, epoch + 0.5) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_the_cosine_is_torch_s() -> None:
    spec = TrainSpec(epochs=10, schedule="cosine", schedule_factor=0.2)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10, eta_min=0.2)
    for epoch in range(11):
        assert rate_at(spec, epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_the_rate_rises_while_it_warms_up_and_then_follows_its_schedule() -> None:
    spec = TrainSpec(epochs=6, schedule="cosine", schedule_factor=0.0, warmup=2.0)
    rates = [rate_at(spec, epochs) for epochs in (0, 1, 2, 4, 6)]
    assert rates == pytest.approx([1e-3, 0.5, 1.0, 0.5, 0.0])
    assert rate_at(TrainSpec(), 100) == 1


@pytest.mark.parametrize("name", ["adam", "adamw", "adamax", "sgd"])
def test_the_head_learns_at_its_own_rate(name: str) -> None:
    network = PocketResNet(3, widths=(8, 12))
    spec = TrainSpec(optimizer=name, lr=0.1, head_factor=5.0, weight_decay=0.01, momentum=0.8)  # type: ignore[arg-type]
    optimizer = optimizer_for(network, spec)
    assert type(optimizer).__name__.lower() == name
    body, head = optimizer.param_groups
    assert [p.shape for p in head["params"]] == [(3, 12), (3,)]
    set_rate(optimizer, 0.5)
    assert (body["lr"], head["lr"], body["weight_decay"]) == pytest.approx((0.05, 0.25, 0.01))
    if name == "sgd":
        assert body["momentum"] == 0.8


def test_what_is_frozen_is_in_no_group() -> None:
    network = PocketResNet(3, widths=(8, 12)).requires_grad_(requires_grad=False)
    network.fc.requires_grad_(requires_grad=True)
    (only,) = optimizer_for(network, TrainSpec()).param_groups
    assert len(only["params"]) == 2


def test_the_average_is_the_sum_written_out() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = WeightAverage(0.5)
    expected = 0.0
    for step, value in enumerate([2.0, 4.0, 8.0, -1.0], 1):
        with torch.no_grad():
            network.weight.fill_(value)
        average.follow(network)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = value if step == 1 else keep * expected + (1 - keep) * value
    assert average.weights["weight"].item() == pytest.approx(expected)


def test_weights_that_are_put_in_give_back_what_they_replaced() -> None:
    network = nn.Linear(2, 2)
    own = network.weight.detach().clone()
    before = put_in(network, {"weight": torch.ones(2, 2)})
    assert torch.equal(network.weight, torch.ones(2, 2))
    put_in(network, before)
    assert torch.equal(network.weight, own)
