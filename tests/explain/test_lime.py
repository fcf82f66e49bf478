"""LIME finds the weights of a model that is linear in its superpixels.

It equals the authors' own regression.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from lime.lime_base import LimeBase
from sklearn.metrics import pairwise_distances
from torch import nn

from slidecam.errors import ExplanationError
from slidecam.explain.lime import Lime, LinearFit, between_seeds, coverage_weights, fit_linear
from slidecam.explain.method_settings import LimeSpec
from slidecam.models import Card, Classifier, classifier_for

if TYPE_CHECKING:
    from torch import Tensor

EDGE = 32


class Quadrants(nn.Module):
    """A logit of two quarters of the picture, and its opposite.

    It is 3 times the mean of the top left quarter less twice that of the bottom right.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, pixels: Tensor) -> Tensor:
        half = pixels.shape[-1] // 2
        logit = 3 * pixels[:, :, :half, :half].mean((1, 2, 3)) - 2 * pixels[
            :, :, half:, half:
        ].mean((1, 2, 3))
        return torch.stack([logit, -logit], 1) * self.scale


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    card = Card(
        name="quadrants",
        architecture="slidecam/test",
        class_names=("A", "B"),
        activation="softmax",
        tile_px=EDGE,
        spacing=None,
        input_px=EDGE,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    return classifier_for(Quadrants(), card, torch.device("cpu"))


@pytest.fixture
def tile() -> Tensor:
    pixels = torch.full((1, EDGE, EDGE, 3), 255, dtype=torch.uint8)
    pixels[:, : EDGE // 2, EDGE // 2 :] = 200
    pixels[:, EDGE // 2 :, : EDGE // 2] = 60
    return pixels


def test_superpixels_weigh_what_the_model_gives_them(classifier: Classifier, tile: Tensor) -> None:
    spec = LimeSpec(segments=4, sigma=0.0, samples=200, baseline="zero", target="logit", ridge=1e-6)
    found = Lime(classifier, spec).explain(tile, [0, 1])
    assert found.maps.shape == (1, 2, EDGE, EDGE)
    assert found.maps[0, 0, 4, 4] == pytest.approx(3, abs=1e-3)
    assert found.maps[0, 0, -4, -4] == pytest.approx(-2, abs=1e-3)
    assert found.maps[0, 0, 4, -4] == pytest.approx(0, abs=1e-3)
    torch.testing.assert_close(found.maps[:, 1], -found.maps[:, 0])
    assert found.facts["explained variance"] == pytest.approx(1, abs=1e-4)
    assert found.facts["between-seed correlation"] == pytest.approx(1, abs=1e-4)
    assert found.passes == 401


def test_the_regression_is_the_one_of_the_authors() -> None:
    draw = np.random.default_rng(0)
    shown = draw.integers(0, 2, (60, 7)).astype(bool)
    shown[0] = True
    scores = draw.random((60, 2))
    distances = pairwise_distances(shown.astype(float), np.ones((1, 7)), metric="cosine").ravel()
    theirs = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)), random_state=0)
    ours = fit_linear(shown, scores, LimeSpec())
    for index in range(2):
        _intercept, weights, explained, _local = theirs.explain_instance_with_data(
            shown.astype(float), scores, distances, index, 7
        )
        np.testing.assert_allclose(
            ours.weights[index], [value for _part, value in sorted(weights)], atol=1e-10
        )
        assert ours.explained[index] == pytest.approx(explained)


def test_an_uncovered_tile_weighs_1_and_a_covered_one_least() -> None:
    weights = coverage_weights(
        np.array([[True] * 4, [True, True, False, False], [False] * 4]), 0.25
    )
    assert weights[0] == 1
    assert weights[1] == pytest.approx(np.exp(-0.5 * ((1 - np.sqrt(0.5)) / 0.25) ** 2))
    assert weights[2] == min(weights)


def test_a_constant_tile_is_explained_by_nothing(classifier: Classifier) -> None:
    found = Lime(classifier, LimeSpec(samples=20)).explain(
        torch.full((2, EDGE, EDGE, 3), 90, dtype=torch.uint8), [0]
    )
    assert found.maps.isfinite().all()
    assert float(found.maps.abs().max()) < 1e-6


def test_seeds_without_any_evidence_do_not_correlate() -> None:
    nothing = LinearFit(np.zeros((1, 3)), np.zeros(1))
    some = LinearFit(np.array([[1.0, 2.0, 3.0]]), np.ones(1))
    assert between_seeds(nothing, some) == 0
    assert between_seeds(some, some) == pytest.approx(1)


def test_seeds_repeat_and_differ(classifier: Classifier, tile: Tensor) -> None:
    maps = [
        Lime(classifier, LimeSpec(samples=30, seed=seed)).explain(tile, [0]).maps
        for seed in (0, 0, 5)
    ]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


def test_steps_count_every_covering(classifier: Classifier, tile: Tensor) -> None:
    steps = list(Lime(classifier, LimeSpec(samples=20, batch=16)).steps(tile, [0]))
    assert [step.done for step in steps] == [16, 20, 36, 40]
    assert {step.total for step in steps} == {40}


@pytest.mark.parametrize("spec", [LimeSpec(samples=0), LimeSpec(target="odds"), LimeSpec(seeds=0)])  # type: ignore[arg-type]
def test_impossible_settings_are_refused(classifier: Classifier, spec: LimeSpec) -> None:
    with pytest.raises(ExplanationError):
        Lime(classifier, spec)


def test_the_map_is_the_first_seeds_whatever_others_are_compared_with(
    classifier: Classifier, tile: Tensor
) -> None:
    spec = LimeSpec(samples=40, seeds=3, seed=7)
    three = Lime(classifier, spec).explain(tile, [0]).maps
    first, second = (
        Lime(classifier, replace(spec, seeds=1, seed=seed)).explain(tile, [0]).maps
        for seed in (7, 8)
    )
    assert torch.equal(three, first)
    assert not torch.equal(three, second)
