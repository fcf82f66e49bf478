"""ONNX graphs of bundles, held against torch."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.errors import BundleError, UsageError
from slidecam.models import save_bundle
from slidecam.models.architectures import build_network
from slidecam.models.bundle import write_card
from slidecam.models.card import Card
from slidecam.models.classifier import normalised
from slidecam.models.onnx_export import BATCHES, TOLERANCE, export_onnx
from slidecam.models.stain import Stain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from slidecam.models import Bundle


@pytest.fixture
def bundle(tmp_path: Path, lively: Callable[[nn.Module], nn.Module]) -> Bundle:
    network = lively(build_network("timm/test_resnet", {}, 3, tmp_path))
    card = Card(
        name="Three",
        architecture="timm/test_resnet",
        class_names=("tumour", "stroma, loose", "Gewebe ä"),
        activation="softmax",
        tile_px=96,
        spacing=0.25,
        input_px=64,
        mean=(0.71, 0.52, 0.68),
        std=(0.17, 0.22, 0.19),
        temperature=1.37,
        class_biases=(0.25, -0.125, -0.125),
    )
    return save_bundle(tmp_path / "bundle", card, network)


@pytest.fixture
def runtime() -> Any:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    return pytest.importorskip("onnxruntime")


def test_a_graph_computes_what_torch_does_and_says_the_rest(
    bundle: Bundle, tmp_path: Path, runtime: Any
) -> None:
    made = export_onnx(bundle, tmp_path / "out" / "model.onnx")
    assert made.difference <= TOLERANCE
    assert made.tiles == sum(BATCHES)
    session = runtime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    said = {
        key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()
    }
    assert said["class_names"] == ["tumour", "stroma, loose", "Gewebe ä"]
    assert said["bundle_digest"] == bundle.digest
    assert (said["input_px"], said["tile_px"], said["spacing_um_px"]) == (64, 96, 0.25)
    # By hand, from the metadata alone.
    draw = np.random.default_rng(5)
    tiles = draw.integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
    given = (tiles / 255 - said["mean"]) / said["std"]
    (logits,) = session.run(["logits"], {"pixels": given.transpose(0, 3, 1, 2).astype(np.float32)})
    calibrated = logits / said["temperature"] + said["class_biases"]
    shares = np.exp(calibrated) / np.exp(calibrated).sum(1, keepdims=True)
    classifier = bundle.classifier()
    own = classifier.run(torch.from_numpy(tiles), gradients=False).logits
    np.testing.assert_allclose(shares, classifier.probabilities(own).numpy(), rtol=0, atol=1e-4)
    with torch.no_grad():
        plain = bundle.network()(normalised(torch.from_numpy(tiles), bundle.card)).numpy()
    np.testing.assert_allclose(logits, plain, rtol=0, atol=1e-4)


def test_what_differs_by_more_than_is_allowed_is_not_written(
    bundle: Bundle, tmp_path: Path, runtime: Any
) -> None:
    del runtime
    with pytest.raises(BundleError, match=r"differ from torch's by .*1e-12 is allowed"):
        export_onnx(bundle, tmp_path / "model.onnx", 1e-12)
    assert not (tmp_path / "model.onnx").exists()


def test_the_command_says_the_difference_and_what_is_not_in_the_graph(
    bundle: Bundle, tmp_path: Path, runtime: Any
) -> None:
    del runtime
    stained = write_card(bundle, replace(bundle.card, stain=Stain("macenko")))
    out = tmp_path / "model.onnx"
    run = CliRunner().invoke(
        app,
        ["export-onnx", str(stained.path), "--out", str(out), "--json"],
        catch_exceptions=False,
    )
    record = json.loads(run.stdout)
    assert float(record["largest difference of a logit"]) <= TOLERANCE
    assert "is not in the graph" in record["stain"]
    again = CliRunner().invoke(app, ["export-onnx", str(stained.path), "--out", str(out)])
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_without_the_extra_it_is_named(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    words = r'^Nothing can be exported to ONNX: onnxruntime is not.*"slidecam\[onnx\]"'
    with pytest.raises(UsageError, match=words):
        export_onnx(bundle, tmp_path / "model.onnx")


def test_a_tolerance_that_is_none_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--tolerance"):
        export_onnx(bundle, tmp_path / "model.onnx", -1.0)
