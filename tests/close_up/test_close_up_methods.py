"""Settings of methods are read as a person writes them, and every mistake is named."""

from __future__ import annotations

import pytest

from slidecam.close_up.methods import choose_methods, listed_methods
from slidecam.errors import ExplanationError, UsageError
from slidecam.explain.attributions import GradientShapSpec, OcclusionSpec
from slidecam.explain.catalogue import CATALOGUE
from slidecam.explain.lime import LimeSpec


def test_settings_take_the_types_of_their_fields() -> None:
    chosen = choose_methods(
        ["lime", "occlusion", "gradient-shap"],
        ["lime.samples=12", "lime.target=logit", "occlusion.window=0.25", "gradient-shap.baselines=zero,blur"],
    )
    assert chosen["lime"].settings == LimeSpec(samples=12, target="logit")
    assert chosen["occlusion"].settings == OcclusionSpec(window=0.25)
    assert chosen["gradient-shap"].settings == GradientShapSpec(baselines=("zero", "blur"))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("lime.sample=3", "Did you mean samples"),
        ("lime.samples=many", "no int"),
        ("lime.target=odds", "probability, logit"),
        ("occlusion.window=1", "was not chosen"),
        ("samples=3", "METHOD.KEY=VALUE"),
        ("lime.samples=", "METHOD.KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        choose_methods(["lime"], [setting])


def test_a_method_that_is_not_there_is_named() -> None:
    with pytest.raises(ExplanationError, match="Did you mean gradcam"):
        choose_methods(["gradcan"])


def test_every_setting_of_every_method_can_be_read_back_from_its_default() -> None:
    for name, method in CATALOGUE.items():
        assert choose_methods([name])[name].settings == method.spec()


def test_every_method_is_listed() -> None:
    assert [row["name"] for row in listed_methods()] == list(CATALOGUE)
