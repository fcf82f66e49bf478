"""Ablation-CAM is the paper's fall of the logit for any head, and runs no more than it must."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam import AblationCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from slidecam.errors import ExplanationError
from slidecam.explain.ablation_cam import AblationCam
from slidecam.explain.catalogue import method_for
from slidecam.explain.contract import ExplainerCase, ExplainerContract
from slidecam.explain.method_settings import AblationCamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from slidecam.models import Classifier
    from small_networks import MakeSmall, Small

ALL = (0, 1, 2, 3)


@pytest.mark.parametrize(
    "network",
    [pytest.param("resnet18", marks=pytest.mark.slow), "pocket", "sequential", "simple"],
)
def test_maps_are_pytorch_grad_cams_where_the_logit_is_above_0(
    small: MakeSmall,
    hooked: Callable[[nn.Module, Small], nn.Module],
    as_theirs: Callable[[torch.Tensor, int], NDArray[Any]],
    network: str,
) -> None:
    case, plain = small(network), small(network).network()
    found = AblationCam(case.classifier(), AblationCamSpec(batch=7)).explain(case.tiles(2), ALL)
    with AblationCAM(plain, [hooked(plain, case)]) as cam:
        for index in ALL:
            theirs = cam(input_tensor=case.scaled(2), targets=[ClassifierOutputTarget(index)] * 2)
            above = (found.logits[:, index] > 0.01).numpy()
            assert (
                np.abs(as_theirs(found.maps[:, index], case.edge) - theirs)[above].max(initial=0)
                <= 1e-4
            )
    assert (found.logits > 0.01).any()


def slow_maps(classifier: Classifier, tile: torch.Tensor, index: int) -> torch.Tensor:
    """Return one class's map of a tile (1, H, W, 3), by the definition, one channel at a time."""
    passed = classifier.run(tile, gradients=False)
    assert passed.activation is not None
    total = torch.zeros(passed.activation.shape[2:])
    for number, channel in enumerate(passed.activation[0]):

        def without(activation: torch.Tensor, number: int = number) -> torch.Tensor:
            ablated = activation.clone()
            ablated[:, number] = 0
            return ablated

        left = classifier.run(tile, gradients=False, through=without).logits
        total += (passed.logits - left)[0, index] * channel
    return total.clamp_min(0)


@pytest.mark.parametrize("network", ["pocket", "sequential", "simple", "vit"])
def test_maps_are_the_definitions_whatever_the_signs(small: MakeSmall, network: str) -> None:
    case = small(network)
    classifier = case.classifier()
    found = AblationCam(classifier, AblationCamSpec()).explain(case.tiles(2), ALL)
    assert (found.logits < 0).any()
    for tile in range(2):
        for index in ALL:
            slow = slow_maps(classifier, case.tiles(2)[tile : tile + 1], index)
            torch.testing.assert_close(found.maps[tile, index], slow, rtol=1e-4, atol=1e-5)


def test_a_linear_heads_falls_are_those_of_channels_set_to_0(small: MakeSmall) -> None:
    case = small("pocket")
    known, tried = case.classifier(), replace(case.classifier(), linear_head=None)
    assert known.linear_head is not None
    maps = [
        AblationCam(one, AblationCamSpec(batch=5)).explain(case.tiles(3), ALL).maps
        for one in (known, tried)
    ]
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("linear", [True, False])
def test_the_backbone_runs_once_where_the_head_runs_alone(
    small: MakeSmall, *, linear: bool
) -> None:
    case = small("pocket")
    classifier = case.classifier() if linear else replace(case.classifier(), linear_head=None)
    tiles: dict[str, list[int]] = {"stem": [], "fc": []}
    for name, seen in tiles.items():
        layer = classifier.network.get_submodule(name)
        layer.register_forward_pre_hook(
            lambda _module, inputs, seen=seen: seen.append(len(inputs[0]))
        )
    found = AblationCam(classifier, AblationCamSpec(batch=5)).explain(case.tiles(2), ALL)
    assert tiles["stem"] == [1, 1]
    assert tiles["fc"] == ([1, 1] if linear else [1, 5, 5, 2] * 2)
    assert found.passes == 1


def test_behind_a_named_layer_every_live_channel_is_a_pass(small: MakeSmall) -> None:
    case = small("sequential")
    classifier = case.classifier()
    tiles: list[int] = []
    classifier.network.register_forward_pre_hook(
        lambda _module, inputs: tiles.append(len(inputs[0]))
    )
    found = AblationCam(classifier, AblationCamSpec(batch=5)).explain(case.tiles(1), ALL)
    assert sum(tiles) == found.passes == 1 + found.facts["channels"]


def test_settings_that_cannot_be_are_refused(small: MakeSmall) -> None:
    with pytest.raises(ExplanationError, match="Ablation-CAM's batch is 0"):
        AblationCam(small("pocket").classifier(), AblationCamSpec(batch=0))


class TestAblationCam(ExplainerContract):
    @pytest.fixture(params=["sequential", "simple", "vit"])
    def case(self, request: pytest.FixtureRequest, small: MakeSmall) -> ExplainerCase:
        return ExplainerCase(method_for("ablation-cam"), small(request.param).classifier())
