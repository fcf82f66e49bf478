"""A head is called linear if its logits are, for any map.

By trying, and not by the names of layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from slidecam.models import ClassifierPass, classifier_for
from slidecam.models.architectures import build_network
from slidecam.models.linear_head import find_linear_head

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.conftest import MakeCard
    from slidecam.models.linear_head import LinearHead
    from slidecam.models.splits import Through

    Head = Callable[[torch.Tensor], torch.Tensor]

CPU = torch.device("cpu")
WEIGHT = torch.randn((3, 5), generator=torch.Generator().manual_seed(2))
BIAS = torch.tensor([1.0, -2.0, 0.5])


def affine(mean: torch.Tensor) -> torch.Tensor:
    return mean @ WEIGHT.T + BIAS


def found(head: Head) -> LinearHead | None:
    """Return what is found of a head, of maps of rectified values, as backbones give them."""
    activation = torch.rand(
        (2, 5, 3, 4), generator=torch.Generator().manual_seed(0)
    ).requires_grad_()

    def passed_through(through: Through) -> ClassifierPass:
        return ClassifierPass(activation, head(through(activation)).detach())

    return find_linear_head(ClassifierPass(activation, head(activation)), passed_through)


def test_weight_and_bias_are_those_of_the_layer() -> None:
    head = found(lambda a: affine(a.mean((2, 3))))
    assert head is not None
    torch.testing.assert_close(head.weight, WEIGHT)
    torch.testing.assert_close(head.bias, BIAS, rtol=0, atol=1e-5)


def test_two_layers_without_anything_between_are_one() -> None:
    head = found(lambda a: affine(a.mean((2, 3)) * 3 + 1))
    assert head is not None
    torch.testing.assert_close(head.weight, WEIGHT * 3)
    torch.testing.assert_close(head.bias, BIAS + WEIGHT.sum(1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", [
    pytest.param(
        lambda a: affine(a.relu().mean((2, 3))), id="rectified, which no rectified map shows",
    ),
    pytest.param(lambda a: affine(a.mean((2, 3)).clamp_min(0)), id="rectified after the average"),
    pytest.param(lambda a: affine(a.mean((2, 3)).tanh()), id="bent"),
    pytest.param(lambda a: affine(a.amax((2, 3))), id="maximum"),
    pytest.param(
        lambda a: affine((a.mean((2, 3)) + 9).relu()), id="rectified far from what maps are",
    ),
    pytest.param(
        lambda a: affine((a.mean((2, 3)) * 1e-4 + 9).relu()), id="rectified, and hardly reached",
    ),
    pytest.param(lambda a: affine((a * torch.arange(4)).mean((2, 3))), id="weighted by place"),
    pytest.param(lambda a: affine(nn.functional.layer_norm(a.mean((2, 3)), (5,))), id="normalised"),
])  # fmt: skip
def test_other_heads_are_not_linear(head: Head) -> None:
    assert found(head) is None


@pytest.mark.parametrize(("architecture", "args", "linear"), [
    ("slidecam/pocket_resnet", {"widths": [8, 12]}, True),
    ("timm/test_resnet", {}, True),
    ("timm/mobilenetv3_small_050", {}, False),
    ("timm/test_convnext", {}, False),
    ("timm/test_vit", {"img_size": 64}, False),
    ("slidecam/simple_cnn", {"input_px": 64}, False),
])  # fmt: skip
@pytest.mark.parametrize("backend", ["eager", "folded"])
def test_networks_are_told_apart(
    make_card: MakeCard,
    tmp_path: Path,
    architecture: str,
    args: dict[str, object],
    backend: object,
    *,
    linear: bool,
) -> None:
    network = build_network(architecture, args, 3, tmp_path)
    classifier = classifier_for(network, make_card(input_px=64), CPU, backend=backend)  # type: ignore[arg-type]
    assert (classifier.linear_head is not None) == linear


def test_a_head_behind_a_named_layer_is_found_and_one_behind_half_a_backbone_is_not(
    make_card: MakeCard, tmp_path: Path
) -> None:
    network = build_network("slidecam/pocket_resnet", {"widths": [8, 12]}, 3, tmp_path)
    for split, linear in (("stages", True), ("stages.1", True), ("stages.0", False)):
        classifier = classifier_for(network, make_card(split=split), CPU)
        assert (classifier.linear_head is not None) == linear
    assert (
        classifier_for(
            nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)), make_card(), CPU
        ).linear_head
        is None
    )
