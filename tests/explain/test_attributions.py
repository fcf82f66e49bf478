"""Pixel attributions are exact where the classifier is simple enough to know the answer.

They also repeat themselves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from slidecam.errors import ExplanationError, UsageError
from slidecam.explain.attributions import (
    GradientShap,
    IntegratedGradientsExplainer,
    OcclusionExplainer,
    SmoothGradExplainer,
)
from slidecam.explain.baselines import BASELINES
from slidecam.explain.catalogue import method_for
from slidecam.explain.method_settings import (
    GradientShapSpec,
    IntegratedGradientsSpec,
    OcclusionSpec,
    SmoothGradSpec,
)
from slidecam.models.classifier import normalised
from small_networks import classifier_of

if TYPE_CHECKING:
    from torch import Tensor

EDGE = 14


class Linear(nn.Module):
    """Logits that are a weighted sum of pixels.

    The weights times the pixels are the only right attribution.
    """

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn((2, 3, EDGE, EDGE), generator=draw) / 10)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", pixels, self.weight)


class Cubic(Linear):
    """Logits whose gradient is the square of a pixel times its weight, in the first class."""

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels**3 / 3)


class Counting(Linear):
    """As `Linear`, counting the pictures that it is shown."""

    shown = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.shown += len(pixels)
        return super().forward(pixels)


class Bent(Linear):
    """As `Linear`, squared, so that gradients differ from place to place on the way."""

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels).square() + super().forward(pixels)


@pytest.fixture
def tiles() -> Tensor:
    return torch.randint(
        0, 256, (3, EDGE, EDGE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize(
    "method",
    [
        lambda c: IntegratedGradientsExplainer(c, IntegratedGradientsSpec(samples=5)),
        lambda c: GradientShap(c, GradientShapSpec(samples=4, baselines=("zero",))),
    ],
)
def test_a_linear_model_gives_each_pixel_its_weight_times_its_value(
    method: Any, tiles: Tensor
) -> None:
    network = Linear()
    classifier = classifier_of(network, EDGE, 2)
    found = method(classifier).explain(tiles, [1, 0])
    exact = torch.einsum(
        "bchw,kchw->bkhw", normalised(tiles, classifier.card), network.weight[[1, 0]].detach()
    )
    torch.testing.assert_close(found.maps, exact, rtol=1e-4, atol=1e-5)
    assert found.facts["completeness gap"] < 1e-4
    torch.testing.assert_close(found.logits, network(normalised(tiles, classifier.card)).detach())


def test_smoothgrad_of_a_linear_model_is_its_weights_however_much_noise(tiles: Tensor) -> None:
    network = Linear()
    found = SmoothGradExplainer(
        classifier_of(network, EDGE, 2), SmoothGradSpec(samples=5, noise=0.5)
    ).explain(tiles, [0])
    torch.testing.assert_close(
        found.maps[2, 0], network.weight[0].sum(0).detach(), rtol=1e-4, atol=1e-5
    )


def test_occlusion_of_a_linear_model_is_what_its_window_held(tiles: Tensor) -> None:
    network, spec = Linear(), OcclusionSpec(window=1 / 7, stride=1 / 7)
    classifier = classifier_of(network, EDGE, 2)
    found = OcclusionExplainer(classifier, spec).explain(tiles, [0])
    shares = (normalised(tiles, classifier.card) * network.weight[0].detach()).sum(1)
    windows = shares.view(3, 7, 2, 7, 2).sum((2, 4))
    torch.testing.assert_close(found.maps[:, 0, ::2, ::2], windows, rtol=1e-4, atol=1e-5)
    assert found.passes == 50


@pytest.mark.parametrize(("window", "stride"), [(4, 3), (5, 4), (3, 2), (5, 5), (14, 3), (1, 1)])
def test_occlusions_passes_are_its_windows_and_the_tile(
    tiles: Tensor, window: int, stride: int
) -> None:
    spec = OcclusionSpec(window=window / EDGE, stride=stride / EDGE)
    classifier = classifier_of(Counting(), EDGE, 2)
    network: Any = classifier.network
    network.shown = 0
    found = OcclusionExplainer(classifier, spec).explain(tiles[:1], [0])
    along = 1
    while (along - 1) * stride + window < EDGE:
        along += 1
    # captum looks at the tile as well.
    assert found.passes == along**2 + 1 == network.shown - 1


def test_smoothgrads_noise_is_a_share_of_the_tiles_range(tiles: Tensor) -> None:
    network = Cubic()
    classifier = classifier_of(network, EDGE, 2)
    narrow = tiles // 8 + 150
    found = SmoothGradExplainer(classifier, SmoothGradSpec(samples=300, noise=0.4)).explain(
        narrow, [0]
    )
    pixels = normalised(narrow, classifier.card)
    weight = network.weight[0].detach()
    for tile, heat in zip(pixels, found.maps[:, 0], strict=True):
        deviation = 0.4 * float(tile.max() - tile.min())
        added = heat - (weight * tile.square()).sum(0)
        # The mean of (x + noise)² is x² and the noise's variance.
        expected = weight.sum(0) * deviation**2
        slope = float((added * expected).sum() / expected.square().sum())
        assert abs(slope - 1) < 0.2


def test_gradient_shaps_gap_is_how_far_the_shares_are_from_the_mean_gain(tiles: Tensor) -> None:
    classifier = classifier_of(Bent(), EDGE, 2)
    bright = tiles // 2 + 120
    names = ("black", "zero", "blur")
    spec = GradientShapSpec(samples=3, baselines=names)
    found = GradientShap(classifier, spec).explain(bright, [1])
    gaps = []
    for tile, heat in zip(normalised(bright, classifier.card), found.maps[:, 0], strict=True):
        others = torch.stack([BASELINES[name](tile) for name in names])
        logits = classifier.logits_of(torch.cat([tile[None], others]))[:, 1]
        gaps.append(abs(float(heat.sum() - logits[0] + logits[1:].sum() / len(names))))
    assert found.facts["completeness gap"] == pytest.approx(max(gaps), rel=1e-3)


@pytest.mark.parametrize(("name", "kernel", "sigma"), [("blur", 51, 10), ("rise-blur", 11, 5)])
@pytest.mark.parametrize("edge", [5, 9, 23, 71])
def test_a_blurred_picture_is_scipys_over_mirrored_borders(
    name: str, kernel: int, sigma: float, edge: int
) -> None:
    picture = torch.rand((3, edge, edge + 2), generator=torch.Generator().manual_seed(edge))
    # A picture is mirrored once, so that the window reaches over no more than the whole of it.
    radius = min(kernel // 2, edge - 1)
    expected = [
        gaussian_filter(band.double().numpy(), sigma, mode="mirror", radius=radius)
        for band in picture
    ]
    found = BASELINES[name](picture)
    torch.testing.assert_close(found.double(), torch.tensor(np.stack(expected)), atol=1e-5, rtol=0)


def test_integrated_gradients_are_complete_on_a_bent_model(tiles: Tensor) -> None:
    classifier = classifier_of(Bent(), EDGE, 2)
    found = IntegratedGradientsExplainer(classifier, IntegratedGradientsSpec(samples=20)).explain(
        tiles, [0, 1]
    )
    gain = classifier.logits_of(normalised(tiles, classifier.card)) - classifier.logits_of(
        torch.zeros(1, 3, EDGE, EDGE)
    )
    torch.testing.assert_close(found.maps.sum((2, 3)), gain, rtol=1e-3, atol=1e-3)


def test_gradient_shap_comes_nearer_to_completeness_with_more_samples(tiles: Tensor) -> None:
    classifier = classifier_of(Bent(), EDGE, 2)
    spec = GradientShapSpec(samples=4)
    few, many = (
        GradientShap(classifier, replace(spec, samples=samples))
        .explain(tiles, [0])
        .facts["completeness gap"]
        for samples in (2, 512)
    )
    assert many < few / 20


def test_gradient_shap_equals_integrated_gradients_averaged_over_its_baselines(
    tiles: Tensor,
) -> None:
    classifier = classifier_of(Bent(), EDGE, 2)
    sampled = GradientShap(classifier, GradientShapSpec(samples=400)).explain(tiles, [0]).maps
    each = [
        IntegratedGradientsExplainer(classifier, IntegratedGradientsSpec(baseline=name))
        .explain(tiles, [0])
        .maps
        for name in ("zero", "blur")
    ]
    mean = torch.stack(each).mean(0)
    assert float((sampled - mean).abs().max()) < 0.01 * float(mean.abs().max())


METHODS = [
    method_for(name)
    for name in ("occlusion", "integrated-gradients", "smoothgrad", "gradient-shap")
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_explanation_repeats_itself_and_leaves_the_random_state_alone(
    method: Any, tiles: Tensor
) -> None:
    classifier = classifier_of(Bent(), EDGE, 2)
    state = torch.get_rng_state()
    once, again = (
        method.make(classifier, method.spec()).explain(tiles, [1]).maps for _ in range(2)
    )
    assert torch.equal(once, again)
    assert torch.equal(torch.get_rng_state(), state)


def test_another_seed_gives_another_smoothgrad(tiles: Tensor) -> None:
    classifier = classifier_of(Bent(), EDGE, 2)
    one, other = (
        SmoothGradExplainer(classifier, SmoothGradSpec(samples=3, seed=seed))
        .explain(tiles, [0])
        .maps
        for seed in (0, 1)
    )
    assert not torch.equal(one, other)


def test_a_tile_larger_than_a_batch_of_points_is_the_same_in_smaller_batches(tiles: Tensor) -> None:
    classifier = classifier_of(Bent(), EDGE, 2)
    cases: list[tuple[Any, Any]] = [
        (IntegratedGradientsExplainer, IntegratedGradientsSpec()),
        (GradientShap, GradientShapSpec()),
        (OcclusionExplainer, OcclusionSpec()),
    ]
    for explainer, spec in cases:
        large = explainer(classifier, spec).explain(tiles[:1], [0]).maps
        small = explainer(classifier, replace(spec, batch=3)).explain(tiles[:1], [0]).maps
        torch.testing.assert_close(large, small, rtol=1e-4, atol=1e-5)


def test_a_class_that_is_not_there_is_refused(tiles: Tensor) -> None:
    with pytest.raises(ExplanationError, match="no class 7"):
        SmoothGradExplainer(classifier_of(Linear(), EDGE, 2), SmoothGradSpec()).explain(tiles, [7])


def test_impossible_settings_are_refused() -> None:
    classifier = classifier_of(Linear(), EDGE, 2)
    with pytest.raises(ExplanationError, match="window 2"):
        OcclusionExplainer(classifier, OcclusionSpec(window=2))
    with pytest.raises(ExplanationError, match="samples 0"):
        SmoothGradExplainer(classifier, SmoothGradSpec(samples=0))
    with pytest.raises(UsageError, match="green"):
        IntegratedGradientsExplainer(classifier, IntegratedGradientsSpec(baseline="green"))
