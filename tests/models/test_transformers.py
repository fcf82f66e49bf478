"""Pathology's foundation backbones: what their cards may name, and where their maps lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from timm.layers.mlp import SwiGLUPacked
from torch import nn

from slidecam.errors import CardError
from slidecam.explain.activation_maps import plan_maps
from slidecam.models import Card, Classifier, classifier_for, open_bundle
from slidecam.models.architectures import JOINED, LAYER_CLASSES, build_network, with_layer_classes
from slidecam.models.classifier import normalised
from slidecam.models.variants import sharing_copy
from slidecam.registry import resolve

if TYPE_CHECKING:
    from torch import Tensor

HERE = Path("card.json")
TINY = "vit_tiny_patch16_224"

GATED = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU", "reg_tokens": 4}
WIDE = {"init_values": 1e-5, "dynamic_img_size": True}
VIRCHOW = {**GATED, "no_embed_class": True, "dynamic_img_size": True, "global_pool": JOINED}


def network_of(name: str, args: dict[str, Any], classes: int = 3) -> nn.Module:
    torch.manual_seed(7)
    with torch.random.fork_rng(devices=[]):
        return build_network(f"timm/{name}", args, classes, HERE)


def card_of(name: str, args: dict[str, Any], edge: int) -> Card:
    return Card(
        name, f"timm/{name}", ("a", "b", "c"), "softmax", edge, 0.5, edge, (0.5,) * 3, (0.25,) * 3,
        architecture_args=args,
    )  # fmt: skip


def tiles(edge: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (2, edge, edge, 3), dtype=torch.uint8, generator=generator)


def reference(network: nn.Module, pixels: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """Return logits and Grad-CAM at the last block's first norm, by a whole backward pass."""
    kept: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, tokens: Tensor) -> None:
        tokens.retain_grad()
        kept.append(tokens)

    handle = network.blocks[-1].norm1.register_forward_hook(keep)  # type: ignore[index, union-attr]
    logits = network(pixels.requires_grad_())
    handle.remove()
    logits[:, index].sum().backward()
    (tokens,) = kept
    assert tokens.grad is not None
    prefix = int(network.num_prefix_tokens)  # type: ignore[arg-type]
    side = pixels.shape[-1] // 16
    places, slopes = tokens[:, prefix:], tokens.grad[:, prefix:]
    weighted = (slopes.mean(1, keepdim=True) * places).sum(2).clamp_min(0)
    return logits.detach(), weighted.detach().reshape(-1, side, side)


@pytest.mark.parametrize(("args", "edge"), [(GATED, 224), (WIDE, 448), (WIDE, 224), (VIRCHOW, 320)])
def test_maps_lie_on_the_tokens_of_whatever_tile_and_are_the_references(
    args: dict[str, Any], edge: int
) -> None:
    network = network_of(TINY, args)
    classifier = classifier_for(network, card_of(TINY, args, edge), torch.device("cpu"))
    assert classifier.has_map
    assert classifier.no_map == ""
    passed = classifier.run(tiles(edge), gradients=True)
    found = plan_maps(classifier, ["gradcam"], [1])(passed)[:, 0, 0]
    logits, expected = reference(network, normalised(tiles(edge), classifier.card), 1)
    assert found.shape == expected.shape == (2, edge // 16, edge // 16)
    assert float((passed.logits.detach() - logits).abs().max()) <= 1e-6 * float(logits.abs().max())
    assert float((found - expected).abs().max()) <= 1e-6 * float(expected.abs().max())


def test_a_gated_perceptron_by_name_is_the_one_by_class() -> None:
    network = network_of(TINY, GATED)
    theirs = timm.create_model(
        TINY, num_classes=3, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU, reg_tokens=4
    ).eval()
    theirs.load_state_dict(network.state_dict())
    pixels = normalised(tiles(224), card_of(TINY, GATED, 224))
    with torch.no_grad():
        assert torch.equal(network(pixels), theirs(pixels))


@pytest.mark.parametrize("name", LAYER_CLASSES)
def test_every_layer_that_a_card_may_name_is_there_and_behind_its_module(name: str) -> None:
    expected = resolve(f"{LAYER_CLASSES[name]}:{name}")
    assert callable(expected)
    for written in (name, f"{LAYER_CLASSES[name]}.{name}"):
        assert with_layer_classes({"act_layer": written}, HERE) == {"act_layer": expected}


@pytest.mark.parametrize("name", ["SwiGLUPackd", "os.System", "subprocess.Popen", "Linear"])
def test_no_other_layer_can_be_named(name: str) -> None:
    with pytest.raises(CardError, match="which is not known"):
        build_network(f"timm/{TINY}", {"mlp_layer": name}, 2, HERE)


def test_timms_own_names_are_left_to_timm() -> None:
    assert with_layer_classes({"act_layer": "silu"}, HERE) == {"act_layer": "silu"}


def test_the_class_token_is_joined_to_the_mean_of_the_patches_without_registers() -> None:
    network = network_of(TINY, VIRCHOW)
    plain = timm.create_model(
        TINY, num_classes=0, global_pool="", mlp_layer=SwiGLUPacked, act_layer=nn.SiLU,
        reg_tokens=4, no_embed_class=True, dynamic_img_size=True,
    ).eval()  # fmt: skip
    weights = dict(network.state_dict())
    head, bias = weights.pop("head.weight"), weights.pop("head.bias")
    plain.load_state_dict(weights)
    pixels = normalised(tiles(224), card_of(TINY, VIRCHOW, 224))
    with torch.no_grad():
        tokens = plain(pixels)
        joined = torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], 1)
        expected = joined @ head.T + bias
        found = network(pixels)
    assert head.shape == (3, 2 * 192)
    assert float((found - expected).abs().max()) <= 1e-6 * float(expected.abs().max())


def test_a_network_without_a_class_token_has_nothing_to_join() -> None:
    with pytest.raises(CardError, match="cannot be built"):
        build_network("timm/resnet18", {"global_pool": JOINED}, 2, HERE)


@pytest.mark.parametrize(
    "name", [TINY, "resnet18", "convnext_atto", "swin_tiny_patch4_window7_224"]
)
def test_what_nobody_else_holds_is_there_once(name: str) -> None:
    network = network_of(name, {})
    before = {name: each.data_ptr() for name, each in network.named_parameters()}
    sizes = {name: each.numel() for name, each in network.named_parameters()}
    classifier = classifier_for(network, card_of(name, {}, 224), torch.device("cpu"), own=True)
    kept = dict(classifier.network.named_parameters())
    again = [name for name, each in kept.items() if each.data_ptr() != before.get(name)]
    # Folded convolutions and those laid out channels last take memory anew; nothing else.
    assert all(kept[name].ndim in {1, 4} for name in again)
    if name == TINY:
        assert not again
    if name.startswith("swin"):
        assert sum(sizes[name] for name in again) < 0.01 * sum(sizes.values())


def test_a_sharing_copy_can_be_changed_without_the_original() -> None:
    original = nn.Conv2d(3, 4, 3)
    copied = sharing_copy(original)
    (before,), (after,) = ([net.state_dict()["weight"]] for net in (original, copied))
    assert before.data_ptr() == after.data_ptr()
    copied.to(memory_format=torch.channels_last)
    assert original.weight.is_contiguous()
    assert torch.equal(copied.state_dict()["weight"], original.weight)


def whole(network: nn.Module, edge: int = 64) -> Classifier:
    return classifier_for(network, card_of(TINY, {}, edge), torch.device("cpu"))


def test_a_network_that_has_no_map_says_the_true_cause(wsinfer_torchscript: Path) -> None:
    class Flat(nn.Module):
        def forward_features(self, pixels: Tensor) -> Tensor:
            return pixels.mean((2, 3))

        def forward_head(self, features: Tensor) -> Tensor:
            return features

        def forward(self, pixels: Tensor) -> Tensor:
            return self.forward_head(self.forward_features(pixels))

    class Odd(Flat):
        def forward_features(self, pixels: Tensor) -> Tensor:
            return pixels.flatten(2).transpose(1, 2)[:, :7]

        def forward_head(self, features: Tensor) -> Tensor:
            return features.mean(1)

    class Elsewhere(Flat):
        def forward(self, pixels: Tensor) -> Tensor:
            return pixels.amax((2, 3)) + 1

    plain = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert whole(Flat()).no_map.startswith("forward_features gives 3 values a tile")
    assert "7 tokens a tile, which lie on no square grid" in whole(Odd()).no_map
    assert "do not give its logits" in whole(Elsewhere()).no_map
    assert "no forward_features and forward_head" in whole(plain).no_map
    script = open_bundle(wsinfer_torchscript, trust=True).classifier()
    assert script.no_map == "TorchScript cannot be cut in two"
