from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from slidecam.errors import RecipeError
from slidecam.learning.recipes.tables import TrainSpec
from slidecam.learning.training.optimisation import (
    WeightAverage,
    head_names,
    optimizer_for,
    plateau_share,
    rate_at,
    set_modes,
    set_rate,
    swap_weights,
    unfreeze,
)
from slidecam.models.networks import DenseHead, PocketResNet, SimpleCNN


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
