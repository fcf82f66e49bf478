"""Every method goes by one name, and what is light to import stays so."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import is_dataclass
from importlib.metadata import requires

import pytest

from slidecam.errors import ExplanationError
from slidecam.explain.activation_maps import cheap_maps
from slidecam.explain.catalogue import CATALOGUE, METHODS, method_for, slide_methods, title_of
from slidecam.registry import resolve


def test_every_method_is_there_once() -> None:
    assert len(CATALOGUE) == len(METHODS)
    assert [method.name for method in METHODS] == list(CATALOGUE)
    assert set(CATALOGUE) == {
        "cam", "gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "finer-cam",
        "dt-gradcam",
        "xgradcam", "gradcam-elementwise", "eigen-gradcam", "seg-eigencam", "shapley-cam",
        "kpca-cam", "fem",
        "ablation-cam", "fullgrad", "score-cam", "score-cam-clustered",
        "occlusion", "integrated-gradients", "smoothgrad", "gradient-shap", "deep-shap",
        "lime",
        "partition-shap",
    }  # fmt: skip


def test_names_are_as_people_type_them_and_settings_have_defaults() -> None:
    for name, method in CATALOGUE.items():
        assert name == name.lower().strip()
        assert " " not in name
        assert method.title
        assert is_dataclass(method.spec)
        method.spec()


def test_those_for_whole_slides_come_first_and_cost_next_to_nothing() -> None:
    chosen = slide_methods()
    assert [*chosen] == [*cheap_maps(), "dt-gradcam"]
    assert [*chosen] == [*CATALOGUE][: len(chosen)]
    assert not any(method.costly for method in chosen.values())
    assert all(method.needs_map for method in chosen.values())


def test_one_entry_says_what_a_heatmap_must_know_of_its_method() -> None:
    chosen = slide_methods().values()
    assert [one.name for one in chosen if one.signed] == ["cam"]
    assert [one.name for one in chosen if one.compares] == ["finer-cam"]
    assert {one.name: one.thresholds for one in chosen if one.thresholds} == {
        "dt-gradcam": "gradcam"
    }


def test_every_explainer_calls_itself_as_its_entry_does() -> None:
    for method in METHODS:
        made = resolve(method.explainer)
        for attribute in ("title", "TITLE"):
            assert getattr(made, attribute, method.title) == method.title
        assert getattr(made, "name", method.name) == method.name


def test_what_a_method_needs_is_a_package_of_ours() -> None:
    ours = {re.split(r"[<>=;]", line)[0].strip() for line in requires("slidecam") or ()}
    named = {package for method in METHODS for package in method.packages}
    assert named <= ours
    assert all(method.help for method in METHODS)


def test_a_method_of_another_package_goes_by_its_name() -> None:
    assert title_of("score-cam") == "Score-CAM"
    assert title_of("theirs") == "theirs"


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        ExplanationError, match=r"'grad-cam'\. Did you mean gradcam\? Use one of cam, gradcam, "
    ):
        method_for("grad-cam")
    with pytest.raises(ExplanationError, match=r"'xyz'\. Use one of cam"):
        method_for("xyz")


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("slidecam.explain.catalogue", ("torch", "numpy", "captum")),
        ("slidecam.inference", ("captum", "pytorch_grad_cam", "sklearn", "cv2", "matplotlib")),
    ],
)
def test_the_table_loads_no_torch_and_whole_slides_no_library_of_explanations(
    module: str, heavy: tuple[str, ...]
) -> None:
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
