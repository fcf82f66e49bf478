"""Slidecam's own networks, and those of the studies that are timm's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from slidecam.errors import CardError
from slidecam.models.architectures import ARCHITECTURES, build_network, full_name, is_known

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

SMALL: Mapping[str, Mapping[str, object]] = {
    "slidecam/simple_cnn": {"input_px": 96},
    "slidecam/dense_head": {"backbone": "test_resnet"},
    "slidecam/cell_graph": {"backbone": "test_resnet"},
}
"""Arguments that make a network of ours run on 96 px, or make it smaller."""


def weights_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def convolution(narrow: int, wide: int, kernel: int) -> int:
    return narrow * wide * kernel**2 + wide


def linear(narrow: int, wide: int) -> int:
    return narrow * wide + wide


RESNET18, RESNET50, RESNET101 = 11_176_512, 23_508_032, 42_500_160
DENSENET121, MOBILENETV2, EFFICIENTNET_B4 = 6_953_856, 2_223_872, 17_548_616
"""Weights without the classifier: the published counts for 1000 classes less ``1000 C + 1000``."""


def test_bare_names_are_timms() -> None:
    assert full_name("resnet50") == "timm/resnet50"
    assert full_name("slidecam/pocket_resnet") == "slidecam/pocket_resnet"


@pytest.mark.parametrize(
    "name", ["timm/resnet50", "timm/resnet50.a1_in1k", "slidecam/pocket_resnet"]
)
def test_known_names_are_known(name: str) -> None:
    assert is_known(name)


@pytest.mark.parametrize(
    "name", ["resnet50", "timm/hf-hub:a/b", "timm/local-dir:/tmp", "slidecam/other", ""]
)
def test_other_names_are_not(name: str) -> None:
    assert not is_known(name)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_our_own_have_timms_two_halves(name: str, tmp_path: Path) -> None:
    network = build_network(name, SMALL.get(name, {}), 4, tmp_path)
    pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = network.forward_head(network.forward_features(pixels))  # type: ignore[operator]
        assert torch.equal(network(pixels), logits)
    assert logits.shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "args", "classes", "edge", "features", "count"),
    [
        # resnet50 | the last linear layer; likewise below
        ("timm/resnet50", {}, 3, 224, (2048, 7, 7), RESNET50 + linear(2048, 3)),
        ("timm/densenet121", {}, 3, 224, (1024, 7, 7), DENSENET121 + linear(1024, 3)),
        # resnet50 | the attention's gate | the two full layers | the logits
        (
            "slidecam/dala_resnet50", {}, 2, 224, (2048, 7, 7),
            RESNET50 + linear(2048, 2048) + linear(2048, 512) + linear(512, 256) + linear(256, 2),
        ),
        # 3 → 16 → 32 by 3 by 3 | 56 · 56 · 32 → 512 → 128 → 3
        (
            "slidecam/simple_cnn", {}, 3, 224, (32, 56, 56),
            convolution(3, 16, 3) + convolution(16, 32, 3)
            + linear(56 * 56 * 32, 512) + linear(512, 128) + linear(128, 3),
        ),
        ("timm/mobilenetv2_100", {}, 3, 224, (1280, 7, 7), MOBILENETV2 + linear(1280, 3)),
        ("timm/resnet101", {}, 3, 224, (2048, 7, 7), RESNET101 + linear(2048, 3)),
        # resnet18 | two graph convolutions, each a weight and a bias; the graph's buffers are no
        # weights
        (
            "slidecam/resnet18_gcn", {"nodes": 500}, 2, 128, (512, 4, 4),
            RESNET18 + linear(512, 128) + linear(128, 2),
        ),
        (
            "slidecam/cell_graph", {"backbone": "mobilenetv2_100"}, 2, 128, (1280, 4, 4),
            MOBILENETV2 + linear(1280, 128) + linear(128, 2),
        ),
        (
            "slidecam/dense_head", {}, 4, 224, (1792, 7, 7),
            EFFICIENTNET_B4 + linear(1792, 256) + linear(256, 4),
        ),
    ],
)  # fmt: skip
def test_the_studies_networks_have_their_shapes_and_weights(
    name: str,
    args: Mapping[str, object],
    classes: int,
    edge: int,
    features: tuple[int, int, int],
    count: int,
    tmp_path: Path,
) -> None:
    with torch.device("meta"):  # shapes without numbers: no memory, no time
        network = build_network(name, args, classes, tmp_path)
        activation = network.forward_features(torch.zeros(2, 3, edge, edge))  # type: ignore[operator]
        logits = network.forward_head(activation)  # type: ignore[operator]
    assert activation.shape == (2, *features)
    assert logits.shape == (2, classes)
    assert weights_of(network) == count


def test_the_pocket_resnet_fits_a_pocket_and_its_map_is_not_too_coarse(tmp_path: Path) -> None:
    network = build_network("slidecam/pocket_resnet", {}, 3, tmp_path)
    assert weights_of(network) < 180_000
    with torch.no_grad():
        assert network.forward_features(torch.zeros(1, 3, 96, 96)).shape == (1, 96, 12, 12)  # type: ignore[operator]


def test_the_pocket_resnets_width_and_depth_are_the_cards(tmp_path: Path) -> None:
    small = build_network("slidecam/pocket_resnet", {"widths": [4, 6], "depth": 2}, 3, tmp_path)
    with torch.no_grad():
        assert small.forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, 6, 8, 8)  # type: ignore[operator]
    assert len(small.get_submodule("stages.0")) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["slidecam/dense_head", "slidecam/cell_graph"])
@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"backbone": "hf-hub:someone/something"}, "hf-hub:someone/something"),
        ({"backbone": "resnet5"}, "resnet5"),
        ({"backbone": "test_resnet", "backbone_args": {"pretrained": True}}, "pretrained"),
        (
            {"backbone": "test_resnet", "backbone_args": {"checkpoint_path": "x.pth"}},
            "checkpoint_path",
        ),
    ],
)
def test_an_inner_network_is_timms_and_fetches_nothing(
    name: str, args: Mapping[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(CardError, match=said):
        build_network(name, args, 2, tmp_path)


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("slidecam/dense_head", {"backbone": "test_resnet", "activation": "tanh"}, "tanh"),
        ("slidecam/dala_resnet50", {"fusion": "concat"}, "concat"),
        (
            "slidecam/cell_graph",
            {"backbone": "test_resnet", "nodes": 5, "neighbours": 6},
            "neighbours is 6",
        ),
        ("slidecam/cell_graph", {"backbone": "test_resnet", "neighbours": 0}, "neighbours is 0"),
    ],
)
def test_an_impossible_argument_is_told(
    name: str, args: Mapping[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(CardError, match=said):
        build_network(name, args, 2, tmp_path)


def test_the_simple_cnn_is_made_for_one_size(tmp_path: Path) -> None:
    network = build_network("slidecam/simple_cnn", {"input_px": 33}, 3, tmp_path)
    assert network(torch.zeros(1, 3, 33, 33)).shape == (1, 3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        network(torch.zeros(1, 3, 40, 40))
