"""What is frozen stays still to the last bit, and what is named is trained."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from slidecam.errors import RecipeError
from slidecam.learning.training.unfreezing import head_names, set_modes, unfreeze
from slidecam.models.dense_head import DenseHead
from slidecam.models.pocket_resnet import PocketResNet
from slidecam.models.simple_cnn import SimpleCNN


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
