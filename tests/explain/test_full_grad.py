"""FullGrad's terms add up to the logit; its raw map is pytorch-grad-cam's, scaling left out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from pytorch_grad_cam import FullGrad as TheirFullGrad
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from slidecam.explain.catalogue import method_for
from slidecam.explain.contract import ExplainerCase, ExplainerContract
from slidecam.explain.full_grad import FullGrad
from slidecam.explain.method_settings import NoSettings
from slidecam.models import classifier_for

if TYPE_CHECKING:
    from small_networks import MakeSmall

BACKENDS: tuple[str, ...] = ("eager", "folded")


def their_raw_map(network: nn.Module, pixels: torch.Tensor, index: int) -> np.ndarray[Any, Any]:
    """Return the sum (H, W) of what pytorch-grad-cam adds up, before it scales channels to 0-1."""
    size = (pixels.shape[3], pixels.shape[2])
    network.requires_grad_(requires_grad=True)
    with TheirFullGrad(network, []) as cam:
        given: list[torch.Tensor] = []
        network.register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0]))
        cam(input_tensor=pixels.clone(), targets=[ClassifierOutputTarget(index)])
        assert given[0].grad is not None
        total = (given[0].grad * given[0]).detach().abs().sum(1)[0].numpy()
        for bias, gradient in zip(cam.bias_data, cam.activations_and_grads.gradients, strict=True):
            terms = np.abs(bias[:, None, None] * gradient[0].numpy())
            total = total + sum(
                cv2.resize(term, size, interpolation=cv2.INTER_LINEAR) for term in terms
            )
    raw: np.ndarray[Any, Any] = total
    return raw


@pytest.mark.parametrize("network", ["pocket", "resnet18"])
def test_maps_are_pytorch_grad_cams_terms_unscaled(small: MakeSmall, network: str) -> None:
    case = small(network)
    found = FullGrad(case.classifier("eager"), NoSettings()).explain(case.tiles(2), (2, 0))
    for tile in range(2):
        for place, index in enumerate((2, 0)):
            theirs = their_raw_map(case.network(), case.scaled(2)[tile : tile + 1], index)
            assert np.abs(np.asarray(found.maps[tile, place]) - theirs).max() <= 1e-4 * theirs.max()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("network", ["pocket", "resnet18"])
def test_without_magnitudes_the_terms_add_up_to_the_logit(
    small: MakeSmall, network: str, backend: str
) -> None:
    case = small(network)
    found = FullGrad(case.classifier(backend), NoSettings()).explain(case.tiles(2), (0, 1, 2, 3))
    assert found.facts["completeness gap"] <= 1e-4 * float(found.logits.abs().max())


def test_batch_norms_with_their_own_activation_count_before_it(small: MakeSmall) -> None:
    case = small("sequential")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = nn.Sequential(
            nn.Conv2d(3, 6, 3), BatchNormAct2d(6), nn.Flatten(1), nn.Linear(6 * 30 * 30, 4)
        )
    norm: Any = network[1]
    norm.bias.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    norm.running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    card = replace(case.card, split=None)
    classifier = classifier_for(network.eval(), card, torch.device("cpu"), backend="eager")
    found = FullGrad(classifier, NoSettings()).explain(case.tiles(1), (0, 1))
    assert found.facts["completeness gap"] <= 1e-5


def test_the_gap_is_told_where_the_network_is_smooth(small: MakeSmall) -> None:
    case = small("sequential")
    found = FullGrad(case.classifier(), NoSettings()).explain(case.tiles(1), (0,))
    assert found.facts["completeness gap"] > 1e-3, "GELU's implicit biases are nobody's"


class TestFullGradWithoutAMap(ExplainerContract):
    @pytest.fixture(params=["sequential", "vit"])
    def case(self, request: pytest.FixtureRequest, small: MakeSmall) -> ExplainerCase:
        return ExplainerCase(method_for("fullgrad"), small(request.param).classifier())
