"""A network in two halves is the network, whatever its family; its end shares its weights."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from slidecam.errors import RecipeError
from slidecam.learning.training.cutting import cut_network
from slidecam.models.networks import DALAResNet50, DenseHead, PocketResNet

CUTS = [
    ("mobilenetv2_100", "blocks.4"),
    ("mobilenetv2_100", "blocks.2.1"),
    ("mobilenetv2_100", "conv_head"),
    ("mobilenetv2_100", "classifier"),
    ("efficientnet_b0", "blocks.5"),
    ("mobilenetv3_small_050", "blocks.3"),
    ("resnet18", "layer4"),
    ("resnet18", "layer3.1"),
    ("densenet121", "features.denseblock4"),
    ("densenet121", "features.norm5"),
    ("convnext_atto", "stages.2"),
    ("regnetx_002", "s3"),
]


def network_of(name: str) -> nn.Module:
    torch.manual_seed(1)
    network: nn.Module = timm.create_model(name, num_classes=3)
    with torch.no_grad():
        network.train()(torch.rand(4, 3, 64, 64))  # batch norms with statistics of their own
    return network.eval()


def probe() -> torch.Tensor:
    return torch.rand((3, 3, 64, 64), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "cut"), CUTS)
def test_the_halves_make_up_the_network(name: str, cut: str) -> None:
    network, pixels = network_of(name), probe()
    halves = cut_network(network, cut, pixels[:2])
    with torch.no_grad():
        logits = halves.end(halves.beginning(pixels))
        expected = network(pixels)
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_our_own_networks_can_be_cut_inside_their_backbone() -> None:
    pixels = probe()
    for network, cut in (
        (PocketResNet(3, widths=(8, 12, 16)), "stages.1"),
        (DenseHead(3, "test_efficientnet"), "backbone.blocks.2"),
        (DALAResNet50(3), "backbone.layer4"),
    ):
        halves = cut_network(network.eval(), cut, pixels[:2])
        with torch.no_grad():
            assert torch.allclose(halves.end(halves.beginning(pixels)), network(pixels), atol=1e-4)


def test_training_the_end_is_training_the_network() -> None:
    network, pixels = network_of("resnet18"), probe()
    twin = copy.deepcopy(network)
    halves = cut_network(network, "layer4", pixels[:2])
    labels = torch.tensor([0, 1, 2])
    for model, given in ((halves.end, halves.beginning(pixels)), (twin, pixels)):
        model.train()
        for layer in (twin.get_submodule(name) for name in ("bn1", "layer1", "layer2", "layer3")):
            layer.eval()
        free = [p for name, p in model.named_parameters() if name.startswith(("layer4", "fc"))]
        step = torch.optim.SGD(free, lr=0.1)
        torch.autograd.backward(cross_entropy(model(given), labels))
        step.step()
    for name, value in twin.state_dict().items():
        if name.startswith(("layer4", "fc")):
            assert torch.allclose(network.state_dict()[name].float(), value.float(), atol=1e-4), (
                name
            )


def test_the_end_holds_the_network_s_own_tensors_and_no_others() -> None:
    network = network_of("resnet18")
    end = cut_network(network, "layer4", probe()[:2]).end
    own = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
    assert {id(tensor) for tensor in (*end.parameters(), *end.buffers())} < own
    assert not [
        name for name, _tensor in end.named_parameters() if name.startswith(("conv1", "layer3"))
    ]


def test_cutting_leaves_no_trace_in_the_network() -> None:
    network, pixels = network_of("test_resnet"), probe()
    before, flags = network(pixels), [p.requires_grad for p in network.parameters()]
    cut_network(network, "layer3", pixels)
    assert torch.equal(network(pixels), before)
    assert [p.requires_grad for p in network.parameters()] == flags
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in network.modules()
    )


def test_digests_tell_beginnings_apart_and_not_ends() -> None:
    network, pixels = network_of("test_resnet"), probe()
    digest = cut_network(network, "layer3", pixels).digest
    with torch.no_grad():
        network.get_parameter("fc.weight").add_(1)
    assert cut_network(network, "layer3", pixels).digest == digest
    assert cut_network(network, "layer2", pixels).digest != digest
    with torch.no_grad():
        network.get_parameter("conv1.0.weight").add_(1)
    assert cut_network(network, "layer3", pixels).digest != digest


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ("layer5", "Names like it are layer"),
        ("", "no such layer"),
        ("layer3.0.conv2", "no chain of layers"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(cut: str, words: str) -> None:
    with pytest.raises(RecipeError, match=r"features\.cut") as caught:
        cut_network(network_of("resnet18"), cut, probe())
    assert words in str(caught.value)


def test_a_layer_that_takes_more_than_a_tensor_is_refused() -> None:
    with pytest.raises(RecipeError, match="not given one tensor"):
        cut_network(network_of("densenet121"), "features.denseblock2.denselayer3", probe())


def test_a_layer_that_never_runs_is_refused() -> None:
    network = PocketResNet(3, widths=(8, 12))
    network.spare = nn.Linear(3, 3)
    with pytest.raises(RecipeError, match="does not run"):
        cut_network(network.eval(), "spare", probe())
