"""The two halves: equal to the whole, without traces, on either backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from slidecam.errors import CardError, DeviceError, ExplanationError
from slidecam.models import classifier_for, open_bundle
from slidecam.models.architectures import build_network
from slidecam.models.backends import choose_device
from slidecam.models.classifier import normalised

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.conftest import MakeBundle, MakeCard


CPU = torch.device("cpu")
BACKENDS = ("eager", "folded")


def tiles(count: int = 2, edge: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, edge, edge, 3), dtype=torch.uint8, generator=generator)


class Gather(nn.Module):
    """A network without halves, whose code computes in place right behind its map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=4)
        self.norm = nn.BatchNorm2d(6)
        self.features = nn.Sequential(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8))
        self.fc = nn.Linear(8, 3)
        self.unused = nn.Conv2d(3, 3, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.features(self.norm(self.conv(pixels)).relu_())
        logits: torch.Tensor = self.fc(features.relu_().mean((2, 3)))
        return logits


@pytest.fixture
def gather(lively: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return lively(Gather()).eval()


def test_pixels_are_normalised_as_torchvision_does(make_card: MakeCard) -> None:
    card = make_card()
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 16, 16, 3)
    theirs = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(card.mean, card.std)])
    torch.testing.assert_close(
        normalised(pixels, card), theirs(pixels.permute(0, 3, 1, 2)), rtol=0, atol=1e-6
    )


def test_pixels_stay_as_they_lie_and_are_not_changed(make_card: MakeCard) -> None:
    pixels = tiles()
    before = pixels.clone()
    assert normalised(pixels, make_card()).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_named_layer_splits_a_network_without_halves(
    gather: nn.Module, make_card: MakeCard, backend: str
) -> None:
    card = make_card(split="features")
    classifier = classifier_for(gather, card, CPU, backend=backend)
    passed = classifier.run(tiles(), gradients=True)
    with torch.no_grad():
        expected = gather(normalised(tiles(), card))
    torch.testing.assert_close(passed.logits.detach(), expected, rtol=0, atol=1e-5)
    assert passed.activation is not None
    assert passed.activation.shape == (2, 8, 6, 6)
    assert passed.activation.min() < 0, (
        "the map is the layer's, before what follows computed in place"
    )
    (gradient,) = torch.autograd.grad(passed.logits[:, 1].sum(), passed.activation)
    weight = gather.get_parameter("fc.weight")[1].detach()
    exact = (passed.activation.detach() > 0) * weight[:, None, None] / 36
    torch.testing.assert_close(gradient, exact)


@pytest.mark.parametrize("split", [None, "features"])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_users_network_keeps_no_trace(
    gather: nn.Module, make_card: MakeCard, split: str | None, *, frozen: bool
) -> None:
    gather.train().requires_grad_(not frozen)
    before = {name: value.clone() for name, value in gather.state_dict().items()}
    state = torch.get_rng_state()
    classifier = classifier_for(gather, make_card(split=split), CPU)
    classifier.run(tiles(), gradients=split is not None)
    assert gather.training
    assert all(module.training for module in gather.modules())
    assert all(p.requires_grad is not frozen and p.grad is None for p in gather.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in gather.modules()
    )
    assert all(torch.equal(value, before[name]) for name, value in gather.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_the_hook_is_gone_after_a_pass_that_fails(gather: nn.Module, make_card: MakeCard) -> None:
    classifier = classifier_for(gather, make_card(split="features"), CPU)
    network: Any = classifier.split
    with pytest.raises(RuntimeError):
        classifier.run(torch.zeros(1, 4, 4, 3, dtype=torch.uint8), gradients=True)
    assert not network.layer._forward_hooks
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_a_pass_works_inside_no_grad_and_leaves_it_so(
    gather: nn.Module, make_card: MakeCard
) -> None:
    for split in ("features", None):
        network = gather if split else build_network("slidecam/pocket_resnet", {}, 3, None)  # type: ignore[arg-type]
        classifier = classifier_for(network, make_card(split=split), CPU)
        with torch.no_grad():
            assert classifier.run(tiles(), gradients=True).logits.requires_grad
            assert not torch.is_grad_enabled()


def test_nothing_but_the_map_requires_gradients(gather: nn.Module, make_card: MakeCard) -> None:
    classifier = classifier_for(gather, make_card(split="features"), CPU)
    passed = classifier.run(tiles(), gradients=True)
    passed.logits.sum().backward()  # type: ignore[no-untyped-call]
    network: Any = classifier.split
    assert passed.activation is not None
    assert passed.activation.grad is not None
    assert all(parameter.grad is None for parameter in network.network.parameters())


def test_folding_folds_every_pair_and_says_how_many(gather: nn.Module, make_card: MakeCard) -> None:
    classifier = classifier_for(gather, make_card(split="features"), CPU)
    assert classifier.backend == "torch, 2 batch norms folded, channels last, fp32"
    assert sum(isinstance(m, nn.BatchNorm2d) for m in classifier.split.network.modules()) == 0  # type: ignore[attr-defined]
    assert classifier_for(gather, make_card(), CPU, backend="eager").backend == "torch, eager, fp32"


def test_a_layer_that_is_looked_at_is_not_folded_away(
    gather: nn.Module, make_card: MakeCard
) -> None:
    eager = classifier_for(gather, make_card(split="features.0"), CPU, backend="eager")
    folded = classifier_for(gather, make_card(split="features.0"), CPU)
    assert folded.backend.startswith("torch, 1 batch norms folded")
    theirs, ours = (c.run(tiles(), gradients=False).activation for c in (eager, folded))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_network_of_neither_halves_nor_split_runs_whole(
    gather: nn.Module, make_card: MakeCard
) -> None:
    classifier = classifier_for(gather, make_card(), CPU)
    assert not classifier.has_map
    assert classifier.run(tiles(), gradients=False).activation is None
    with pytest.raises(ExplanationError, match="no activation map"):
        classifier.run(tiles(), gradients=True)


class Twisted(Gather):
    """Halves that are not the whole."""

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.features(self.norm(self.conv(pixels)))
        return features

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(features.mean((2, 3)))
        return logits


def test_halves_that_do_not_add_up_are_not_used(
    lively: Callable[[nn.Module], nn.Module], make_card: MakeCard
) -> None:
    network = lively(Twisted()).eval()
    classifier = classifier_for(network, make_card(), CPU)
    assert not classifier.has_map
    assert classifier.backend == "torch, eager, not split, fp32"
    with torch.no_grad():
        expected = network(normalised(tiles(), make_card()))
    torch.testing.assert_close(
        classifier.run(tiles(), gradients=False).logits, expected, rtol=0, atol=1e-5
    )


class Shared(nn.Module):
    """Two traps: a convolution's result that is used twice, and a pair that is called twice."""

    def __init__(self, trap: str) -> None:
        super().__init__()
        self.trap = trap
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 3)

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        convolved = self.conv(pixels)
        normed: torch.Tensor = self.norm(convolved)
        if self.trap == "used twice":
            normed = normed + convolved
        again: torch.Tensor = (
            self.norm(self.conv(normed)) if self.trap == "called twice" else normed
        )
        return again

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(features.relu().mean((2, 3)))
        return logits

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(pixels))


@pytest.mark.parametrize(("trap", "folds"), [("none", 1), ("used twice", 0), ("called twice", 0)])
def test_only_pairs_that_nothing_else_looks_at_are_folded(
    lively: Callable[[nn.Module], nn.Module], make_card: MakeCard, trap: str, folds: int
) -> None:
    network = lively(Shared(trap)).eval()
    classifier = classifier_for(network, make_card(), CPU)
    assert classifier.backend == f"torch, {folds} batch norms folded, channels last, fp32"
    with torch.no_grad():
        expected = network(normalised(tiles(), make_card()))
    torch.testing.assert_close(
        classifier.run(tiles(), gradients=False).logits, expected, rtol=0, atol=1e-5
    )


class Introspective(Shared):
    """Its code reads its batch norm, which folding takes away."""

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.norm(self.conv(pixels)) * self.norm.weight[0]
        return features


def test_a_network_that_cannot_be_folded_runs_channels_last(
    lively: Callable[[nn.Module], nn.Module], make_card: MakeCard
) -> None:
    classifier = classifier_for(lively(Introspective("none")).eval(), make_card(), CPU)
    assert classifier.backend == "torch, channels last, fp32"
    assert classifier.has_map


def test_timms_norms_with_activation_and_same_padding_are_folded(
    lively: Callable[[nn.Module], nn.Module], make_card: MakeCard, tmp_path: Path
) -> None:
    network = lively(build_network("timm/tf_mobilenetv3_small_minimal_100", {}, 3, tmp_path))
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    classifier = classifier_for(network, make_card(input_px=64), CPU)
    assert classifier.backend == f"torch, {norms} batch norms folded, channels last, fp32"


def test_bf16_is_near_and_its_head_stays_in_float32(gather: nn.Module, make_card: MakeCard) -> None:
    for split, network in (
        ("features", gather),
        (None, build_network("slidecam/pocket_resnet", {}, 3, None)),  # type: ignore[arg-type]
    ):
        card = make_card(split=split)
        exact = classifier_for(network, card, CPU).run(tiles(), gradients=True)
        rough = classifier_for(network, card, CPU, precision="bf16").run(tiles(), gradients=True)
        assert rough.logits.dtype == torch.float32
        assert rough.activation is not None
        assert torch.equal(rough.activation, rough.activation.bfloat16().float()), (
            "the map came in bf16"
        )
        fc: Any = network.get_submodule("fc")
        head = fc(rough.activation.relu().mean((2, 3)))
        torch.testing.assert_close(rough.logits, head, rtol=0, atol=1e-6)
        difference = (rough.logits - exact.logits).abs().max()
        assert 0 < difference < 0.05
        assert not torch.is_autocast_enabled("cpu")


def test_the_callers_autocast_does_not_reach_in(gather: nn.Module, make_card: MakeCard) -> None:
    classifier = classifier_for(gather, make_card(split="features"), CPU)
    exact = classifier.run(tiles(), gradients=False).logits
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(classifier.run(tiles(), gradients=False).logits, exact)
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(("architecture", "prefix"), [("timm/test_vit", 1), ("timm/test_vit4", 1)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_transformers_have_a_map_of_their_patches(
    make_card: MakeCard, tmp_path: Path, architecture: str, prefix: int, backend: str
) -> None:
    network = build_network(architecture, {"img_size": 32, "patch_size": 8}, 3, tmp_path)
    classifier = classifier_for(network, make_card(), CPU, backend=backend)
    passed = classifier.run(tiles(), gradients=True)
    kept: list[torch.Tensor] = []
    layer: Any = network
    layer.blocks[-1].norm1.register_forward_hook(
        lambda _layer, _inputs, output: kept.append(output)
    )
    expected = network(normalised(tiles(), make_card()))
    torch.testing.assert_close(passed.logits.detach(), expected.detach(), rtol=0, atol=1e-5)
    assert passed.activation is not None
    channels = kept[0].shape[2]
    assert passed.activation.shape == (2, channels, 4, 4)
    theirs = torch.autograd.grad(expected[:, 1].sum(), kept[0])[0]
    ours = torch.autograd.grad(passed.logits[:, 1].sum(), passed.activation)[0]
    for found, tokens in ((passed.activation.detach(), kept[0]), (ours, theirs)):
        patches = tokens[:, prefix:].detach()
        for row in range(4):
            torch.testing.assert_close(
                found[:, :, row],
                patches[:, 4 * row : 4 * row + 4].transpose(1, 2),
                rtol=0,
                atol=1e-4,
            )
    assert float(ours.abs().max()) > 0


class TokensOfNoGrid(nn.Module):
    """Seven tokens lie on no grid."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Module()
        block.norm1 = nn.LayerNorm(12)
        self.blocks = nn.ModuleList([block])
        self.fc = nn.Linear(12, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = pixels.flatten(1)[:, :84].reshape(-1, 7, 12)
        logits: torch.Tensor = self.fc(self.blocks[0].norm1(tokens).mean(1))  # type: ignore[operator]
        return logits


def test_tokens_that_lie_on_no_grid_are_no_map(make_card: MakeCard) -> None:
    classifier = classifier_for(TokensOfNoGrid(), make_card(), CPU)
    assert not classifier.has_map
    assert classifier.run(tiles(), gradients=False).logits.shape == (2, 3)


def test_a_transformer_inside_another_network_is_found(make_card: MakeCard, tmp_path: Path) -> None:
    args: dict[str, object] = {
        "backbone": "test_vit",
        "backbone_args": {"img_size": 32, "patch_size": 8},
        "hidden": 5,
    }
    network = build_network("slidecam/dense_head", args, 3, tmp_path)
    passed = classifier_for(network, make_card(), CPU).run(tiles(), gradients=True)
    assert passed.activation is not None
    assert passed.activation.shape == (2, 64, 4, 4)


@pytest.mark.parametrize("split", [None, "stages.0", "stages.1"])
def test_the_head_can_be_shown_another_map(make_card: MakeCard, split: str | None) -> None:
    network = build_network("slidecam/pocket_resnet", {"widths": [8, 12]}, 3, None)  # type: ignore[arg-type]
    classifier = classifier_for(network, make_card(split=split), CPU)
    plain = classifier.run(tiles(), gradients=True)
    assert plain.activation is not None
    halved = classifier.run(tiles(), gradients=True, through=lambda a: a / 2)
    (gradient,) = torch.autograd.grad(plain.logits.sum(), plain.activation)
    assert halved.activation is not None
    assert torch.equal(halved.activation, plain.activation)
    (of_halved,) = torch.autograd.grad(halved.logits.sum(), halved.activation)
    if split != "stages.0":  # behind the others the head is linear
        torch.testing.assert_close(of_halved, gradient / 2)
    with torch.no_grad():
        silent = classifier.run(tiles(), gradients=False, through=torch.zeros_like).logits
    bias: Any = network.get_submodule("fc").bias
    assert split == "stages.0" or torch.allclose(silent, bias.expand_as(silent))


def test_what_goes_through_something_needs_a_map(gather: nn.Module, make_card: MakeCard) -> None:
    with pytest.raises(ExplanationError, match="no activation map"):
        classifier_for(gather, make_card(), CPU).run(
            tiles(), gradients=False, through=torch.zeros_like
        )


def test_pixels_that_are_normalised_already_give_the_same_pass(
    gather: nn.Module, make_card: MakeCard
) -> None:
    classifier = classifier_for(gather, make_card(split="features"), CPU)
    given = classifier.run_normalised(normalised(tiles(), make_card()), gradients=False)
    assert torch.equal(given.logits, classifier.run(tiles(), gradients=False).logits)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_logits_hang_on_pixels_that_require_gradients(
    gather: nn.Module, make_card: MakeCard, backend: str, precision: Any
) -> None:
    classifier = classifier_for(gather, make_card(split="features"), CPU, precision, backend)
    pixels = normalised(tiles(), make_card())
    expected = pixels.clone().requires_grad_()
    logits = gather(expected)
    (theirs,) = torch.autograd.grad(logits[:, 2].sum(), expected)
    assert not classifier.logits_of(pixels).requires_grad
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = classifier.logits_of(pixels.requires_grad_())
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(found.detach(), logits.detach(), rtol=0, atol=1e-5)
    (ours,) = torch.autograd.grad(found[:, 2].sum(), pixels)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert all(
        parameter.grad is None and not parameter.requires_grad
        for parameter in classifier.network.parameters()
    )


class InPlace(Gather):
    """Begins by changing what it is given."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().forward(pixels.mul_(2))


def test_logits_of_networks_that_compute_in_place_from_the_start_hang_on_pixels(
    lively: Callable[[nn.Module], nn.Module], make_card: MakeCard
) -> None:
    pixels = normalised(tiles(), make_card()).requires_grad_()
    logits = classifier_for(lively(InPlace()).eval(), make_card(), CPU).logits_of(pixels)
    assert torch.autograd.grad(logits.sum(), pixels)[0].abs().max() > 0


def test_maps_of_channels_last_networks_come_channels_first(
    make_card: MakeCard, tmp_path: Path
) -> None:
    args: dict[str, object] = {
        "img_size": 64,
        "embed_dim": 16,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 4,
    }
    network = build_network("timm/swin_tiny_patch4_window7_224", args, 3, tmp_path)
    classifier = classifier_for(network, make_card(input_px=64), CPU)
    passed = classifier.run(tiles(edge=64), gradients=True)
    assert passed.activation is not None
    assert passed.activation.shape == (2, 32, 8, 8)
    (gradient,) = torch.autograd.grad(passed.logits[:, 0].sum(), passed.activation)
    expected = network.get_parameter("head.fc.weight")[0].detach() / 64
    torch.testing.assert_close(gradient, expected[None, :, None, None].expand_as(gradient))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": "layer9"}, "no such layer.*conv, norm, features, fc"),
        ({"split": "unused"}, "does not run"),
        ({"split": "features", "classes": 2}, r"gives \(2, 3\) .* names 2 classes"),
        ({"split": "features", "input_px": 4}, "cannot run on tiles of 4 px"),
    ],
)
def test_a_card_that_does_not_fit_its_network_is_refused(
    gather: nn.Module, make_card: MakeCard, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(CardError, match=said):
        classifier_for(gather, make_card(**changes), CPU)


def test_devices_that_are_not_there_are_refused(gather: nn.Module, make_card: MakeCard) -> None:
    with pytest.raises(DeviceError, match="meta"):
        classifier_for(gather, make_card(), torch.device("meta"))
    with pytest.raises(DeviceError, match="cuda:99"):
        classifier_for(gather, make_card(), torch.device("cuda:99"))
    with pytest.raises(DeviceError, match="fp8"):
        classifier_for(gather, make_card(), CPU, precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="onnx"):
        classifier_for(gather, make_card(), CPU, backend="onnx")


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_probabilities_are_by_the_cards_activation(
    gather: nn.Module, make_card: MakeCard, activation: str
) -> None:
    classifier = classifier_for(gather, make_card(activation=activation), CPU)
    logits = torch.tensor([[0.0, 1.0, -2.0]])
    expected = {
        "softmax": logits.exp() / logits.exp().sum(),
        "sigmoid": 1 / (1 + (-logits).exp()),
        "none": logits,
    }
    torch.testing.assert_close(classifier.probabilities(logits), expected[activation])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_temperature_divides_logits_before_the_activation(
    gather: nn.Module, make_card: MakeCard, activation: str
) -> None:
    logits = torch.tensor([[0.0, 1.0, -2.0]])
    plain, cooled = (
        classifier_for(gather, make_card(activation=activation, temperature=t), CPU)
        for t in (1.0, 2.5)
    )
    expected = logits if activation == "none" else plain.probabilities(logits / 2.5)
    assert torch.equal(cooled.probabilities(logits), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_cuda_computes_what_the_cpu_does(
    gather: nn.Module, make_card: MakeCard, precision: Any, tolerance: float
) -> None:
    for split, network in (
        ("features", gather),
        (None, build_network("slidecam/pocket_resnet", {}, 3, None)),  # type: ignore[arg-type]
    ):
        card = make_card(split=split)
        here = classifier_for(network, card, CPU).run(tiles(), gradients=True)
        there = classifier_for(network, card, torch.device("cuda"), precision).run(
            tiles().cuda(), gradients=True
        )
        torch.testing.assert_close(there.logits.cpu(), here.logits, rtol=0, atol=tolerance)


def test_devices_are_found_or_named_in_the_error() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in {"cpu", "cuda"}
    for name in ("cuda:99", "abacus", "meta", "tpu", "mps"):
        with pytest.raises(DeviceError, match=name):
            choose_device(name)


def test_probabilities_of_a_card_with_biases_are_those_of_its_classes(
    make_card: MakeCard, make_saved: MakeBundle
) -> None:
    card = make_card(temperature=1.7, class_biases=(0.9, -0.2, -0.7), calibrated_on=60)
    classifier = make_saved(card).classifier()
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 4
    expected = classifier.card.classes.probabilities(logits.numpy())
    found = classifier.probabilities(logits.clone()).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert open_bundle(make_saved(card).path).card.class_biases == (0.9, -0.2, -0.7)
