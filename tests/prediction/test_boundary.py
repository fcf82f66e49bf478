"""Whatever is thrown in one slide, at whatever stage, ends that slide alone; on resume as well."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pydicom
import pytest

from slidecam import inference, runlog, streaming
from slidecam.events import Event, Finished, SlideFailed, SlideFinished, Warned
from slidecam.prediction import (
    checks,
    choices,
    outputs,
    pictures,
    pipeline,
    preparation,
    volumes,
)
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.sources import discovery
from slidecam.store import RunStore, find_runs, has_run, read_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

NO_WINDOWS = pytest.mark.skipif(os.sep == "\\", reason="Windows has no such names")
ILL, SOUND = "ill-slide", "sound-slide"


class UnforeseenError(Exception):
    """Derives from nothing that any list of errors could name."""


SLIDE_STAGES = {
    "opening": (choices, "open_apart"),
    "spacing": (preparation, "settle_spacing"),
    "foreground": (preparation, "find_foreground"),
    "grid": (preparation, "lay_grid"),
    "fingerprint and plan": (preparation, "_picture"),
    "lock": (preparation, "lock_run"),
    "store": (preparation, "open_or_create"),
    "order of tiles": (preparation, "plan_batches"),
    "what is told of its tiles": (pipeline, "planned"),
    "run.json": (outputs, "begin_slide"),
    "stream": (streaming._Cutter, "cut"),
    "classify": (inference, "classify"),
    "commit": (RunStore, "commit"),
    "tiles.csv": (outputs, "write_tiles_csv"),
    "tiles.geojson": (outputs, "write_tiles_geojson"),
    "mask.png": (outputs, "save_foreground"),
    "painting": (pictures, "paint"),
    "heatmap": (pictures, "write_heatmap_ome_zarr"),
    "overview": (pictures, "write_overview_png"),
    "qupath": (outputs, "write_for_qupath"),
    "finishing": (outputs, "_recorded"),
}

VOLUME_STAGES = {
    "head": (preparation, "find_head"),
    "grid": (preparation, "lay_planes"),
    "painting": (volumes, "paint"),
    "slices.csv": (outputs, "write_slices_csv"),
    "heatmap": (volumes, "write_volume_ome_zarr"),
    "nifti": (volumes, "write_nifti"),
    "montage": (volumes, "write_montage_png"),
}


def ailing(patch: pytest.MonkeyPatch, place: Any, name: str, error: type[BaseException]) -> None:
    """Let a function throw where it is called for the ill slide."""
    real = getattr(place, name)

    def function(*args: Any, **named: Any) -> Any:
        ill = any(_is_of_the_ill(value) for value in (*args, *named.values()))
        if ill and name != "close":
            raise error("nobody expected this")
        result = real(*args, **named)
        if ill:
            # A file that was left open would be told of in another test.
            raise error("nobody expected this")
        return result

    patch.setattr(place, name, function)


def _is_of_the_ill(value: object) -> bool:
    """Whether an argument, or what it holds, lies in a path that is called after the ill slide."""
    held = [value]
    for name in ("_cutter", "_source", "source", "facts", "folder", "path"):
        held += [getattr(each, name) for each in held if hasattr(each, name)]
    return any(ILL in str(each) for each in held)


def slides(folder: Path, write_slide: Callable[..., Path]) -> list[Path]:
    return [write_slide(folder / f"{name}.tif", 360, 300) for name in (ILL, SOUND)]


def fates(events: list[Event]) -> dict[str, str]:
    told = {event.slide: event.status for event in events if isinstance(event, SlideFinished)}
    return told | {event.slide: "failed" for event in events if isinstance(event, SlideFailed)}


def exit_code(events: list[Event]) -> int:
    assert isinstance(events[-1], Finished)
    return events[-1].exit_code


def in_manifest(out: Path) -> dict[str, Any]:
    told = json.loads((out / "manifest.json").read_text())
    return {slide["slide"]: slide for slide in told["slides"]}


def check_told(events: list[Event], out: Path) -> None:
    """Hold that the ill slide failed in words everywhere, and nothing else did."""
    assert fates(events) == {ILL: "failed", SOUND: "done"}
    assert exit_code(events) == 3
    told = in_manifest(out)[ILL]
    assert (told["status"], told["reason"]) == (
        "failed",
        "UnforeseenError: nobody expected this.",
    )
    assert told["remedy"] == runlog.UNFORESEEN
    record = read_run(out / ILL)
    assert record is not None
    assert {key: record[key] for key in ("status", "reason", "remedy")} == {
        key: told[key] for key in ("status", "reason", "remedy")
    }
    assert record["traceback"][0] == "Traceback (most recent call last):"
    assert record["traceback"][-1].endswith("UnforeseenError: nobody expected this")


@pytest.mark.parametrize("stage", SLIDE_STAGES)
def test_an_error_that_nobody_foresaw_ends_its_slide_alone(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    inputs, out = slides(tmp_path, write_slide), tmp_path / "out"
    spec = PredictSpec(batch=8, workers=1, heatmap_classes=("A",), shown={"*": (360, 300)})
    ailing(monkeypatch, *SLIDE_STAGES[stage], UnforeseenError)
    check_told(list(predict(inputs, tiny_bundle, out, spec)), out)
    resumed = PredictSpec(workers=1, heatmap_classes=("A",), existing="resume", shown=spec.shown)
    check_told(list(predict(inputs, tiny_bundle, out, resumed)), out)


@pytest.mark.parametrize("stage", VOLUME_STAGES)
def test_an_error_that_nobody_foresaw_ends_its_volume_alone(
    tmp_path: Path,
    slice_bundle: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    names, out = (f"{ILL}.nii.gz", f"{SOUND}.nii.gz"), tmp_path / "out"
    inputs = [write_volume.nifti(tmp_path / name, head) for name in names]
    ailing(monkeypatch, *VOLUME_STAGES[stage], UnforeseenError)
    check_told(list(predict(inputs, slice_bundle, out, PredictSpec(workers=1, batch=4))), out)
    resumed = PredictSpec(workers=1, existing="resume")
    check_told(list(predict(inputs, slice_bundle, out, resumed)), out)


@pytest.mark.parametrize("stage", ["foreground", "classify", "overview"])
def test_a_slide_that_failed_is_done_when_what_threw_is_mended(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    inputs, out = slides(tmp_path, write_slide), tmp_path / "out"
    with monkeypatch.context() as patch:
        ailing(patch, *SLIDE_STAGES[stage], UnforeseenError)
        list(predict(inputs, tiny_bundle, out, PredictSpec(batch=8, workers=1)))
    events = list(predict(inputs, tiny_bundle, out, PredictSpec(existing="resume")))
    assert fates(events) == {ILL: "done", SOUND: "done"}
    assert exit_code(events) == 0
    record = read_run(out / ILL)
    assert record is not None
    assert record["status"] == "done"
    assert not {"traceback", "reason", "remedy"} & set(record)


def test_a_slide_that_failed_before_its_run_leaves_none(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs, out = slides(tmp_path, write_slide), tmp_path / "out"
    with monkeypatch.context() as patch:
        ailing(patch, *SLIDE_STAGES["opening"], UnforeseenError)
        list(predict(inputs, tiny_bundle, out, PredictSpec(batch=8, workers=1)))
    assert not has_run(out / ILL)
    assert find_runs(out) == (out / SOUND,)
    alone = list(predict(inputs[0], tiny_bundle, out, PredictSpec(batch=8, workers=1)))
    assert fates(alone) == {ILL: "done"}


def test_a_dry_run_notes_a_failure_nowhere(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs, out = slides(tmp_path, write_slide), tmp_path / "out"
    ailing(monkeypatch, *SLIDE_STAGES["what is told of its tiles"], UnforeseenError)
    events = list(predict(inputs, tiny_bundle, out, PredictSpec(dry_run=True)))
    assert fates(events) == {ILL: "failed"}
    assert exit_code(events) == 3
    assert not out.exists()


@pytest.mark.parametrize(
    ("stem", "neighbour", "says"),
    [
        pytest.param("a\\b", "a_b", "holds a backslash", marks=NO_WINDOWS),
        ("manifest.json", "manifest", "is the name of a file on all slides"),
        ("Report.HTML", "report", "is the name of a file on all slides"),
    ],
)
def test_a_name_that_no_folder_of_outputs_can_have_fails_alone(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    stem: str,
    neighbour: str,
    says: str,
) -> None:
    folder, out = tmp_path / "slides", tmp_path / "out"
    folder.mkdir()
    for name in (stem, neighbour):
        write_slide(folder / f"{name}.tif", 360, 300)
    events = list(predict(folder, tiny_bundle, out, PredictSpec(batch=8, workers=1)))
    (named,) = set(fates(events)) - {neighbour}
    assert fates(events) == {named: "failed", neighbour: "done"}
    assert exit_code(events) == 3
    assert says in in_manifest(out)[named]["reason"]
    assert f"{stem}.tif" in in_manifest(out)[named]["reason"]


@pytest.mark.parametrize("looked_up", [(discovery, "is_series"), (pydicom, "dcmread")])
def test_a_slide_whose_name_cannot_be_cleared_fails_and_is_not_named(
    tmp_path: Path,
    slice_bundle: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    monkeypatch: pytest.MonkeyPatch,
    looked_up: tuple[Any, str],
) -> None:
    ill = write_volume.dicom(tmp_path / ILL, head)
    sound = write_volume.nifti(tmp_path / f"{SOUND}.nii.gz", head)
    ailing(monkeypatch, *looked_up, UnforeseenError)
    out = tmp_path / "out"
    events = list(predict([ill, sound], slice_bundle, out, PredictSpec(workers=1, batch=4)))
    told = in_manifest(out)
    (unnamed,) = set(told) - {SOUND}
    assert fates(events) == {unnamed: "failed", SOUND: "done"}
    assert told[unnamed]["reason"] == "UnforeseenError: nobody expected this."
    assert unnamed.startswith("unnamed-")
    assert ILL not in (out / "manifest.json").read_text()
    assert ILL not in (out / unnamed / "run.json").read_text()


def test_a_folder_that_cannot_be_looked_into_fails_as_one_slide(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "slides" / ILL).mkdir(parents=True)
    write_slide(tmp_path / "slides" / f"{SOUND}.tif", 360, 300)
    ailing(monkeypatch, discovery, "is_slide_folder", UnforeseenError)
    events = list(predict(tmp_path / "slides", tiny_bundle, tmp_path / "out", PredictSpec(batch=8)))
    assert fates(events) == {ILL: "failed", SOUND: "done"}


def test_a_slide_whose_output_folder_cannot_be_looked_into_is_no_concern_of_the_others(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs, out = slides(tmp_path, write_slide), tmp_path / "out"
    ailing(monkeypatch, checks, "has_run", UnforeseenError)
    events = list(predict(inputs, tiny_bundle, out, PredictSpec(batch=8, workers=1)))
    assert fates(events) == {ILL: "done", SOUND: "done"}


def test_memory_that_is_too_small_for_one_slide_may_do_for_the_next(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs, out = slides(tmp_path, write_slide), tmp_path / "out"
    ailing(monkeypatch, *SLIDE_STAGES["foreground"], MemoryError)
    events = list(predict(inputs, tiny_bundle, out, PredictSpec(batch=8, workers=1)))
    assert fates(events) == {ILL: "failed", SOUND: "done"}
    assert in_manifest(out)[ILL]["remedy"] == runlog.NO_MEMORY


def test_a_report_that_nobody_foresaw_to_fail_leaves_every_slide_done(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unforeseen(*_given: object) -> None:
        raise UnforeseenError("nobody expected this")

    inputs, out = slides(tmp_path, write_slide), tmp_path / "out"
    monkeypatch.setattr(runlog, "write_report", unforeseen)
    events = list(predict(inputs, tiny_bundle, out, PredictSpec(batch=8, workers=1)))
    assert fates(events) == {ILL: "done", SOUND: "done"}
    assert exit_code(events) == 3
    assert isinstance(events[-2], Warned)
    assert "report.html is not complete: UnforeseenError" in events[-2].message
    (failed,) = json.loads((out / "manifest.json").read_text())["run"]["failed_outputs"]
    assert failed["traceback"][-1].endswith("UnforeseenError: nobody expected this")


@pytest.mark.parametrize("stage", ["opening", "classify", "overview"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_is_no_slides_failure(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    stage: str,
) -> None:
    ailing(monkeypatch, *SLIDE_STAGES[stage], error)
    with pytest.raises(error):
        list(
            predict(
                slides(tmp_path, write_slide), tiny_bundle, tmp_path / "out", PredictSpec(batch=8)
            )
        )
    assert in_manifest(tmp_path / "out")[ILL]["status"] == "unfinished"


def test_a_manifest_that_cannot_be_written_is_told_and_fails_no_slide(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_anything: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runlog, "add_to_manifest", full)
    monkeypatch.setattr(runlog, "WRITE_EVERY", -1.0)
    inputs = slides(tmp_path, write_slide)
    events = list(predict(inputs, tiny_bundle, tmp_path / "out", PredictSpec(batch=8)))
    said = [event.message for event in events if isinstance(event, Warned)]
    assert any("manifest.json" in words and "No space left" in words for words in said)
    assert isinstance(events[-1], Finished)
    assert events[-1].exit_code == runlog.PARTLY
    assert not [event for event in events if isinstance(event, SlideFailed)]
    assert (read_run(tmp_path / "out" / ILL) or {})["status"] == "done"


@pytest.mark.parametrize("stage", ["open", "read"])
def test_a_slide_that_ends_its_readers_process_fails_alone(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    write_hostile: Callable[[Path, str], Path],
    stage: str,
) -> None:
    ill = write_hostile(tmp_path / f"{ILL}.hst", f"{stage} abort")
    inputs, out = [ill, write_slide(tmp_path / f"{SOUND}.tif", 360, 300)], tmp_path / "out"
    for existing in ("refuse", "resume"):
        spec = PredictSpec(batch=8, workers=1, existing=existing)
        events = list(predict(inputs, tiny_bundle, out, spec))
        assert fates(events) == {ILL: "failed", SOUND: "done"}
        assert exit_code(events) == 3
        row = in_manifest(out)[ILL]
        assert "The process that read it ended" in row["reason"]
        assert "--reader" in row["remedy"]
