from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch

from slidecam.errors import ExplanationError
from slidecam.explain.score_cam import ScoreCam, ScoreCamSpec, Weights
from slidecam.explain.score_cam_clusters import (
    ClusteredScoreCam,
    ClusteredScoreCamSpec,
    blended,
    correlation,
    representatives,
)
from slidecam.models import open_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from small_networks import MakeSmall


def points(count: int = 40, axes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(count, axes, generator=generator), torch.rand(count, generator=generator)


def cost(among: torch.Tensor, weights: torch.Tensor, chosen: list[int]) -> float:
    return sum(
        float(w) * min(float((p - among[c]).square().sum()) for c in chosen)
        for p, w in zip(among, weights, strict=True)
    )


def test_each_choice_is_the_best_next_one() -> None:
    among, weights = points()
    chosen: list[int] = []
    for _ in range(6):
        chosen.append(
            min(range(len(among)), key=lambda index: cost(among, weights, [*chosen, index]))
        )
    assert representatives(among, weights, 6).tolist() == chosen


def test_groups_apart_have_one_each() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    among = (centres[:, None] + points(15, 2)[0].reshape(3, 5, 2)).flatten(0, 1)
    assert sorted((representatives(among, torch.ones(15), 3) // 5).tolist()) == [0, 1, 2]


def test_all_points_stand_for_themselves_if_there_are_no_more() -> None:
    among, weights = points(4)
    for count in (4, 9):
        assert representatives(among, weights, count).tolist() == [0, 1, 2, 3]


def test_points_that_are_all_the_same_are_no_trouble() -> None:
    among = torch.ones(6, 2)
    chosen = representatives(among, torch.ones(6), 2)
    values = blended(torch.tensor([[1.0], [1.0]]), among, chosen)
    assert torch.allclose(values, torch.ones(6, 1))


def test_representatives_keep_their_values_and_others_lie_between() -> None:
    among, weights = points()
    chosen = representatives(among, weights, 5)
    values = torch.arange(5.0)[:, None]
    told = blended(values, among, chosen)
    torch.testing.assert_close(told[chosen], values, rtol=0, atol=1e-4)
    assert float(told.min()) >= 0
    assert float(told.max()) <= 4
    other = next(index for index in range(40) if index not in chosen)
    squares, order = (among[chosen] - among[other]).square().sum(1).sort()
    shares = (1 / squares[:3]) / (1 / squares[:3]).sum()
    torch.testing.assert_close(told[other], (shares * order[:3]).sum()[None], rtol=1e-5, atol=1e-5)


CLASSES = (0, 2)


@pytest.mark.parametrize("clusters", [12, 99])
def test_with_a_cluster_for_each_channel_it_is_score_cam(small: MakeSmall, clusters: int) -> None:
    case, spec = small("sequential"), ClusteredScoreCamSpec("pytorch-grad-cam", clusters=clusters)
    clustered = ClusteredScoreCam(case.classifier(), spec).explain(case.tiles(2), CLASSES)
    exact = ScoreCam(case.classifier(), ScoreCamSpec("pytorch-grad-cam")).explain(
        case.tiles(2), CLASSES
    )
    torch.testing.assert_close(clustered.maps, exact.maps, rtol=1e-6, atol=1e-7)
    assert clustered.passes == exact.passes


@pytest.mark.parametrize("weights", get_args(Weights))
def test_maps_correlate_with_the_exact_ones(
    sample_data: Path, sample_tiles: torch.Tensor, weights: Any
) -> None:
    classifier = open_bundle(sample_data / "bundle").classifier()
    spec = ClusteredScoreCamSpec(weights, check=len(sample_tiles))
    found = ClusteredScoreCam(classifier, spec).explain(sample_tiles, (0, 1, 2))
    exact = ScoreCam(classifier, ScoreCamSpec(weights)).explain(sample_tiles, (0, 1, 2))
    bright = exact.maps.amax((2, 3)) > 0.01 * exact.maps.max()
    pairs = zip(found.maps[bright], exact.maps[bright], strict=True)
    measured = [float(np.corrcoef(one.flatten(), other.flatten())[0, 1]) for one, other in pairs]
    assert len(measured) >= len(sample_tiles)
    assert statistics.median(measured) >= 0.99
    assert min(measured) >= 0.97
    assert not torch.equal(found.maps, exact.maps)
    assert found.facts["correlation with exact"] == pytest.approx(
        statistics.median(measured), abs=1e-6
    )
    assert found.facts["lowest correlation with exact"] == pytest.approx(min(measured), abs=1e-6)
    assert found.facts["maps compared"] == len(measured)


def test_it_is_labelled_as_approximate_with_its_passes(small: MakeSmall) -> None:
    case = small("sequential")
    classifier = case.classifier()
    passes: list[int] = []
    classifier.network.register_forward_pre_hook(
        lambda _module, inputs: passes.append(len(inputs[0]))
    )
    found = ClusteredScoreCam(classifier, ClusteredScoreCamSpec("official", clusters=4)).explain(
        case.tiles(2), CLASSES
    )
    assert sum(passes) == 2 * (1 + 4)
    assert "approximate" in found.facts
    assert found.facts["clusters"] == 4
    assert found.passes == found.facts["passes"] == 1 + 4
    assert found.facts["correlation with exact"] is None


def test_only_as_many_tiles_are_compared_as_was_asked(small: MakeSmall) -> None:
    case, spec = small("sequential"), ClusteredScoreCamSpec("official", clusters=4, check=1)
    explainer = ClusteredScoreCam(case.classifier(), spec)
    steps = list(explainer.steps(case.tiles(3), CLASSES))
    assert {step.phase for step in steps} == {"Score-CAM", "Score-CAM, clustered"}
    assert next(step.total for step in steps if step.phase == "Score-CAM") == 100
    found = explainer.explain(case.tiles(3), CLASSES)
    assert found.facts["maps compared"] == len(CLASSES)
    assert (
        0.5
        < found.facts["lowest correlation with exact"]
        <= found.facts["correlation with exact"]
        <= 1
    )


def test_a_map_that_is_the_same_everywhere_correlates_with_nothing() -> None:
    rising = torch.arange(6.0).reshape(2, 3)
    assert correlation(rising, torch.ones(2, 3)) == 0
    assert correlation(rising, -3 * rising + 1) == pytest.approx(-1)


@pytest.mark.parametrize(
    "spec", [ClusteredScoreCamSpec(clusters=0), ClusteredScoreCamSpec(check=-1)]
)
def test_settings_that_cannot_be_are_refused(small: MakeSmall, spec: ClusteredScoreCamSpec) -> None:
    with pytest.raises(ExplanationError, match="cannot be"):
        ClusteredScoreCam(small("pocket").classifier(), spec)
