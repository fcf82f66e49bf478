"""Settings of methods are read as a person writes them, and every mistake is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from slidecam.close_up.methods import choose_methods, listed_methods
from slidecam.errors import ExplanationError, UsageError
from slidecam.explain.catalogue import CATALOGUE
from slidecam.explain.method_settings import GradientShapSpec, LimeSpec, OcclusionSpec
from slidecam.models import open_bundle
from slidecam.thresholds import Threshold

if TYPE_CHECKING:
    from pathlib import Path


def test_settings_take_the_types_of_their_fields() -> None:
    chosen = choose_methods(
        ["lime", "occlusion", "gradient-shap"],
        [
            "lime.samples=12",
            "lime.target=logit",
            "occlusion.window=0.25",
            "gradient-shap.baselines=zero,blur",
        ],
    )
    assert chosen["lime"].settings == LimeSpec(samples=12, target="logit")
    assert chosen["occlusion"].settings == OcclusionSpec(window=0.25)
    assert chosen["gradient-shap"].settings == GradientShapSpec(baselines=("zero", "blur"))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("lime.sample=3", "Did you mean samples"),
        ("lime.samples=many", "'many' is not a whole number"),
        ("lime.target=odds", 'one of "probability", "logit"'),
        ("occlusion.window=1", "was not chosen"),
        ("samples=3", "METHOD.KEY=VALUE"),
        ("lime.samples=", "METHOD.KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        choose_methods(["lime"], [setting])


@pytest.mark.parametrize(
    "setting",
    [
        "gradcam++.eps=nan",
        "finer-cam.gamma=nan",
        "fem.k=nan",
        "smoothgrad.noise=inf",
        "lime.kernel=nan",
    ],
)
def test_a_setting_that_is_no_finite_number_is_refused(setting: str) -> None:
    with pytest.raises(UsageError, match=r"is not a number"):
        choose_methods([setting.partition(".")[0]], [setting])


@pytest.mark.parametrize(
    "setting",
    [
        "smoothgrad.noise=-1", "smoothgrad.seed=-1", "smoothgrad.batch=0",
        "lime.kernel=0", "lime.ridge=-1",
        "lime.compactness=0", "lime.seed=-1", "lime.sigma=-1", "lime.batch=0", "occlusion.batch=0",
        "integrated-gradients.batch=0", "gradient-shap.noise=-1", "kpca-cam.gamma=0", "fem.k=-1",
        "gradcam++.eps=-1",
        "finer-cam.gamma=-1",
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_named_before_anything_is_read(
    sample_data: Path, setting: str
) -> None:
    place, _, value = setting.partition("=")
    name, key = place.rsplit(".", 1)
    (chosen,) = choose_methods([name], [setting]).values()
    with pytest.raises(ExplanationError, match=rf"{key} is {value}"):
        chosen.explainer(open_bundle(sample_data / "bundle").classifier("cpu"))


def test_a_threshold_is_read_as_predict_reads_it() -> None:
    chosen = choose_methods(["dt-gradcam"], ["dt-gradcam.threshold=quantile:0.9"])
    assert chosen["dt-gradcam"].settings.threshold == Threshold("quantile", 0.9)
    with pytest.raises(
        UsageError,
        match=r"dt-gradcam.threshold=quantile:7.*quantile:7 is out of range.*from 0 to 1",
    ):
        choose_methods(["dt-gradcam"], ["dt-gradcam.threshold=quantile:7"])


def test_no_method_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="No method was named"):
        choose_methods([])


def test_a_method_that_needs_a_map_is_named_where_there_is_none(wsinfer_torchscript: Path) -> None:
    classifier = open_bundle(wsinfer_torchscript, trust=True).classifier("cpu")
    (chosen,) = choose_methods(["gradcam"]).values()
    with pytest.raises(ExplanationError, match=r"gradcam needs an activation map.*occlusion"):
        chosen.explainer(classifier)


def test_every_method_without_a_class_says_so(sample_data: Path) -> None:
    classifier = open_bundle(sample_data / "bundle").classifier("cpu")
    edge = classifier.card.input_px
    tile = torch.zeros(1, edge, edge, 3, dtype=torch.uint8)
    for chosen in choose_methods(["eigencam", "fem"]).values():
        facts = chosen.explainer(classifier).explain(tile, (0,)).facts
        assert facts["class"] == "none: the same map for every class"


def test_a_method_that_is_not_there_is_named() -> None:
    with pytest.raises(ExplanationError, match="Did you mean gradcam"):
        choose_methods(["gradcan"])


def test_every_setting_of_every_method_can_be_read_back_from_its_default() -> None:
    for name, method in CATALOGUE.items():
        assert choose_methods([name])[name].settings == method.spec()


def test_every_method_is_listed() -> None:
    assert [row["name"] for row in listed_methods()] == list(CATALOGUE)


def test_all_wrong_settings_are_named_at_once() -> None:
    wrong = ["lime.samples=many", "lime.seed=3", "lime.sigm=2", "occlusion.window=1", "samples=3"]
    with pytest.raises(UsageError, match="4 settings are wrong") as caught:
        choose_methods(["lime"], wrong)
    for word in ("lime.samples=many", "'sigm'", "occlusion was not chosen", "'samples=3'"):
        assert word in str(caught.value)
