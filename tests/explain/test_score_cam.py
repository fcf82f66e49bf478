"""Score-CAM is what it says, by either rule, and takes the passes and the memory that it says."""

from __future__ import annotations

import statistics
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own name for it)
from pytorch_grad_cam import ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from slidecam.errors import ExplanationError
from slidecam.explain.catalogue import method_for
from slidecam.explain.method_settings import ClusteredScoreCamSpec, ScoreCamSpec, Weights
from slidecam.explain.score_cam import (
    ClusteredScoreCam,
    ScoreCam,
    blended,
    correlation,
    representatives,
)
from slidecam.models import classifier_for, open_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.models import Classifier
    from small_networks import MakeSmall, Small

CLASSES = (0, 2)
BACKENDS: tuple[str, ...] = ("eager", "folded")


def their_maps(
    network: nn.Module, layer: nn.Module, pixels: torch.Tensor, index: int
) -> NDArray[Any]:
    with ScoreCAM(network, [layer]) as cam:
        maps: NDArray[Any] = cam(
            input_tensor=pixels, targets=[ClassifierOutputTarget(index)] * len(pixels)
        )
    return maps


@pytest.mark.parametrize(
    "name", ["pocket", "sequential", pytest.param("resnet18", marks=pytest.mark.slow)]
)
def test_maps_equal_pytorch_grad_cams(
    small: MakeSmall,
    hooked: Callable[[nn.Module, Small], nn.Module],
    as_theirs: Callable[[torch.Tensor, int], NDArray[Any]],
    name: str,
) -> None:
    case, network = small(name), small(name).network()
    layer, count = hooked(network, case), 1 if name == "resnet18" else 3
    theirs = [their_maps(network, layer, case.scaled(count), index) for index in CLASSES]
    assert min(maps.max() for maps in theirs) > 0.9, "a map of zeros would agree with anything"
    for backend in BACKENDS[name == "resnet18" :]:
        for tiles in {1, count}:
            spec = ScoreCamSpec("pytorch-grad-cam")
            found = ScoreCam(case.classifier(backend), spec).explain(case.tiles(tiles), CLASSES)
            for place in range(len(CLASSES)):
                ours = as_theirs(found.maps[:, place], case.edge)
                assert np.abs(ours - theirs[place][:tiles]).max() <= 1e-5


def slow_map(
    classifier: Classifier, pixels: torch.Tensor, index: int, *, less_baseline: bool
) -> torch.Tensor:
    """Return one tile's map by the definition, one channel at a time."""
    with torch.no_grad():
        activation = classifier.run_normalised(pixels, gradients=False).activation
        assert activation is not None
        total = torch.zeros(activation.shape[2:])
        nothing = (
            classifier.network(torch.zeros_like(pixels)).softmax(1)[0, index]
            if less_baseline
            else 0.0
        )
        for channel in activation[0]:
            enlarged = F.interpolate(
                channel[None, None], pixels.shape[2:], mode="bilinear", align_corners=False
            )
            if channel.max() > channel.min():
                mask = (enlarged - enlarged.min()) / (enlarged.max() - enlarged.min())
                total += (
                    classifier.network(pixels * mask).softmax(1)[0, index] - nothing
                ) * channel
    return total.clamp_min(0)


@pytest.mark.parametrize("name", ["pocket", "vit"])
@pytest.mark.parametrize("weights", ["official", "increase"])
def test_maps_are_the_definitions(small: MakeSmall, weights: Any, name: str) -> None:
    case = small(name)
    classifier = case.classifier("eager")
    found = ScoreCam(classifier, ScoreCamSpec(weights, batch=5)).explain(case.tiles(2), CLASSES)
    assert float(found.maps.max()) > 0.01
    for tile in range(2):
        for place, index in enumerate(CLASSES):
            pixels = case.scaled(2)[tile : tile + 1]
            slow = slow_map(classifier, pixels, index, less_baseline=weights == "increase")
            torch.testing.assert_close(found.maps[tile, place], slow, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_masked_passes_by_openvino_give_the_definitions_map(small: MakeSmall) -> None:
    case = small("pocket")
    classifier = case.classifier("openvino")
    assert classifier.backend.startswith("OpenVINO")
    spec = ScoreCamSpec("increase", batch=5)
    found = ScoreCam(classifier, spec).explain(case.tiles(1), CLASSES)
    for place, index in enumerate(CLASSES):
        slow = slow_map(case.classifier("eager"), case.scaled(1), index, less_baseline=True)
        torch.testing.assert_close(found.maps[0, place], slow, rtol=1e-4, atol=1e-4)


def with_dead_channels(small: Small) -> nn.Module:
    """Return the sequential network with three dead channels.

    They are of the convolution before the map, and never light up.
    """
    network = small.network()
    conv: Any = network.get_submodule("3")
    with torch.no_grad():
        conv.weight[:3], conv.bias[:3] = 0, -1
    return network


def counted(classifier: Classifier) -> list[int]:
    """Return a list that fills with the tiles of each pass of the classifier's network."""
    passes: list[int] = []
    classifier.network.register_forward_pre_hook(
        lambda _module, inputs: passes.append(len(inputs[0]))
    )
    return passes


@pytest.mark.parametrize(
    ("weights", "nothing"), [("official", 0), ("increase", 1), ("pytorch-grad-cam", 1)]
)
def test_dead_channels_take_no_pass_but_one_together(
    small: MakeSmall, weights: Any, nothing: int
) -> None:
    case = small("sequential")
    classifier = classifier_for(with_dead_channels(case), case.card, torch.device("cpu"))
    passes = counted(classifier)
    found = ScoreCam(classifier, ScoreCamSpec(weights, batch=4)).explain(case.tiles(2), CLASSES)
    assert found.passes == 1 + 9 + nothing
    assert sum(passes) == 2 * (1 + 9) + nothing
    assert max(passes) == 4, "memory hangs on the batch and not on the channels"


def test_dead_channels_count_as_pytorch_grad_cam_counts_them(
    small: MakeSmall,
    hooked: Callable[[nn.Module, Small], nn.Module],
    as_theirs: Callable[[torch.Tensor, int], NDArray[Any]],
) -> None:
    case, network = small("sequential"), with_dead_channels(small("sequential"))
    classifier = classifier_for(network, case.card, torch.device("cpu"))
    found = ScoreCam(classifier, ScoreCamSpec("pytorch-grad-cam")).explain(case.tiles(1), (1,))
    theirs = their_maps(network, hooked(network, case), case.scaled(1), 1)
    assert np.abs(as_theirs(found.maps[:, 0], case.edge) - theirs).max() <= 1e-5


def test_a_tile_where_no_channel_lights_up_has_a_map_of_zeros(small: MakeSmall) -> None:
    case, network = small("sequential"), small("sequential").network()
    conv: Any = network.get_submodule("3")
    with torch.no_grad():
        conv.weight[:], conv.bias[:] = 0, -1
    classifier = classifier_for(network, case.card, torch.device("cpu"))
    method = method_for("score-cam")
    found = method.make(classifier, method.spec()).explain(case.tiles(2), CLASSES)
    assert torch.equal(found.maps, torch.zeros(2, 2, *found.maps.shape[2:]))


def test_only_by_the_increase_do_tiles_without_the_class_stay_dark(
    sample_data: Path, sample_tiles: torch.Tensor
) -> None:
    classifier = open_bundle(sample_data / "bundle").classifier()
    tumour = classifier.card.class_names.index("tumour")
    certain = classifier.run(sample_tiles, gradients=False).logits.softmax(1)[:, tumour]
    glow: dict[str, float] = {}
    for weights in get_args(Weights):
        peaks = (
            ScoreCam(classifier, ScoreCamSpec(weights))
            .explain(sample_tiles, (tumour,))
            .maps.amax((1, 2, 3))
        )
        glow[weights] = float(peaks[certain < 0.05].median() / peaks[certain > 0.95].median())
    assert glow["increase"] < 0.05
    assert min(glow["official"], glow["pytorch-grad-cam"]) > 0.25


def test_the_facts_tell_what_the_mean_colour_is_taken_for(small: MakeSmall) -> None:
    case = small("pocket")
    with torch.no_grad():
        nothing = case.network()(torch.zeros(1, 3, case.edge, case.edge)).softmax(1)[0]
    found = ScoreCam(case.classifier(), ScoreCamSpec()).explain(case.tiles(1), (2, 0))
    told = found.facts["probability of a tile of the mean colour"]
    assert told == pytest.approx([float(nothing[2]), float(nothing[0])], abs=1e-4)
    official = (
        ScoreCam(case.classifier(), ScoreCamSpec("official")).explain(case.tiles(1), (0,)).facts
    )
    assert "probability of a tile of the mean colour" not in official


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (ScoreCamSpec("best"), "'best'"),  # type: ignore[arg-type]
        (ScoreCamSpec(batch=0), "batch is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    small: MakeSmall, spec: ScoreCamSpec, named: str
) -> None:
    with pytest.raises(ExplanationError, match=named):
        ScoreCam(small("pocket").classifier(), spec)


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
def test_clusters_that_cannot_be_are_refused(small: MakeSmall, spec: ClusteredScoreCamSpec) -> None:
    with pytest.raises(ExplanationError, match="cannot be"):
        ClusteredScoreCam(small("pocket").classifier(), spec)


def test_the_passes_are_those_of_the_tile_with_the_most_channels(
    small: MakeSmall, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([2, 7, 4])

    def explained(
        _self: ScoreCam, view: Any, classes: list[int]
    ) -> Generator[Any, None, tuple[torch.Tensor, int]]:
        yield from ()
        return torch.zeros((len(classes), *view.activation.shape[1:])), next(counts)

    monkeypatch.setattr(ScoreCam, "_explained", explained)
    case = small("pocket")
    found = ScoreCam(case.classifier(), ScoreCamSpec("official")).explain(case.tiles(3), CLASSES)
    assert found.passes == 8


def test_channels_matter_to_the_choice_of_centres_by_their_energy(
    small: MakeSmall, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, seen = small("pocket"), []

    def noted(points: torch.Tensor, weights: torch.Tensor, count: int) -> torch.Tensor:
        seen.append(weights)
        return representatives(points, weights, count)

    monkeypatch.setattr("slidecam.explain.score_cam.representatives", noted)
    classifier = case.classifier()
    ClusteredScoreCam(classifier, ClusteredScoreCamSpec(clusters=3)).explain(case.tiles(1), CLASSES)
    activation = classifier.run(case.tiles(1), gradients=False).activation
    assert activation is not None
    maps = activation[0].flatten(1)
    live = maps[maps.amax(1) > maps.amin(1)]
    torch.testing.assert_close(seen[0], torch.stack([one @ one for one in live]))
