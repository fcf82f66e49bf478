"""Every method goes by one name, and what is light to import stays so."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import is_dataclass

import pytest

from slidecam.errors import ExplanationError
from slidecam.explain.activation_maps import CHEAP
from slidecam.explain.catalogue import CATALOGUE, METHODS, method_for


def test_every_method_is_there_once() -> None:
    assert len(CATALOGUE) == len(METHODS)
    assert [method.name for method in METHODS] == list(CATALOGUE)
    assert set(CATALOGUE) == {
        "cam", "gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "finer-cam",
        "dt-gradcam",
        "xgradcam", "gradcam-elementwise", "eigen-gradcam", "seg-eigencam", "shapley-cam",
        "kpca-cam", "fem",
        "ablation-cam", "fullgrad", "score-cam", "score-cam-clustered",
        "occlusion", "integrated-gradients", "smoothgrad", "gradient-shap", "lime",
        "partition-shap",
    }  # fmt: skip


def test_names_are_as_people_type_them_and_settings_have_defaults() -> None:
    for name, method in CATALOGUE.items():
        assert name == name.lower().strip()
        assert " " not in name
        assert method.title
        assert is_dataclass(method.spec)
        method.spec()


def test_what_is_cheap_says_so_and_is_told_alike() -> None:
    for name, cheap in CHEAP.items():
        method = method_for(name)
        assert (method.title, method.signed, method.dear, method.needs_map) == (
            cheap.title,
            cheap.signed,
            False,
            True,
        )


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        ExplanationError, match=r"'grad-cam'\. Did you mean gradcam\? Use one of cam, gradcam, "
    ):
        method_for("grad-cam")
    with pytest.raises(ExplanationError, match=r"'xyz'\. Use one of cam"):
        method_for("xyz")


def test_the_cheap_maps_load_no_explanation_library() -> None:
    heavy = ("captum", "pytorch_grad_cam", "sklearn", "cv2", "matplotlib")
    code = f"import sys, slidecam.explain; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert told.stdout.strip() == "[]"
