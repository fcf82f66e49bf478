"""The whole way on small slides: outputs, resuming, failures."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from torch import OutOfMemoryError, Tensor

from slidecam import streaming
from slidecam.errors import (
    RegionReadError,
    RunExistsError,
    UntrustedCodeError,
    UsageError,
    WeightsError,
)
from slidecam.events import (
    BatchDone,
    Event,
    Finished,
    Planned,
    SlideFailed,
    SlideFinished,
    TileFailed,
    Warned,
)
from slidecam.exchange.manifest import read_manifest
from slidecam.models import open_bundle, save_bundle
from slidecam.models.classifier import Classifier
from slidecam.prediction import outputs, preparation
from slidecam.prediction.pipeline import predict
from slidecam.runs.outputs import OUTPUTS
from slidecam.runs.spec import PredictSpec
from slidecam.sources.apart import SourceApart
from slidecam.store import RunStore, TileResults, read_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slidecam.models.splits import ClassifierPass


SMALL = PredictSpec(batch=4, workers=2)

LEAN = replace(SMALL, outputs=("tiles.csv", "tiles.geojson"))
"""No pictures, for what is claimed of events and of the store."""

AGAIN = replace(LEAN, existing="resume")


@pytest.fixture(scope="module")
def finished_once(
    tiny_bundle: Path, write_slide: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Return a slide and the outputs of its run, which nobody changes."""
    folder = tmp_path_factory.mktemp("finished")
    slide = write_slide(folder / "one.tif")
    list(predict(slide, tiny_bundle, folder / "out", SMALL))
    return slide, folder / "out"


@pytest.fixture
def finished(finished_once: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Return a slide and a copy of its run's outputs that a test may change."""
    slide, out = finished_once
    return slide, shutil.copytree(out, tmp_path / "out")


def last(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def kinds(events: list[Event]) -> set[str]:
    return {type(event).__name__ for event in events}


def seen_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def same_results(one: Path, other: Path) -> bool:
    first, second = RunStore.open(one), RunStore.open(other)
    assert first.maps is not None
    assert second.maps is not None
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = [
        (first.status, second.status),
        (first.logits, second.logits),
        (first.probabilities, second.probabilities),
        (np.asarray(first.maps[:]), np.asarray(second.maps[:])),
    ]
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def test_a_slide_in_all_outputs_out(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    events = list(predict(slide, tiny_bundle, tmp_path / "out", SMALL))
    assert kinds(events) == {"Started", "Planned", "BatchDone", "SlideFinished", "Finished"}
    assert last(events).exit_code == 0
    beside = "heatmap-gradcam++.ome.zarr"
    assert seen_in(tmp_path / "out" / "one") == {"run.json", "run.zarr", *OUTPUTS, beside}
    of_all = {"manifest.json", "report.html", "slides.csv", "slides.parquet"}
    assert seen_in(tmp_path / "out") == {"one"} | of_all


def test_a_finished_slide_is_known_without_a_look_at_its_pixels(
    finished: tuple[Path, Path], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, out = finished
    before = read_manifest(out / "manifest.json").slides

    def looks(*_args: object) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(SourceApart, "_decode_plane", looks)
    monkeypatch.setattr(preparation, "find_foreground", looks)
    events = list(predict(slide, tiny_bundle, out, replace(SMALL, existing="resume")))
    assert kinds(events) == {"Started", "Planned", "SlideFinished", "Finished"}
    assert last(events).exit_code == 0
    assert read_manifest(out / "manifest.json").slides == before


def test_a_run_on_a_mask_that_was_given_is_not_resumed_without_it(
    tmp_path: Path, finished_once: tuple[Path, Path], tiny_bundle: Path
) -> None:
    slide, done = finished_once
    mask = shutil.copy(done / "one" / "mask.png", tmp_path / "drawn.png")
    with Image.open(mask) as drawn:
        half = np.asarray(drawn).copy()
    half[: len(half) // 2] = 0
    Image.fromarray(half).save(mask)
    out = tmp_path / "out"
    list(predict(slide, tiny_bundle, out, replace(LEAN, mask=Path(mask))))
    (failed,) = [one for one in predict(slide, tiny_bundle, out, AGAIN) if type(one) is SlideFailed]
    assert "tissue mask has changed" in failed.problem


def test_run_json_tells_what_decided_the_result(finished: tuple[Path, Path]) -> None:
    _slide, out = finished
    record = read_run(out / "one")
    assert record is not None
    assert record["status"] == "done"
    assert record["input"]["reader"] == "tiff"
    assert record["spacing"]["um_px"] == pytest.approx([0.5, 0.5])
    assert record["plan"]["heatmap classes"] == ["A", "B", "C"]
    assert set(record["seconds"]) == {
        "prepare",
        "decode",
        "transfer",
        "model",
        "write",
        "total",
    }
    assert record["tiles"]["done"] == record["tiles"]["total"] > 30


@pytest.mark.parametrize("stop_after", [1, 3, 7])
def test_a_stopped_run_goes_on_where_it_stood_and_ends_bit_identical(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path], stop_after: int
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    list(predict(slide, tiny_bundle, tmp_path / "whole", LEAN))
    stopped = predict(slide, tiny_bundle, tmp_path / "parts", LEAN)
    for batches, _event in enumerate(event for event in stopped if isinstance(event, BatchDone)):
        if batches + 1 == stop_after:
            break
    stopped.close()
    assert (read_run(tmp_path / "parts" / "one") or {})["status"] == "running"
    events = list(predict(slide, tiny_bundle, tmp_path / "parts", replace(AGAIN, workers=3)))
    planned = next(event for event in events if isinstance(event, Planned))
    assert planned.pending <= planned.tiles - 4 * stop_after
    assert same_results(tmp_path / "whole" / "one", tmp_path / "parts" / "one")
    for name in ("tiles.csv", "tiles.geojson"):
        whole, parts = (tmp_path / folder / "one" / name for folder in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes()


def test_a_finished_slide_is_not_done_again(finished: tuple[Path, Path], tiny_bundle: Path) -> None:
    slide, out = finished
    before = (out / "one" / "overview.png").stat().st_mtime_ns
    record = read_run(out / "one")
    events = list(predict(slide, tiny_bundle, out, PredictSpec(existing="resume")))
    assert kinds(events) == {"Started", "Planned", "SlideFinished", "Finished"}
    assert (out / "one" / "overview.png").stat().st_mtime_ns == before
    assert read_run(out / "one") == record


def test_outputs_that_lie_there_are_refused_before_anything_runs(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    list(predict(slide, tiny_bundle, tmp_path / "out", LEAN))
    other = write_slide(tmp_path / "two.tif")
    with pytest.raises(RunExistsError, match="--resume"):
        list(predict([other, slide], tiny_bundle, tmp_path / "out", LEAN))
    assert not (tmp_path / "out" / "two").exists()


def test_resuming_with_another_slide_of_that_name_is_refused(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    list(predict(slide, tiny_bundle, tmp_path / "out", LEAN))
    write_slide(slide, seed=9)
    events = list(predict(slide, tiny_bundle, tmp_path / "out", AGAIN))
    failed = next(event for event in events if isinstance(event, SlideFailed))
    assert "slide has changed" in failed.problem
    assert last(events).exit_code == 1


def test_a_slide_that_is_written_while_it_is_classified_is_not_done_nor_gone_on_with(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide, other = write_slide(tmp_path / "one.tif"), write_slide(tmp_path / "two.tif")
    events: list[Event] = []
    for event in predict([slide, other], tiny_bundle, tmp_path / "out", LEAN):
        events.append(event)
        if isinstance(event, BatchDone) and event.slide == "one":
            with slide.open("r+b") as file:
                file.write(slide.read_bytes())
            os.utime(slide, (1_234_567, 1_234_567))
    (failed,) = [event for event in events if isinstance(event, SlideFailed)]
    assert failed.slide == "one"
    assert "one.tif was written while it was classified" in failed.problem
    assert "--overwrite" in failed.remedy
    statuses = {
        report.slide: report.status
        for report in read_manifest(tmp_path / "out" / "manifest.json").slides
    }
    assert statuses == {"one": "failed", "two": "done"}
    assert not (tmp_path / "out" / "one" / "tiles.csv").exists()
    again = list(predict(slide, tiny_bundle, tmp_path / "out", AGAIN))
    (failed,) = [event for event in again if isinstance(event, SlideFailed)]
    assert "was written while" in failed.problem
    anew = replace(LEAN, existing="overwrite")
    assert last(list(predict(slide, tiny_bundle, tmp_path / "out", anew))).exit_code == 0


def test_two_inputs_of_one_stem_are_refused_before_anything_runs(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    one, two = write_slide(tmp_path / "one.tif"), write_slide(tmp_path / "ONE.tiff")
    with pytest.raises(UsageError, match="share the stem"):
        list(predict([one, two], tiny_bundle, tmp_path / "out", SMALL))
    assert not (tmp_path / "out").exists()


def test_a_bad_slide_does_not_take_the_others_with_it(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in ("a", "c"):
        write_slide(folder / f"{name}.tif")
    (folder / "b.svs").write_bytes(b"not a slide at all")
    (folder / "notes.txt").write_text("not a slide either")
    events = list(predict(folder, tiny_bundle, tmp_path / "out", LEAN))
    finished = {event.slide: event.status for event in events if isinstance(event, SlideFinished)}
    assert finished == {"a": "done", "c": "done"}
    assert [event.slide for event in events if isinstance(event, SlideFailed)] == ["b"]
    assert any(isinstance(event, Warned) and "notes.txt" in event.message for event in events)
    assert (last(events).slides, last(events).failed, last(events).exit_code) == (3, 1, 3)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    told = {slide["slide"]: slide for slide in manifest["slides"]}
    assert told["b"]["status"] == "failed"
    assert told["b"]["remedy"]
    assert manifest["run"]["exit_code"] == 3


def test_a_slide_in_company_gets_the_results_it_gets_alone(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    for seed in range(3):
        write_slide(folder / f"s{seed}.tif", seed=seed)
    list(predict(folder, tiny_bundle, tmp_path / "together", LEAN))
    list(predict(folder / "s1.tif", tiny_bundle, tmp_path / "alone", LEAN))
    assert same_results(tmp_path / "together" / "s1", tmp_path / "alone" / "s1")


def test_a_device_that_runs_out_of_memory_computes_in_parts_and_says_so_once(
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    list(predict(slide, tiny_bundle, tmp_path / "whole", LEAN))
    run = Classifier.run

    def short(self: Classifier, pixels: Tensor, *, gradients: bool) -> ClassifierPass:
        if len(pixels) > 3:
            raise OutOfMemoryError("CUDA out of memory.")
        return run(self, pixels, gradients=gradients)

    monkeypatch.setattr(Classifier, "run", short)
    events = list(predict(slide, tiny_bundle, tmp_path / "parts", LEAN))
    said = [event.message for event in events if isinstance(event, Warned)]
    assert sum("memory held 2 tiles at once, not 4" in message for message in said) == 1
    tables = [(tmp_path / name / "one" / "tiles.csv").read_text() for name in ("whole", "parts")]
    assert tables[0].count("\n") == tables[1].count("\n") > 4


def test_a_call_that_is_ended_at_its_first_event_leaves_its_manifest(
    tiny_bundle: Path, write_slide: Callable[..., Path], tmp_path: Path
) -> None:
    run = predict(write_slide(tmp_path / "one.tif"), tiny_bundle, tmp_path / "out", LEAN)
    next(run)
    run.close()
    assert read_manifest(tmp_path / "out" / "manifest.json") is not None


def test_a_white_slide_is_skipped_and_says_why(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "white.tif", tissue=False)
    events = list(predict(slide, tiny_bundle, tmp_path / "out", LEAN))
    finished = next(event for event in events if isinstance(event, SlideFinished))
    assert (finished.status, finished.tiles) == ("skipped", 0)
    assert "no tissue" in finished.reason
    assert last(events).exit_code == 0
    assert (
        tmp_path / "out" / "white" / "tiles.csv"
    ).read_text().strip() == "minx,miny,width,height,prob_A,prob_B,prob_C"


def test_a_dry_run_plans_and_writes_nothing(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    events = list(predict(slide, tiny_bundle, tmp_path / "out", PredictSpec(dry_run=True)))
    assert kinds(events) == {"Started", "Planned", "Finished"}
    assert any(isinstance(event, Planned) and event.tiles > 30 for event in events)
    assert not (tmp_path / "out").exists()
    assert last(events).exit_code == 0


def test_a_mask_of_the_users_own_replaces_the_detection(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    ring = [[100, 100], [292, 100], [292, 228], [100, 228], [100, 100]]
    mask = tmp_path / "mask.geojson"
    mask.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    spec = PredictSpec(batch=4, mask=mask, grid="wsinfer")
    list(predict(slide, tiny_bundle, tmp_path / "out", spec))
    centres = RunStore.open(tmp_path / "out" / "one").boxes[:, :2] + 32
    assert centres.tolist() == [[x, y] for x in (160, 224, 288) for y in (160, 224)]


def test_one_mask_for_many_slides_is_refused(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slides = [write_slide(tmp_path / f"{name}.tif") for name in "ab"]
    (tmp_path / "mask.geojson").write_text("{}")
    with pytest.raises(UsageError, match="One file cannot be the --mask of 2 slides"):
        list(
            predict(
                slides, tiny_bundle, tmp_path / "out", PredictSpec(mask=tmp_path / "mask.geojson")
            )
        )


def test_tiles_of_a_damaged_region_fail_alone_and_are_told(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    _damage(slide, [7])
    events = list(predict(slide, tiny_bundle, tmp_path / "out", LEAN))
    finished = next(event for event in events if isinstance(event, SlideFinished))
    assert finished.status == "partly"
    assert 0 < finished.failed < finished.tiles / 2
    assert last(events).exit_code == 3
    rows = (tmp_path / "out" / "one" / "tiles.csv").read_text().splitlines()
    assert len(rows) == 1 + finished.tiles - finished.failed


def _damage(slide: Path, tiles: list[int] | None) -> None:
    """Overwrite the data of some TIFF tiles of level 0, or of all tiles of all levels, by zeros."""
    content = bytearray(slide.read_bytes())
    with tifffile.TiffFile(slide) as tiff:
        for page in [tiff.pages.first] if tiles else tiff.pages:
            places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
            for start, length in [places[tile] for tile in tiles] if tiles else places:
                content[start : start + length] = bytes(length)
    slide.write_bytes(bytes(content))


def test_a_slide_of_which_nothing_can_be_read_has_failed(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    _damage(slide, None)
    Image.new("L", (70, 50), 255).save(tmp_path / "mask.png")
    events = list(
        predict(slide, tiny_bundle, tmp_path / "out", replace(LEAN, mask=tmp_path / "mask.png"))
    )
    failed = next(event for event in events if isinstance(event, SlideFailed))
    assert "None of its" in failed.problem
    assert failed.remedy not in failed.problem
    assert last(events).exit_code == 1


def test_outputs_that_cannot_be_written_fail_their_slide_and_leave_its_tiles(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_anything: object) -> None:
        raise OSError(28, "No space left on device")

    slide = write_slide(tmp_path / "one.tif")
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write_tiles_csv", full)
        events = list(predict(slide, tiny_bundle, tmp_path / "out", LEAN))
    failed = next(event for event in events if isinstance(event, SlideFailed))
    assert "No space left" in failed.problem
    assert RunStore.open(tmp_path / "out" / "one").pending_batches() == []
    assert last(list(predict(slide, tiny_bundle, tmp_path / "out", AGAIN))).exit_code == 0
    assert (tmp_path / "out" / "one" / "tiles.csv").exists()


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_a_lost_or_broken_run_json_costs_no_results(
    finished: tuple[Path, Path], tiny_bundle: Path, content: bytes | None
) -> None:
    slide, out = finished
    record = out / "one" / "run.json"
    record.unlink()
    if content is not None:
        record.write_bytes(content)
    with pytest.raises(RunExistsError):
        list(predict(slide, tiny_bundle, out, LEAN))
    events = list(predict(slide, tiny_bundle, out, AGAIN))
    assert kinds(events) == {"Started", "Planned", "SlideFinished", "Finished"}
    assert (read_run(out / "one") or {})["status"] == "done"


@pytest.mark.parametrize("name", ["tiles.csv", "heatmap.ome.zarr", "overview.png"])
def test_a_lost_output_is_written_again_without_classifying_again(
    finished: tuple[Path, Path], tiny_bundle: Path, name: str
) -> None:
    slide, out = finished
    lost = out / "one" / name
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    events = list(predict(slide, tiny_bundle, out, PredictSpec(existing="resume")))
    assert "BatchDone" not in kinds(events)
    assert lost.exists()


def test_the_version_of_the_heatmap_can_be_changed_afterwards(
    finished: tuple[Path, Path], tiny_bundle: Path
) -> None:
    slide, out = finished
    events = list(predict(slide, tiny_bundle, out, PredictSpec(existing="resume", ngff="0.5")))
    assert "BatchDone" not in kinds(events)
    assert (out / "one" / "heatmap.ome.zarr" / "zarr.json").exists()


def test_failed_tiles_are_tried_again_and_mended_ones_are_done(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    list(predict(slide, tiny_bundle, tmp_path / "well", LEAN))
    with monkeypatch.context() as patch:
        patch.setattr(streaming._Cutter, "_crop", _unreadable_once)
        ill = list(predict(slide, tiny_bundle, tmp_path / "out", LEAN))
    done = [event for event in ill if isinstance(event, BatchDone)]
    told = [event for event in ill if isinstance(event, TileFailed)]
    assert (
        len(told)
        == sum(int(np.isnan(event.probabilities).any(axis=1).sum()) for event in done)
        == 1
    )
    resumed = list(predict(slide, tiny_bundle, tmp_path / "out", AGAIN))
    assert sum(isinstance(event, BatchDone) for event in resumed) == 1
    assert last(resumed).exit_code == 0
    assert same_results(tmp_path / "well" / "one", tmp_path / "out" / "one")


def _unreadable_once(cutter: Any, tile: int, decoded: Any) -> NDArray[np.uint8]:
    box = cutter._grid.level_box(tile)
    if (box.x, box.y) == (128, 128):
        raise RegionReadError("one.tif", 0, box, "the network drive was away")
    return _CROP(cutter, tile, decoded)


_CROP = streaming._Cutter._crop


def test_two_calls_into_one_folder_do_not_mix(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    first = predict(slide, tiny_bundle, tmp_path / "out", LEAN)
    next(event for event in first if isinstance(event, BatchDone))
    second = list(predict(slide, tiny_bundle, tmp_path / "out", AGAIN))
    assert not any(isinstance(event, SlideFailed) for event in second)
    assert [event.status for event in second if isinstance(event, SlideFinished)] == ["claimed"]
    assert last(second).exit_code == 0
    assert last([*first]).exit_code == 0


@pytest.mark.parametrize("kind", [Planned, BatchDone, SlideFinished])
def test_a_generator_that_is_closed_lets_go_of_its_folder(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path], kind: type[Event]
) -> None:
    slides = [write_slide(tmp_path / f"{name}.tif", 400, 300) for name in "ab"]
    stopped = predict(slides, tiny_bundle, tmp_path / "out", LEAN)
    next(event for event in stopped if isinstance(event, kind))
    stopped.close()
    resumed = list(predict(slides, tiny_bundle, tmp_path / "out", AGAIN))
    assert last(resumed).exit_code == 0


@pytest.mark.parametrize("where", ["prepare", "commit"])
def test_an_unforeseen_error_ends_its_slide_and_not_the_run(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in "abc":
        write_slide(folder / f"{name}.tif")
    if where == "prepare":
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "b").write_text("a file where the folder should be")
    else:
        monkeypatch.setattr(RunStore, "commit", _full_for_b)
    events = list(predict(folder, tiny_bundle, tmp_path / "out", LEAN))
    assert [event.slide for event in events if isinstance(event, SlideFailed)] == ["b"]
    assert [event.slide for event in events if isinstance(event, SlideFinished)] == ["a", "c"]
    assert last(events).exit_code == 3
    if where == "commit":
        assert (read_run(tmp_path / "out" / "b") or {})["status"] == "failed"


def _full_for_b(store: RunStore, batch: int, results: TileResults) -> None:
    if store.folder.name == "b":
        raise OSError(28, "No space left on device")
    _COMMIT(store, batch, results)


_COMMIT = RunStore.commit


def test_weights_that_are_not_numbers_are_refused_before_the_first_slide(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    bundle = open_bundle(tiny_bundle)
    weights = bundle.network().state_dict().items()
    broken = {
        name: tensor * float("nan") if tensor.is_floating_point() else tensor
        for name, tensor in weights
    }
    nan = save_bundle(tmp_path / "nan", bundle.card, broken)
    with pytest.raises(WeightsError, match="not finite"):
        list(predict(write_slide(tmp_path / "one.tif"), nan.path, tmp_path / "out", SMALL))
    assert not (tmp_path / "out").exists()


def test_spacings_that_no_slide_needs_are_told(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    spec = PredictSpec(dry_run=True, spacings={"one": 0.5, "oen.tif": 0.25})
    events = list(predict(write_slide(tmp_path / "one.tif"), tiny_bundle, tmp_path / "out", spec))
    assert any(isinstance(event, Warned) and "oen.tif" in event.message for event in events)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_name_that_is_no_text_is_classified_and_told(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    strange = Path(os.fsdecode(bytes(tmp_path / "b") + b"\xff.tif"))
    write_slide(tmp_path / "one.tif").rename(strange)
    events = list(predict(strange, tiny_bundle, tmp_path / "out", LEAN))
    assert last(events).exit_code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["slides"][0]["slide"] == strange.stem
    assert (tmp_path / "out" / "report.html").exists()


def test_an_output_folder_that_is_a_file_is_refused(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    for out in (slide, slide / "deeper"):
        with pytest.raises(UsageError, match="is a file"):
            list(predict(slide, tiny_bundle, out, SMALL))


def test_without_a_heatmap_there_is_none_and_the_rest_is_there(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    list(predict(slide, tiny_bundle, tmp_path / "out", PredictSpec(heatmap="none")))
    assert seen_in(tmp_path / "out" / "one") == {"run.json", "run.zarr", *OUTPUTS} - {
        "heatmap.ome.zarr"
    }
    assert RunStore.open(tmp_path / "out" / "one").maps is None


def test_a_torchscript_of_the_wsinfer_zoo_predicts_when_it_is_trusted(
    tmp_path: Path, wsinfer_torchscript: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    with pytest.raises(UntrustedCodeError, match="--trust"):
        list(predict(slide, wsinfer_torchscript, tmp_path / "out", LEAN))
    events = list(
        predict(
            slide, wsinfer_torchscript, tmp_path / "out", replace(LEAN, trust=True, grid="wsinfer")
        )
    )
    assert last(events).exit_code == 0
    assert any(isinstance(event, Warned) and "No heatmap" in event.message for event in events)
    rows = (tmp_path / "out" / "one" / "tiles.csv").read_text().splitlines()
    assert rows[0] == "minx,miny,width,height,prob_Tumor"
    values = [float(row.split(",")[4]) for row in rows[1:]]
    assert 0 < min(values) < max(values) < 1


def test_bf16_is_close_to_fp32(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif", 300, 300)
    for precision in ("fp32", "bf16"):
        list(predict(slide, tiny_bundle, tmp_path / precision, replace(LEAN, precision=precision)))
    fp32, bf16 = (RunStore.open(tmp_path / name / "one").probabilities for name in ("fp32", "bf16"))
    assert not np.array_equal(fp32, bf16)
    np.testing.assert_allclose(bf16, fp32, atol=0.05)


@pytest.mark.shared_data
def test_the_wsinfer_csv_is_the_formula_on_a_real_slide(
    tmp_path: Path, shared_data: Path, tiny_bundle: Path
) -> None:
    slide = shared_data / "slides" / "CMU-1-Small-Region.svs"
    mask = np.zeros((2967, 2220), np.uint8)
    mask[700:2100, 500:1700] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    spec = PredictSpec(grid="wsinfer", overlap=0.3, mask=tmp_path / "mask.png", heatmap="none")
    list(predict(slide, tiny_bundle, tmp_path / "out", spec))
    with (tmp_path / "out" / "CMU-1-Small-Region" / "tiles.csv").open() as lines:
        rows = [[int(value) for value in row[:4]] for row in list(csv.reader(lines))[1:]]
    patch = round(64 * 0.5 / 0.499)
    half, step = round(patch / 2), round((1 - 0.3) * patch)
    centres = itertools.product(range(half, 2220, step), range(half, 2967, step))
    assert rows == [[x - half, y - half, patch, patch] for x, y in centres if mask[y, x]]
    assert len(rows) > 500


@pytest.mark.shared_data
def test_every_broken_slide_ends_in_a_word(
    tmp_path: Path, shared_data: Path, tiny_bundle: Path
) -> None:
    events = list(predict(shared_data / "slides_broken", tiny_bundle, tmp_path / "out", LEAN))
    told = {event.slide: event.remedy for event in events if isinstance(event, SlideFailed)}
    finished = {event.slide: event.status for event in events if isinstance(event, SlideFinished)}
    assert set(told) == {
        "boxes_4levels_bogus_mpp",
        "broken_not_a_tiff",
        "dicom_missing_imagetype",
        "git_lfs_pointer",
        "kidney-48-5",
        "small_vectra",
        "unopenable_compression",
        "unreadable_corrupt_jpeg",
    }
    assert all(told.values())
    assert set(finished) == {"tiny_16x16"}
    assert last(events).exit_code == 3
