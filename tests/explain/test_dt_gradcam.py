"""DT Grad-CAM keeps of Grad-CAM what reaches its threshold, tile by tile or over all tiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from slidecam.errors import ExplanationError
from slidecam.explain.catalogue import method_for
from slidecam.explain.map_methods import DtGradCam
from slidecam.explain.method_settings import DtGradCamSpec
from slidecam.models import Card, classifier_for
from slidecam.models.architectures import build_network
from slidecam.thresholds import Threshold, threshold_of

if TYPE_CHECKING:
    from slidecam.models import Classifier

RULES = (
    Threshold(),
    Threshold("mean", 1.0),
    Threshold("quantile", 0.8),
    Threshold("fraction", 0.5),
)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    card = Card(
        name="case", architecture="slidecam/pocket_resnet", class_names=("a", "b", "c"),
        activation="softmax",
        tile_px=48, spacing=0.5, input_px=48, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = build_network(card.architecture, {"widths": [8, 12]}, 3, Path("card.json"))
    return classifier_for(network, card, torch.device("cpu"))


@pytest.fixture(scope="module")
def tiles() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (5, 48, 48, 3), dtype=torch.uint8, generator=generator)


def grad_cam(classifier: Classifier, tiles: torch.Tensor) -> torch.Tensor:
    method = method_for("gradcam")
    return method.make(classifier, method.spec()).explain(tiles, (2, 0)).maps


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_each_tile_and_class_has_a_threshold_of_its_own(
    classifier: Classifier, tiles: torch.Tensor, rule: Threshold
) -> None:
    whole = grad_cam(classifier, tiles).numpy()
    found = DtGradCam(classifier, DtGradCamSpec(rule)).explain(tiles, (2, 0))
    for tile in range(5):
        for place in range(2):
            threshold = np.float32(threshold_of(whole[tile, place], rule))
            expected = whole[tile, place] * (whole[tile, place] >= threshold)
            np.testing.assert_array_equal(found.maps[tile, place], expected)
            assert found.facts["thresholds"][tile][place] == pytest.approx(threshold)
    kept, all_of_it = (int((maps > 0).sum()) for maps in (found.maps, torch.from_numpy(whole)))
    assert 0 < kept < all_of_it, "a rule that keeps all shows nothing"


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_tiles_that_are_given_together_can_share_a_threshold(
    classifier: Classifier, tiles: torch.Tensor, rule: Threshold
) -> None:
    whole = grad_cam(classifier, tiles).numpy()
    found = DtGradCam(classifier, DtGradCamSpec(rule, "batch")).explain(tiles, (2, 0))
    for place in range(2):
        threshold = np.float32(threshold_of(whole[:, place], rule))
        expected = whole[:, place] * (whole[:, place] >= threshold)
        np.testing.assert_array_equal(found.maps[:, place], expected)
    assert np.shape(found.facts["thresholds"]) == (1, 2)


def test_the_explanation_says_by_which_rule_and_whose_reading_it_is(
    classifier: Classifier, tiles: torch.Tensor
) -> None:
    found = DtGradCam(classifier, DtGradCamSpec(Threshold("quantile", 0.9))).explain(tiles, (0,))
    assert found.method == "dt-gradcam"
    assert (found.facts["threshold"], found.facts["scope"]) == ("quantile:0.9", "tile")
    assert "2308.13150" in found.facts["reading"]


def test_scopes_that_are_not_there_are_refused(classifier: Classifier) -> None:
    with pytest.raises(ExplanationError, match=r"'slide'.*tile or batch"):
        DtGradCam(classifier, DtGradCamSpec(scope="slide"))  # type: ignore[arg-type]


def test_what_equals_the_threshold_is_kept(classifier: Classifier, tiles: torch.Tensor) -> None:
    peaks = DtGradCam(classifier, DtGradCamSpec(Threshold("fraction", 1.0)))
    whole = method_for("gradcam")
    raw = whole.make(classifier, whole.spec()).explain(tiles, [0, 2]).maps
    highest = raw.amax((2, 3), keepdim=True)
    found = peaks.explain(tiles, [0, 2]).maps
    torch.testing.assert_close(found, torch.where(raw == highest, raw, 0.0))
    assert float(found.max()) > 0
