"""A run's tiles and maps are the same by every backend, and the run says by which it was made."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from slidecam.events import SlideFailed, Warned
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from slidecam.events import Event


@pytest.fixture(scope="module")
def slide(write_slide: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "one.tif", 331, 277, seed=3)


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLIDECAM_CACHE", str(tmp_path / "cache"))


def run(slide: Path, bundle: Path, out: Path, **changes: Any) -> list[Event]:
    settings: dict[str, Any] = {"batch": 3, "workers": 1, "outputs": ("tiles.csv",)}
    return list(predict(slide, bundle, out, PredictSpec(**settings, **changes)))


def record_of(out: Path) -> Mapping[str, Any]:
    record: Mapping[str, Any] = json.loads((out / "one" / "run.json").read_text())
    return record


def arrays_of(out: Path) -> dict[str, np.ndarray[Any, Any]]:
    group = zarr.open_group(out / "one" / "run.zarr", mode="r")
    return {name: np.asarray(group[name]) for name in ("boxes", "probabilities", "maps")}


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 5e-2)])
def test_boxes_probabilities_and_maps_are_the_same_by_openvino(
    slide: Path, tiny_bundle: Path, tmp_path: Path, precision: str, tolerance: float
) -> None:
    run(slide, tiny_bundle, tmp_path / "plain", backend="eager")
    run(slide, tiny_bundle, tmp_path / "fast", backend="openvino", precision=precision)
    plan = record_of(tmp_path / "fast")["plan"]
    assert plan["backend"] == f"OpenVINO, head in torch, {precision}"
    plain, fast = arrays_of(tmp_path / "plain"), arrays_of(tmp_path / "fast")
    np.testing.assert_array_equal(fast["boxes"], plain["boxes"])
    np.testing.assert_allclose(fast["probabilities"], plain["probabilities"], atol=tolerance)
    largest = float(np.abs(plain["maps"]).max())
    np.testing.assert_allclose(fast["maps"], plain["maps"], atol=tolerance * largest)


def test_a_run_is_not_continued_by_another_backend_and_says_which_it_was(
    slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    run(slide, tiny_bundle, tmp_path, backend="folded", heatmap="none")
    (failed,) = [
        event
        for event in run(
            slide, tiny_bundle, tmp_path, backend="eager", heatmap="none", existing="resume"
        )
        if isinstance(event, SlideFailed)
    ]
    assert "backend was 'torch, 9 batch norms folded, channels last, fp32', is" in failed.problem


def test_a_run_by_auto_says_why_and_is_continued_by_what_it_was_begun_with(
    slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    events = run(slide, tiny_bundle, tmp_path, backend="auto", heatmap="none")
    (why,) = [event.message for event in events if isinstance(event, Warned)]
    assert why.startswith("Backend ")
    record = record_of(tmp_path)
    assert record["machine"]["backend"] == why
    again = run(slide, tiny_bundle, tmp_path, backend="auto", heatmap="none", existing="resume")
    assert not any(isinstance(event, SlideFailed) for event in again)
    assert record_of(tmp_path)["plan"] == record["plan"]
    words = f"computed by {record['plan']['backend']}"
    assert words in (tmp_path / "report.html").read_text()
