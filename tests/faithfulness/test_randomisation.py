"""Networks that forget layer by layer, and whose maps change with them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from scipy.stats import spearmanr
from torch import nn

from slidecam.errors import ExplanationError, UsageError
from slidecam.explain.explainer import Explainer, Explanation
from slidecam.faithfulness.randomisation import (
    STAGES,
    RandomisationSpec,
    layers_of_stage,
    likeness,
    randomisation,
    randomised,
    rank_correlation,
    structure,
)
from slidecam.models.small_networks import PocketResNet
from slidecam.steps import Step, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from slidecam.models import Card, Classifier


class Brightness(Explainer):
    """Shows the tile and not the classifier."""

    def steps(
        self, pixels: torch.Tensor, classes: Sequence[int]
    ) -> Generator[Step, None, Explanation]:
        yield Step("brightness", 1, 1)
        maps = pixels.float().mean(3)[:, None].expand(-1, len(classes), -1, -1)
        return Explanation("brightness", torch.zeros(len(pixels), 3), maps, 1)


class Gradient(Explainer):
    """Shows the absolute gradient of the logit."""

    def steps(
        self, pixels: torch.Tensor, classes: Sequence[int]
    ) -> Generator[Step, None, Explanation]:
        yield Step("gradient", 1, 1)
        entered = pixels.permute(0, 3, 1, 2).float().div(255).requires_grad_()
        logits = self.classifier.logits_of(entered)
        (slope,) = torch.autograd.grad(logits[:, classes[0]].sum(), entered)
        return Explanation("gradient", logits.detach(), slope.abs().sum(1, keepdim=True), 1)


class Flat(Explainer):
    """Shows nothing."""

    def steps(
        self, pixels: torch.Tensor, classes: Sequence[int]
    ) -> Generator[Step, None, Explanation]:
        yield Step("flat", 1, 1)
        return Explanation(
            "flat", torch.zeros(len(pixels), 3), torch.zeros(len(pixels), len(classes), 4, 4), 1
        )


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return PocketResNet(3, (8, 12, 16)).eval()


@pytest.fixture
def card(make_classifier: Callable[..., Classifier], network: nn.Module) -> Card:
    return make_classifier(network, "softmax", 32, 3).card


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: values.clone() for name, values in network.state_dict().items()}


def changed(one: nn.Module, other: nn.Module) -> set[str]:
    after = weights(other)
    return {name for name, values in weights(one).items() if not torch.equal(values, after[name])}


def test_maps_of_the_tile_stay_and_maps_of_the_classifier_go(
    network: nn.Module, card: Card, tiles: Callable[..., torch.Tensor]
) -> None:
    before, state = weights(network), torch.random.get_rng_state()
    spec = RandomisationSpec(seeds=(0, 1), batch=2)
    work = randomisation(
        network,
        card,
        {"Brightness": Brightness, "Gradient": Gradient, "Flat": Flat},
        tiles(3, 32),
        (0, 2, 0),
        spec,
    )
    found = {(one.method, one.stage): one for one in result_of(work)}
    assert list(found) == [
        (name, stage) for stage in STAGES for name in ("Brightness", "Gradient", "Flat")
    ]
    for stage in STAGES:
        np.testing.assert_allclose(found["Brightness", stage].correlation, np.ones(3), atol=1e-9)
        np.testing.assert_allclose(found["Brightness", stage].structure, np.ones(3), atol=1e-9)
        assert np.isnan(found["Flat", stage].correlation).all()
    assert found["Gradient", "all"].correlation.mean() < 0.7
    assert found["Gradient", "all"].structure.mean() < 0.8
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_stages_are_nested_and_seeded(network: nn.Module) -> None:
    nets = {stage: randomised(network, stage, 0) for stage in STAGES}
    touched = [changed(network, nets[stage]) for stage in STAGES]
    assert touched[0] == {"fc.weight", "fc.bias"}
    assert all(fewer < more for fewer, more in pairwise(touched))
    assert {name for name, _ in network.named_parameters() if name.endswith("0.weight")} <= touched[
        -1
    ]
    assert torch.equal(
        nets["head"].get_parameter("fc.weight"), nets["all"].get_parameter("fc.weight")
    )
    assert not changed(nets["all"], randomised(network, "all", 0))
    assert "fc.weight" in changed(nets["all"], randomised(network, "all", 1))


def test_parameters_without_a_way_to_start_are_redrawn_as_large_as_they_were() -> None:
    vit: Any = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=2,
        img_size=32,
        embed_dim=48,
        depth=2,
        num_heads=3,
        class_token=True,
    )
    with torch.no_grad():
        vit.pos_embed.normal_(3, 0.5)
    fresh = randomised(vit, "all", 0)
    moved = fresh.get_parameter("pos_embed").detach()
    assert not torch.equal(moved, vit.pos_embed)
    assert 2.8 < float(moved.mean()) < 3.2
    assert 0.4 < float(moved.std()) < 0.6


def test_the_head_is_all_linear_layers_that_the_network_ends_in() -> None:
    layers = [
        nn.Conv2d(1, 1, 1),
        nn.Linear(1, 1),
        nn.BatchNorm1d(1),
        nn.Linear(1, 1),
        nn.Linear(1, 1),
    ]
    assert layers_of_stage(layers, "head") == 2
    assert layers_of_stage(layers[:1], "head") == 1
    assert [layers_of_stage([*layers, *layers], stage) for stage in STAGES] == [2, 2, 5, 10]


def test_torchscript_cannot_forget() -> None:
    trace: Any = torch.jit.trace
    with pytest.warns(match="jit"):
        script = trace(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(ExplanationError, match="TorchScript"):
        randomised(script, "head", 0)


def test_rank_correlation_equals_scipys_with_ties() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, (2, 7, 7)).astype(np.float32)
    assert rank_correlation(one, other) == pytest.approx(
        spearmanr(one.ravel(), other.ravel()).statistic
    )


def test_structure_does_not_hang_on_the_scale() -> None:
    one, other = np.random.default_rng(0).random((2, 7, 7), np.float32)
    assert structure(one, 5 * one) == pytest.approx(1)
    assert structure(one, other) == pytest.approx(structure(3 * one, 0.2 * other))
    assert structure(one, other) < 0.8
    assert likeness(np.stack([one, one]), np.stack([one, other]))[1, 0] == pytest.approx(1)


def test_stages_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match=r"'tail'.*head, last quarter"):
        RandomisationSpec(stages=("tail",))
