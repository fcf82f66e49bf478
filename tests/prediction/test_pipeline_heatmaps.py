"""Several heatmaps along the whole way.

Their files, scales and thresholds, and what a resumed call repaints.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from slidecam.errors import ExplanationError, RunMismatchError, UsageError
from slidecam.events import (
    BatchDone,
    Event,
    Finished,
    Planned,
    SlideFailed,
    SlideFinished,
    Started,
    Warned,
)
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.models import open_bundle, save_bundle
from slidecam.models.card_parts import MapEvidence, MapJudgement
from slidecam.prediction.pipeline import predict
from slidecam.runs.outputs import OUTPUTS
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore, read_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SMALL = PredictSpec(batch=8, workers=1)
AGAIN = replace(SMALL, existing="resume")


def went(slide: Path, bundle: Path, out: Path, spec: PredictSpec) -> list[Event]:
    return list(predict(slide, bundle, out, spec))


def ended_well(events: list[Event]) -> bool:
    return isinstance(events[-1], Finished) and events[-1].exit_code == 0


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def values(folder: Path, name: str) -> NDArray[np.float32]:
    return np.asarray(read_heatmap_ome_zarr(folder / name).levels[0][:])


def attributes(folder: Path, name: str) -> dict[str, Any]:
    image = read_heatmap_ome_zarr(folder / name)
    return {"signed": image.spec.signed, **image.spec.attributes}


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path]) -> Path:
    return write_slide(tmp_path_factory.mktemp("slide") / "one.tif", 400, 300)


def test_every_method_has_a_heatmap_of_its_own_and_the_first_has_the_plain_name(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    events = went(slide, tiny_bundle, tmp_path, replace(SMALL, heatmap="gradcam++,cam,eigencam"))
    assert ended_well(events)
    further = {"heatmap-cam.ome.zarr", "heatmap-eigencam.ome.zarr"}
    assert files(tmp_path / "one") == {"run.json", "run.zarr", *OUTPUTS, *further}
    told = json.loads((tmp_path / "manifest.json").read_text())["slides"][0]["outputs"]
    assert set(told) == {*OUTPUTS, *further}
    assert told["heatmap-cam.ome.zarr"] == "one/heatmap-cam.ome.zarr"
    assert "heatmap-cam.ome.zarr" in (tmp_path / "report.html").read_text()
    record = read_run(tmp_path / "one") or {}
    assert record["plan"]["heatmap"] == ["gradcam++", "cam", "eigencam"]
    assert [one["file"] for one in record["heatmaps"]] == ["heatmap.ome.zarr", *sorted(further)]


def test_where_no_method_is_named_cam_leads_and_gradcam_plus_plus_lies_beside_from_one_pass(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    events = went(slide, tiny_bundle, tmp_path / "both", SMALL)
    kept = RunStore.open(tmp_path / "both" / "one").maps
    assert kept is not None
    for number, method in enumerate(("cam", "gradcam++")):
        went(slide, tiny_bundle, tmp_path / method, replace(SMALL, heatmap=method))
        alone = RunStore.open(tmp_path / method / "one").maps
        assert alone is not None
        assert np.asarray(kept[:, number]).tobytes() == np.asarray(alone[:, 0]).tobytes()
    record = read_run(tmp_path / "both" / "one") or {}
    first, beside = record["heatmaps"]
    assert (first["file"], first["method"], first["unit"]) == ("heatmap.ome.zarr", "cam", "logits")
    assert (beside["file"], beside["unit"]) == ("heatmap-gradcam++.ome.zarr", "no unit")
    assert "mostly activation" in beside["shows"]
    assert attributes(tmp_path / "both" / "one", first["file"])["shows"] == first["shows"]
    assert isinstance(events[-1], Finished)
    said = events[-1].heatmaps
    assert said[:2] == (first["shows"], beside["shows"])
    assert (
        first["shows"].split(" (")[0].replace("'", "&#39;")
        in (tmp_path / "both" / "report.html").read_text()
    )
    with Image.open(tmp_path / "both" / "one" / "overview.png") as picture:
        assert str(picture.info["Description"]).splitlines()[: len(said)] == list(said)


def test_what_was_measured_for_the_card_says_which_leads(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    bundle = open_bundle(tiny_bundle)
    found = {"cam": MapJudgement(6, 1, 0), "gradcam++": MapJudgement(6, 5, 0)}
    card = replace(bundle.card, heatmap_evidence=MapEvidence("30 tiles", "class A", found))
    shown = save_bundle(tmp_path / "shown", card, bundle.network())
    went(slide, shown.path, tmp_path / "out", SMALL)
    first, beside = (read_run(tmp_path / "out" / "one") or {})["heatmaps"]
    assert (first["method"], beside["method"]) == ("gradcam++", "cam")
    assert first["measured"] == (
        "Measured on 30 tiles, for class A: Grad-CAM++ is better than a random map by 5 of 6"
        " measures."
    )
    assert "1 of 6" in beside["measured"]


def test_a_run_that_was_begun_when_one_method_was_usual_goes_on_with_it(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    went(slide, tiny_bundle, tmp_path, replace(SMALL, heatmap="gradcam++"))
    before = RunStore.open(tmp_path / "one")
    events = went(slide, tiny_bundle, tmp_path, AGAIN)
    assert ended_well(events)
    assert not [event for event in events if isinstance(event, BatchDone)]
    assert RunStore.open(tmp_path / "one").digest == before.digest
    assert [one["method"] for one in (read_run(tmp_path / "one") or {})["heatmaps"]] == [
        "gradcam++"
    ]


def test_maps_that_show_nothing_or_almost_nothing_say_so(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    bundle = open_bundle(tiny_bundle)
    network = bundle.network()
    head = next(layer for layer in network.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        head.weight[0] = 0.0
        head.weight[1] *= 1e-6
    faint = save_bundle(tmp_path / "faint", bundle.card, network)
    went(slide, faint.path, tmp_path / "out", SMALL)
    folder = tmp_path / "out" / "one"
    first, _beside = (read_run(folder) or {})["heatmaps"]
    assert first["notes"][0] == "empty: no place has a say"
    assert first["notes"][1].startswith("almost nothing: at most ")
    assert first["notes"][2] == ""
    slides = json.loads((tmp_path / "out" / "manifest.json").read_text())["slides"]
    assert "CAM of A is empty: no place has a say." in slides[0]["warnings"]
    with Image.open(folder / "overview.png") as picture:
        assert "CAM of A is empty" in str(picture.info["Description"])


def test_each_heatmap_is_what_its_method_gives_alone(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    went(slide, tiny_bundle, tmp_path / "both", replace(SMALL, heatmap="gradcam,layercam"))
    went(slide, tiny_bundle, tmp_path / "alone", replace(SMALL, heatmap="layercam"))
    both, alone = (
        values(tmp_path / folder / "one", name)
        for folder, name in (("both", "heatmap-layercam.ome.zarr"), ("alone", "heatmap.ome.zarr"))
    )
    np.testing.assert_allclose(both, alone, atol=2e-3)
    assert np.nanmax(alone) > 0.5


def test_a_signed_heatmap_says_so_and_runs_below_nothing(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    went(slide, tiny_bundle, tmp_path, replace(SMALL, heatmap="cam"))
    signed = values(tmp_path / "one", "heatmap.ome.zarr")
    assert -1 <= np.nanmin(signed) < -0.1
    assert np.isnan(signed).any()
    told = attributes(tmp_path / "one", "heatmap.ome.zarr")
    assert told["signed"] is True
    assert "-1 to 1" in told["values"]
    assert told["raw_at_0"] == [0, 0, 0]


def test_values_and_attributes_give_the_raw_evidence_back(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    went(
        slide,
        tiny_bundle,
        tmp_path,
        replace(SMALL, heatmap="cam", heatmap_scale={"*": (-50.0, 50.0)}),
    )
    told, store = attributes(tmp_path / "one", "heatmap.ome.zarr"), RunStore.open(tmp_path / "one")
    assert (told["scale"], told["raw_at_1"]) == ("fixed", [50.0] * 3)
    assert store.maps is not None
    raw = np.asarray(store.maps[:, 0]).astype(np.float32)
    back = values(tmp_path / "one", "heatmap.ome.zarr") * 50
    assert np.nanmax(np.abs(back)) <= np.abs(raw).max() + 1e-3
    assert float(np.nanmean(back)) == pytest.approx(float(raw.mean()), abs=0.1 * float(raw.std()))


def test_a_fixed_scale_makes_slides_compare_and_stands_in_every_record(
    tmp_path: Path, tiny_bundle: Path, slide: Path, write_slide: Callable[..., Path]
) -> None:
    spec = replace(SMALL, heatmap="gradcam,cam", heatmap_scale={"gradcam": (0.01, 0.05)})
    events = list(
        predict(
            [slide, write_slide(tmp_path / "two.tif", 300, 300)],
            tiny_bundle,
            tmp_path / "out",
            spec,
        )
    )
    assert ended_well(events)
    for name in ("one", "two"):
        told = attributes(tmp_path / "out" / name, "heatmap.ome.zarr")
        assert (told["raw_at_0"], told["raw_at_1"]) == ([0.01] * 3, [0.05] * 3)
        record = read_run(tmp_path / "out" / name) or {}
        assert record["painting"]["scales"] == {"gradcam": [0.01, 0.05]}
        assert [one["scale"] for one in record["heatmaps"]] == ["fixed", "slide"]


def test_dt_gradcam_is_grad_cam_above_its_threshold_without_another_map(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    spec = replace(SMALL, heatmap="gradcam,dt-gradcam", heatmap_threshold="mean+1")
    went(slide, tiny_bundle, tmp_path, spec)
    store = RunStore.open(tmp_path / "one")
    assert store.maps is not None
    assert store.maps.shape[1] == 1
    whole, cut = (
        values(tmp_path / "one", f"heatmap{name}.ome.zarr") for name in ("", "-dt-gradcam")
    )
    told = attributes(tmp_path / "one", "heatmap-dt-gradcam.ome.zarr")
    assert (told["threshold"], told["threshold_scope"]) == ("mean+1", "slide")
    raw = np.asarray(store.maps[:, 0]).astype(np.float64)
    by_hand = [float(cells.mean() + cells.std()) for cells in raw.transpose(1, 0, 2, 3)]
    assert told["thresholds"] == pytest.approx(by_hand, rel=1e-3)
    for kept, full, limit, top in zip(
        cut, whole, told["thresholds"], told["raw_at_1"], strict=True
    ):
        np.testing.assert_allclose(kept, np.where(full < limit / top, 0, full), atol=1e-6)
        assert 0 < np.mean(kept[np.isfinite(kept)] > 0) < 0.5


def test_another_threshold_repaints_and_classifies_nothing_again(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    went(slide, tiny_bundle, tmp_path, replace(SMALL, heatmap="gradcam"))
    first = values(tmp_path / "one", "heatmap.ome.zarr")
    events = went(
        slide,
        tiny_bundle,
        tmp_path,
        replace(AGAIN, heatmap="dt-gradcam", heatmap_threshold="fraction:0.5"),
    )
    assert not any(isinstance(event, BatchDone) for event in events)
    assert ended_well(events)
    second = values(tmp_path / "one", "heatmap.ome.zarr")
    assert np.nanmean(second > 0) < np.nanmean(first > 0)
    kinds = [
        type(event)
        for event in went(slide, tiny_bundle, tmp_path, replace(AGAIN, heatmap="dt-gradcam"))
    ]
    assert kinds == [Started, Planned, SlideFinished, Finished]
    assert not np.array_equal(values(tmp_path / "one", "heatmap.ome.zarr"), second, equal_nan=True)


def test_a_threshold_of_each_tile_is_told_as_such(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    went(
        slide,
        tiny_bundle,
        tmp_path,
        replace(SMALL, heatmap="dt-gradcam", heatmap_threshold_scope="tile"),
    )
    told = attributes(tmp_path / "one", "heatmap.ome.zarr")
    assert (told["threshold"], told["threshold_scope"], told["thresholds"]) == (
        "otsu",
        "tile",
        None,
    )


def test_a_heatmap_that_is_no_longer_asked_for_is_removed(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    went(slide, tiny_bundle, tmp_path, replace(SMALL, heatmap="gradcam,dt-gradcam"))
    went(slide, tiny_bundle, tmp_path, replace(AGAIN, heatmap="gradcam"))
    assert "heatmap-dt-gradcam.ome.zarr" not in files(tmp_path / "one")
    went(slide, tiny_bundle, tmp_path, replace(SMALL, heatmap="gradcam,cam", existing="overwrite"))
    went(slide, tiny_bundle, tmp_path, replace(SMALL, heatmap="none", existing="overwrite"))
    assert not [name for name in files(tmp_path / "one") if name.startswith("heatmap")]


def test_other_methods_are_another_plan(tmp_path: Path, tiny_bundle: Path, slide: Path) -> None:
    went(slide, tiny_bundle, tmp_path, replace(SMALL, heatmap="gradcam"))
    events = went(slide, tiny_bundle, tmp_path, replace(AGAIN, heatmap="gradcam,cam"))
    (failed,) = (event for event in events if isinstance(event, SlideFailed))
    assert "heatmap was ['gradcam'], is ['gradcam', 'cam']" in failed.problem
    assert issubclass(RunMismatchError, ValueError)


def test_a_lost_further_heatmap_is_written_again(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    spec = replace(SMALL, heatmap="gradcam,dt-gradcam")
    went(slide, tiny_bundle, tmp_path, spec)
    lost = tmp_path / "one" / "heatmap-dt-gradcam.ome.zarr"
    lost.rename(tmp_path / "away")
    events = went(slide, tiny_bundle, tmp_path, replace(spec, existing="resume"))
    assert not any(isinstance(event, BatchDone) for event in events)
    assert lost.is_dir()


def test_a_class_is_compared_with_a_named_one_and_that_is_told(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    went(slide, tiny_bundle, tmp_path, replace(SMALL, heatmap="finer-cam", heatmap_against="B"))
    record = read_run(tmp_path / "one") or {}
    assert (record["plan"]["heatmap against"], record["plan"]["heatmap classes"]) == (
        "B",
        ["A", "C"],
    )
    assert attributes(tmp_path / "one", "heatmap.ome.zarr")["against"] == "B"
    with pytest.raises(ExplanationError, match="--heatmap-against"):
        went(slide, tiny_bundle, tmp_path / "other", replace(SMALL, heatmap="finer-cam"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"heatmap_scale": {"rise": (0.0, 1.0)}},
        {"heatmap_scale": {"cam": (1.0, 1.0)}},
        {"heatmap_scale": {"*": (0.0, float("nan"))}},
        {"heatmap_threshold": "median"},
    ],
)
def test_a_scale_or_threshold_that_cannot_be_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        PredictSpec(**wrong)


def test_scales_and_thresholds_of_methods_that_are_not_asked_for_are_told(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    spec = replace(
        SMALL,
        heatmap="gradcam",
        heatmap_scale={"cam": (-1, 1)},
        heatmap_threshold="mean",
        dry_run=True,
    )
    told = [
        event.message
        for event in went(slide, tiny_bundle, tmp_path, spec)
        if isinstance(event, Warned)
    ]
    assert len(told) == 2
    assert "heatmap by cam" in told[0]
    assert "--heatmap-threshold without effect" in told[1]


@pytest.mark.parametrize(
    ("temperature", "words"), [(1.0, "not calibrated"), (2.5, "calibrated (T = 2.5)")]
)
def test_a_run_tells_whether_its_probabilities_are_calibrated(
    tmp_path: Path, tiny_bundle: Path, slide: Path, temperature: float, words: str
) -> None:
    bundle = open_bundle(tiny_bundle)
    card = replace(bundle.card, temperature=temperature)
    cooled = save_bundle(tmp_path / "bundle", card, bundle.network())
    went(slide, cooled.path, tmp_path / "out", SMALL)
    record = read_run(tmp_path / "out" / "one") or {}
    assert record["bundle"]["probabilities"] == words
    assert record["bundle"]["temperature"] == temperature
    store = RunStore.open(tmp_path / "out" / "one")
    heated = np.exp(store.logits.astype(np.float64) / temperature)
    np.testing.assert_allclose(
        store.probabilities, heated / heated.sum(axis=1, keepdims=True), atol=1e-6
    )


def test_the_overview_is_drawn_for_many_methods_and_classes(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    spec = replace(SMALL, heatmap="gradcam++,gradcam,cam,hirescam,layercam,eigencam,dt-gradcam")
    assert ended_well(went(slide, tiny_bundle, tmp_path, spec))
    with Image.open(tmp_path / "one" / "overview.png") as picture:
        assert picture.width > 1000
