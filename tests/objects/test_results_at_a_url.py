"""Results at a URL: the files of a local run, whoever is ended when, and nothing half-done."""

from __future__ import annotations

import json
import random
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from run_files import files_at, files_of, fill_memory
from slidecam import PredictSpec, predict
from slidecam.errors import RunExistsError, UsageError
from slidecam.events import Finished, SlideFailed, SlideFinished
from slidecam.objects import Location, put_folder
from slidecam.store.lease import LEASE, Lease
from stopping import stopped_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from object_server import Faults

SPEC = PredictSpec(batch=8, workers=1, outputs=("tiles.csv", "overview.png"))
RESUMED = replace(SPEC, existing="resume")
URL = "memory://bucket/results"


@pytest.fixture
def slide(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    """Return a slide of some batches."""
    return write_slide(tmp_path / "S1.tif", width=520, height=400)


def without_place(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return files of a run, whose record does not say where slide and bundle lay."""
    record = json.loads(files["S1/run.json"])
    record["input"].pop("path")
    record["bundle"].pop("path")
    return {**files, "S1/run.json": json.dumps(record, sort_keys=True).encode()}


def test_results_at_a_url_are_those_of_a_local_run(
    slide: Path, tiny_bundle: Path, tmp_path: Path, nothing_kept: Path
) -> None:
    put_folder(tiny_bundle, Location("memory://bucket/models/tiny"))
    Location("memory://bucket/slides/S1.tif").put(slide)
    list(predict(slide, tiny_bundle, tmp_path / "here", SPEC))
    there = "memory://bucket/slides/S1.tif", "memory://bucket/models/tiny"
    events = list(predict(*there, URL, SPEC))
    here = without_place(files_of(tmp_path / "here"))
    assert without_place(files_at(URL)) == here
    of_all = {"manifest.json", "report.html", "slides.csv", "slides.parquet"}
    assert set(Location(URL).files()) - set(here) == of_all
    record = json.loads((Location(URL) / "S1/run.json").read())
    assert record["bundle"]["path"] == there[1]
    assert record["input"]["path"] == there[0]
    for name in Location(URL).files():
        assert str(nothing_kept).encode() not in (Location(URL) / name).read()
    done = next(event for event in events if isinstance(event, SlideFinished))
    assert done.folder == f"{URL}/S1"
    assert isinstance(events[-1], Finished)
    assert events[-1].report == f"{URL}/report.html"
    assert not list(nothing_kept.glob("work-*"))


def moments(call: Callable[[], object]) -> list[dict[str, Any]]:
    """Return what the store in memory held before each change of a call, and after the last."""
    found: list[dict[str, Any]] = []

    def noting(change: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            found.append(dict(MemoryFileSystem.store))
            return change(*arguments, **options)

        return noted

    with pytest.MonkeyPatch.context() as patched:
        for name in ("put", "write", "remove"):
            patched.setattr(Location, name, noting(getattr(Location, name)))
        call()
    return [*found, dict(MemoryFileSystem.store)]


def gone_back_to(moment: dict[str, Any]) -> None:
    """Let the store in memory hold what it held then; whoever wrote it has ended since."""
    fill_memory({name: file for name, file in moment.items() if LEASE not in name})


def record_in(moment: dict[str, Any]) -> dict[str, Any]:
    file = moment.get("/bucket/results/S1/run.json")
    return {} if file is None else dict(json.loads(file.getvalue()))


def assert_ends_alike_from(
    found: list[dict[str, Any]], call: Callable[[], object], wanted: dict[str, bytes]
) -> None:
    """Assert that a call goes on from any moment, of which some are tried, to the same files."""
    for moment in found:
        if record_in(moment).get("status") == "done":
            gone_back_to(moment)
            assert files_at(URL) == wanted
    for moment in random.Random(5).sample(found, 6):  # noqa: S311  (which are tried)
        gone_back_to(moment)
        call()
        assert files_at(URL) == wanted


@pytest.mark.slow
def test_a_run_that_ends_at_any_moment_is_resumed_to_the_same_files(
    slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    list(predict(slide, tiny_bundle, tmp_path / "here", SPEC))
    found = moments(lambda: list(predict(slide, tiny_bundle, URL, SPEC)))
    wanted = files_at(URL)
    assert wanted == files_of(tmp_path / "here")
    assert len(found) > 40
    assert_ends_alike_from(found, lambda: list(predict(slide, tiny_bundle, URL, RESUMED)), wanted)


@pytest.mark.slow
def test_a_run_that_takes_anothers_place_is_never_taken_for_done_in_between(
    slide: Path, tiny_bundle: Path
) -> None:
    list(predict(slide, tiny_bundle, URL, replace(SPEC, outputs=("tiles.csv", "mask.png"))))
    before = files_at(URL)
    again = replace(SPEC, overlap=0.5, existing="overwrite")
    found = moments(lambda: list(predict(slide, tiny_bundle, URL, again)))
    wanted = files_at(URL)
    assert "S1/mask.png" not in wanted
    for moment in found:
        gone_back_to(moment)
        if record_in(moment).get("status") == "done":
            assert files_at(URL) in (before, wanted)
    for moment in random.Random(6).sample(found, 4):  # noqa: S311  (which are tried)
        gone_back_to(moment)
        list(predict(slide, tiny_bundle, URL, again))
        assert files_at(URL) == wanted


def test_what_is_done_there_is_left_and_not_fetched(slide: Path, tiny_bundle: Path) -> None:
    list(predict(slide, tiny_bundle, URL, SPEC))
    found = moments(lambda: list(predict(slide, tiny_bundle, URL, RESUMED)))
    assert all(record_in(moment)["status"] == "done" for moment in found)
    with pytest.raises(RunExistsError) as refused:
        list(predict(slide, tiny_bundle, URL, SPEC))
    assert URL in str(refused.value)
    assert "--resume" in refused.value.remedy


def test_two_calls_fill_one_folder(
    slide: Path, tiny_bundle: Path, tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    other = write_slide(tmp_path / "S2.tif", width=300, height=260, seed=4)
    list(predict(slide, tiny_bundle, URL, SPEC))
    list(predict(other, tiny_bundle, URL, SPEC))
    manifest = json.loads((Location(URL) / "manifest.json").read())
    assert {each["slide"] for each in manifest["slides"]} == {"S1", "S2"}
    page = (Location(URL) / "report.html").read().decode()
    assert page.count("data:image/") >= 2


def test_a_slide_that_another_process_has_is_claimed(slide: Path, tiny_bundle: Path) -> None:
    lease = Lease.take(Location(URL) / "S1")
    events = list(predict(slide, tiny_bundle, URL, SPEC))
    lease.release()
    (done,) = [event for event in events if isinstance(event, SlideFinished)]
    assert done.status == "claimed"
    assert "S1/run.json" not in Location(URL).files()


def test_a_slide_that_fails_there_says_so_there(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "S1.tif").write_bytes(b"II*\0nothing else")
    events = list(predict(tmp_path / "S1.tif", tiny_bundle, URL, SPEC))
    assert [type(event) for event in events][-2:] == [SlideFailed, Finished]
    manifest = json.loads((Location(URL) / "manifest.json").read())
    assert manifest["slides"][0]["status"] == "failed"
    assert not [name for name in Location(URL).files() if LEASE in name]


def test_files_of_others_are_not_written_among(slide: Path, tiny_bundle: Path) -> None:
    (Location(URL) / "S1/IM1.dcm").write(b"somebody's")
    with pytest.raises(UsageError) as refused:
        list(predict(slide, tiny_bundle, URL, SPEC))
    assert f"{URL}/S1" in str(refused.value)


def test_a_dry_run_writes_nothing_there(slide: Path, tiny_bundle: Path) -> None:
    list(predict(slide, tiny_bundle, URL, replace(SPEC, dry_run=True)))
    assert Location(URL).files() == {}


@pytest.mark.slow
def test_503s_and_timeouts_change_no_byte(
    slide: Path, tiny_bundle: Path, tmp_path: Path, bucket: Location, faults: Faults
) -> None:
    list(predict(slide, tiny_bundle, tmp_path / "here", SPEC))
    (bucket / "S1.tif").put(slide)
    faults.busy_every, faults.late_every, faults.late_seconds = 5, 41, 2.0
    events = list(predict((bucket / "S1.tif").url, tiny_bundle, f"{bucket}/out", SPEC))
    faults.busy_every = faults.late_every = 0
    assert isinstance(events[-1], Finished)
    assert events[-1].exit_code == 0
    assert faults.busy >= 10
    assert faults.late >= 1
    here = without_place(files_of(tmp_path / "here"))
    assert without_place(files_at(f"{bucket}/out")) == here


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 11])
def test_a_killed_process_is_followed_by_another_at_once(
    slide: Path, tiny_bundle: Path, tmp_path: Path, bucket: Location, number: int
) -> None:
    list(predict(slide, tiny_bundle, tmp_path / "here", SPEC))
    call = ["predict", str(slide), "-m", str(tiny_bundle), "-o", f"{bucket}/out"]
    call += ["--batch", "8", "--workers", "1", "--outputs", "tiles.csv,overview.png"]
    with stopped_process(call, ("slidecam.store.mirror:_rank", number)) as running:
        running.send_signal(signal.SIGKILL)
    assert any(LEASE in name for name in (bucket / "out").files())
    list(predict(slide, tiny_bundle, f"{bucket}/out", RESUMED))
    assert files_at(f"{bucket}/out") == files_of(tmp_path / "here")
