"""Every method of the catalogue keeps the published contract."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
import torch

from slidecam.explain.catalogue import METHODS, method_for
from slidecam.explain.contract import ExplainerCase, ExplainerContract
from slidecam.explain.method_settings import DtGradCamSpec, FinerCamSpec
from slidecam.models import Card, classifier_for
from slidecam.models.architectures import build_network
from slidecam.thresholds import Threshold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.models import Classifier

EDGE = 32
NETWORKS: Mapping[str, tuple[str, dict[str, object]]] = MappingProxyType(
    {
        "linear head": ("slidecam/pocket_resnet", {"widths": [8, 12]}),
        "deep head": ("slidecam/simple_cnn", {"input_px": EDGE}),
        "tokens": ("timm/test_vit", {"img_size": EDGE, "patch_size": 8}),
    }
)
SETTINGS: Mapping[str, object] = MappingProxyType({"finer-cam": FinerCamSpec(against=2)})
"""Where the defaults do not do for a classifier of three classes, or would take too long here."""


@cache
def classifier_on(kind: str) -> Classifier:
    """Return a small classifier whose logits differ from tile to tile."""
    architecture, args = NETWORKS[kind]
    card = Card(
        name=kind, architecture=architecture, class_names=("a", "b", "c"), activation="softmax",
        tile_px=EDGE,
        spacing=0.5, input_px=EDGE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
        architecture_args=args,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = build_network(architecture, args, 3, Path("card.json"))
        for name, values in network.state_dict().items():
            if name.endswith(("fc.weight", "head.weight", "classifier.4.weight")):
                values.mul_(10)
    return classifier_for(network, card, torch.device("cpu"))


TOLERANCES: Mapping[tuple[str, str], float] = MappingProxyType({("finer-cam", "deep head"): 1e-5})
"""Where rounding shows more than elsewhere.

Finer-CAM's map is what is left of two that nearly cancel, so that the head's rounding shows more
in it.
"""


@cache
def case_of(name: str, kind: str) -> ExplainerCase:
    """Return the one case of a method on a network, which all promises share."""
    tolerance = TOLERANCES.get((name, kind), 1e-6)
    return ExplainerCase(
        method_for(name), classifier_on(kind), SETTINGS.get(name), tolerance=tolerance
    )


class TestEveryMethod(ExplainerContract):
    @pytest.fixture(params=[method.name for method in METHODS])
    def case(self, request: pytest.FixtureRequest) -> ExplainerCase:
        return case_of(request.param, "linear head")


class TestCheapMethodsOnADeepHead(ExplainerContract):
    @pytest.fixture(
        params=[method.name for method in METHODS if not method.costly and method.name != "cam"]
    )
    def case(self, request: pytest.FixtureRequest) -> ExplainerCase:
        return case_of(request.param, "deep head")


class TestCheapMethodsOnTokens(ExplainerContract):
    @pytest.fixture(
        params=[method.name for method in METHODS if not method.costly and method.name != "cam"]
    )
    def case(self, request: pytest.FixtureRequest) -> ExplainerCase:
        return case_of(request.param, "tokens")


@cache
def thresholded_by_another_rule() -> ExplainerCase:
    spec = DtGradCamSpec(Threshold("mean", 0.5))
    return ExplainerCase(method_for("dt-gradcam"), classifier_on("linear head"), spec)


class TestThresholdedByAnotherRule(ExplainerContract):
    @pytest.fixture
    def case(self) -> ExplainerCase:
        return thresholded_by_another_rule()
