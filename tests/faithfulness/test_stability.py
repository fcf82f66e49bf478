"""Maps that never move, those that move with the tile, and those that go with the weights."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from captum.metrics import sensitivity_max
from scipy.stats import spearmanr
from torch import nn

from slidecam.errors import ExplanationError, UsageError
from slidecam.explain.explainer import Explainer, Explanation
from slidecam.faithfulness.stability import (
    STAGES,
    RandomisationSpec,
    StabilitySpec,
    disturbed,
    layers_of_stage,
    likeness,
    max_sensitivity,
    randomisation,
    randomised,
    rank_correlation,
    structure,
)
from slidecam.models.networks import PocketResNet
from slidecam.steps import Step, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from slidecam.models import Card, Classifier

SPEC = StabilitySpec()


def rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng((0, place)) for place in range(count)]


def constant(pixels: torch.Tensor) -> Any:
    return np.ones((len(pixels), 4, 4), np.float32)


def brightness(pixels: torch.Tensor) -> Any:
    """Return a map that is linear in the tile: the sum of its colours."""
    return pixels.float().sum(3).numpy()


def test_a_constant_explanation_never_moves(tiles: Callable[..., torch.Tensor]) -> None:
    np.testing.assert_array_equal(result_of(max_sensitivity(constant, tiles(3), SPEC, rngs(3))), 0)


def test_a_linear_explanation_moves_by_the_length_of_its_noise(
    tiles: Callable[..., torch.Tensor],
) -> None:
    pixels = tiles(2) // 2 + 60  # nothing leaves the scale
    expected = np.zeros(2)
    noise = rngs(2)
    for _ in range(SPEC.repeats):
        for place, rng in enumerate(noise):
            change = rng.integers(-5, 5, (28, 28, 3), np.int16, endpoint=True).sum(2)
            length = np.linalg.norm(change) / np.linalg.norm(brightness(pixels)[place])
            expected[place] = max(expected[place], length)
    found = result_of(max_sensitivity(brightness, pixels, SPEC, rngs(2)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_it_equals_captums_on_the_same_changes(tiles: Callable[..., torch.Tensor]) -> None:
    pixels, noise = tiles(1), rngs(1)

    def explain(values: torch.Tensor) -> torch.Tensor:
        return values.float().square().sum(3) + 1

    theirs = sensitivity_max(
        lambda values: (explain(values[0] if isinstance(values, tuple) else values),),
        pixels,
        perturb_func=lambda values: torch.cat(
            [disturbed(one[None], SPEC.levels, noise) for one in values]
        ),
        n_perturb_samples=SPEC.repeats,
    )
    ours = result_of(max_sensitivity(lambda some: explain(some).numpy(), pixels, SPEC, rngs(1)))
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


def test_a_tiles_figure_does_not_hang_on_its_neighbours(tiles: Callable[..., torch.Tensor]) -> None:
    pixels = tiles(3)
    together = result_of(max_sensitivity(brightness, pixels, SPEC, rngs(3)))
    alone = result_of(max_sensitivity(brightness, pixels[2:], SPEC, rngs(3)[2:]))
    assert alone[0] == together[2]


def test_changes_stay_within_the_radius_and_the_scale() -> None:
    pixels = (
        torch.tensor([0, 3, 128, 255], dtype=torch.uint8)
        .view(1, 2, 2, 1)
        .expand(1, 2, 2, 3)
        .contiguous()
    )
    seen = torch.stack([disturbed(pixels, 5, [np.random.default_rng(seed)]) for seed in range(300)])
    apart = seen.int() - pixels.int()
    assert int(apart.min()) == -5
    assert int(apart.max()) == 5
    assert int(seen[:, 0, 0, 0].max()) == 5  # from 0 only upwards
    assert int(seen[:, 0, 1, 1].min()) == 250


def test_a_map_of_zeros_has_no_length_to_move_by(tiles: Callable[..., torch.Tensor]) -> None:
    found = result_of(
        max_sensitivity(lambda pixels: 0 * brightness(pixels), tiles(1), SPEC, rngs(1))
    )
    assert np.isnan(found).all()


def test_original_maps_are_not_made_twice(tiles: Callable[..., torch.Tensor]) -> None:
    calls: list[int] = []

    def explain(pixels: torch.Tensor) -> Any:
        calls.append(len(pixels))
        return brightness(pixels)

    pixels = tiles(2)
    steps = list(max_sensitivity(explain, pixels, SPEC, rngs(2), brightness(pixels)))
    assert calls == [2] * 10
    assert [step.done for step in steps] == list(range(1, 11))


def test_a_radius_below_a_grey_level_is_refused() -> None:
    with pytest.raises(UsageError, match="0 grey levels"):
        StabilitySpec(radius=0.001)


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


def test_every_seed_draws_weights_of_its_own_for_every_layer() -> None:
    network = torch.nn.Sequential(*[torch.nn.Linear(5, 5) for _ in range(4)])
    drawn = [
        layer.weight
        for seed in range(4)
        for layer in randomised(network, "all", seed).children()
        if isinstance(layer, torch.nn.Linear)
    ]
    assert len(drawn) == 16
    for place, weight in enumerate(drawn):
        assert not any(torch.equal(weight, other) for other in drawn[:place])


@pytest.mark.parametrize("count", [3, 6, 7, 9, 13])
def test_a_stage_is_the_nearest_whole_number_of_layers_to_its_share(count: int) -> None:
    layers = [torch.nn.Conv2d(1, 1, 1) for _ in range(count)]
    for stage, share in (("last quarter", 0.25), ("last half", 0.5), ("all", 1.0)):
        assert abs(layers_of_stage(layers, stage) - share * count) <= 0.5


def test_structure_is_on_a_scale_from_minus_one_to_one() -> None:
    one = np.ones((8, 8), np.float32)
    # Of maps without spread the formula leaves (2ab + c) / (a² + b² + c), c = (0.01 · 2)².
    expected = (-2 + 4e-4) / (2 + 4e-4)
    assert structure(3 * one, -0.5 * one) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("radius", [0.004, 0.0197, 0.0313, 0.0467, 0.1])
def test_a_radius_is_the_nearest_whole_number_of_grey_levels(radius: float) -> None:
    assert abs(StabilitySpec(radius=radius).levels - radius * 255) <= 0.5
