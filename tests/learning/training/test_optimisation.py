from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn.functional import cross_entropy

from slidecam.errors import RecipeError
from slidecam.learning.recipes.tables import TrainSpec
from slidecam.learning.training.optimisation import (
    Loss,
    WeightAverage,
    class_weights,
    head_names,
    loss_for,
    mix_up,
    optimizer_for,
    oversampled,
    plateau_share,
    rate_at,
    set_modes,
    set_rate,
    shuffled,
    soft_targets,
    swap_weights,
    unfreeze,
)
from slidecam.models.networks import DenseHead, PocketResNet, SimpleCNN

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


def made(name: str) -> nn.Module:
    network: nn.Module = timm.create_model(name, num_classes=3)
    return network


def test_layers_are_named_with_all_below_them() -> None:
    network = made("resnet18")
    names = unfreeze(network, ("layer4", "fc"))
    assert {name.split(".")[0] for name in names} == {"layer4", "fc"}
    assert [n for n, p in network.named_parameters() if p.requires_grad] == list(names)
    assert "layer4.1.bn2.weight" in names


def test_a_name_is_whole_and_no_beginning_of_another() -> None:
    network = made("efficientnet_b4")
    assert not any(name.startswith("blocks.2") for name in unfreeze(network, ("blocks.1",)))


def test_all_and_then_less_is_less() -> None:
    network = made("test_resnet")
    assert len(unfreeze(network, "all")) == len(list(network.parameters()))
    assert unfreeze(network, "head") == ("fc.weight", "fc.bias")


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (PocketResNet(3, widths=(8, 12)), {"fc"}),
        (SimpleCNN(3, input_px=32), {"classifier.4"}),
        (DenseHead(3, "test_efficientnet"), {"head.0", "head.3"}),
        (timm.create_model("densenet121", num_classes=3), {"classifier"}),
        (timm.create_model("mobilenetv2_100", num_classes=3), {"classifier"}),
        (timm.create_model("test_vit", num_classes=3), {"head"}),
    ],
)
def test_the_head_is_found(network: nn.Module, expected: set[str]) -> None:
    assert {name.rpartition(".")[0] for name in head_names(network)} == expected


def test_the_last_layers_are_counted_by_their_weights() -> None:
    network = DenseHead(4, "efficientnet_b4")
    names = unfreeze(network, 30)
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    assert len(layers) == 30
    assert layers[-4:] == ["backbone.conv_head", "backbone.bn2", "head.0", "head.3"]
    # Both blocks of the last stage, of eight such layers each, and ten of the stage before.
    assert [name.split(".")[2] for name in layers[:26]] == ["5"] * 10 + ["6"] * 16


@pytest.mark.parametrize("name", ["layer5", "act1"])
def test_a_layer_without_weights_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=name):
        unfreeze(made("resnet18"), (name,))


def test_what_is_frozen_keeps_its_statistics_while_the_rest_trains() -> None:
    network = made("resnet18")
    unfreeze(network, ("layer4", "fc"))
    set_modes(network, "train")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.rand(2, 3, 64, 64))
    changed = {
        name for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed
    assert all(name.startswith("layer4") for name in changed)


def test_batch_norms_can_be_kept_still_everywhere() -> None:
    network = made("resnet18")
    unfreeze(network, "all")
    set_modes(network, "eval")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.get_submodule("layer1").training


def test_the_frozen_part_drops_nothing_and_the_head_does() -> None:
    network = made("efficientnet_b0")
    unfreeze(network, "head")
    set_modes(network, "train")
    assert not any(module.training for module in network.get_submodule("blocks").modules())
    assert network.training


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
    before = swap_weights(network, {"weight": torch.ones(2, 2)})
    assert torch.equal(network.weight, torch.ones(2, 2))
    swap_weights(network, before)
    assert torch.equal(network.weight, own)


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


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_plateau_lowers_the_rate_as_torch_s_scheduler_does(every: int) -> None:
    spec = TrainSpec(schedule="plateau", schedule_every=every, schedule_factor=0.3)
    losses = [0.91, 0.83, 0.84, 0.83, 0.82995, 0.79, 0.8, 0.81, 0.82, 0.83, 0.61, 0.62, 0.63]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    # Keras, whose count this is, waits for so many epochs, torch for more than so many.
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.3, patience=every - 1, threshold=1e-4, threshold_mode="abs", eps=0.0
    )
    for count, loss in enumerate(losses, 1):
        scheduler.step(loss)
        rate = optimizer.param_groups[0]["lr"]
        assert plateau_share(spec, losses[:count]) == pytest.approx(rate), count
    assert plateau_share(TrainSpec(schedule="cosine"), losses) == 1
    assert plateau_share(spec, []) == 1
