"""Many slides in one call: how many wait at once, and whose seconds are whose."""

from __future__ import annotations

import csv
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from slidecam import runlog
from slidecam.cluster.gathering import gather
from slidecam.errors import StoreError, UsageError
from slidecam.events import BatchDone, Finished, Planned, SlideFailed, SlideFinished, Warned
from slidecam.exchange.manifest import read_manifest
from slidecam.prediction import outputs as output_module
from slidecam.prediction import work as work_module
from slidecam.prediction.outputs import finish_slide
from slidecam.prediction.pipeline import UNFINISHED, predict
from slidecam.prediction.work import Timings
from slidecam.runs.spec import PredictSpec
from slidecam.store import read_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.exchange.manifest import SlideReport
    from slidecam.prediction.work import SlideWork
    from slidecam.sources.names import FoundSlide

QUICK = PredictSpec(batch=4, workers=1, outputs=("tiles.csv",), mpp=0.5)
SLIDES = 9
SLOW = 0.23
"""Seconds that a slide's outputs take at least: longer than its four tiles."""


@pytest.fixture
def folder(tmp_path: Path, noise: Callable[[int, int], NDArray[np.uint8]]) -> Path:
    made = tmp_path / "slides"
    made.mkdir()
    for number in range(SLIDES):
        Image.fromarray(noise(128, 128)).save(made / f"s{number}.png")
    return made


@pytest.fixture
def _slow_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(slide: FoundSlide, work: SlideWork) -> SlideReport:
        time.sleep(SLOW)
        return finish_slide(slide, work)

    monkeypatch.setattr(output_module, "finish_slide", slowly)


@pytest.mark.usefixtures("_slow_outputs")
def test_slides_that_are_not_written_yet_never_pile_up(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    planned, ended, most = 0, 0, 0
    for event in predict(folder, tiny_bundle, tmp_path / "out", QUICK):
        planned += isinstance(event, Planned)
        ended += isinstance(event, SlideFinished | SlideFailed)
        most = max(most, planned - ended)
    assert (planned, ended) == (SLIDES, SLIDES)
    # Those that wait, and the one that is on the device.
    assert most <= UNFINISHED + 1


def test_the_seconds_of_a_slide_are_its_stages_and_not_its_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = 17.25
    monkeypatch.setattr(work_module, "time", SimpleNamespace(perf_counter=lambda: clock))
    timings = Timings()
    for stage, wait in ((1.5, 40.0), (2.25, 300.0), (0.625, 7.0)):
        with timings.at_work():
            clock += stage
        clock += wait
    with timings.at_work():
        clock += 3.0
        assert timings.record()["total"] == 1.5 + 2.25 + 0.625 + 3.0
    assert timings.seconds == 7.375


def test_a_run_records_the_seconds_of_every_stage(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    list(predict(folder / "s0.png", tiny_bundle, tmp_path / "out", QUICK))
    record = read_run(tmp_path / "out" / "s0")
    assert record is not None
    assert 0 < record["seconds"]["prepare"] < record["seconds"]["total"]


def test_a_folder_remembers_every_slide_that_any_call_had(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    out = tmp_path / "out"
    for name in ("s0", "s1"):
        list(predict(folder / f"{name}.png", tiny_bundle, out, QUICK))
    refused = replace(QUICK, existing="resume", overlap=0.5)
    (*_events, last) = predict(folder / "s0.png", tiny_bundle, out, refused)
    assert isinstance(last, Finished)
    assert last.exit_code == 1
    found = read_manifest(out / "manifest.json")
    assert {row.slide: row.status for row in found.slides} == {"s0": "done", "s1": "done"}
    assert "made by another plan" in found.slides[0].warnings[-1]
    assert [call["exit_code"] for call in found.calls] == [0, 0, 1]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "s0/tiles.csv" in page
    assert "s1/tiles.csv" in page
    assert "The 3 calls that filled this folder" in page


def test_a_folder_with_somebody_elses_manifest_is_refused_before_anything_runs(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(StoreError, match="manifest"):
        list(predict(folder, tiny_bundle, out, QUICK))
    assert [path.name for path in out.iterdir()] == ["manifest.json"]


def test_a_folder_in_the_manifests_place_for_a_moment_ends_no_run(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    out = tmp_path / "out"
    (out / "manifest.json").mkdir(parents=True)
    for event in predict([folder / "s0.png", folder / "s1.png"], tiny_bundle, out, QUICK):
        if isinstance(event, SlideFinished) and (out / "manifest.json").is_dir():
            (out / "manifest.json").rmdir()
    reports = read_manifest(out / "manifest.json").slides
    assert [one.status for one in reports] == ["done", "done"]


def test_two_rows_of_one_slide_that_differ_are_refused(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    spec = replace(QUICK, mpp=None, spacings={"s0.png": 0.25, "s0": 1.0})
    with pytest.raises(UsageError, match=r"differ: s0 1, s0\.png 0\.25"):
        list(predict(folder / "s0.png", tiny_bundle, tmp_path / "out", spec))
    assert not (tmp_path / "out").exists()


def test_a_row_wins_over_the_spacing_of_all_slides_and_says_so(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    spec = replace(QUICK, mpp=1.0, spacings={"s0": 0.25}, dry_run=True)
    events = list(predict([folder / "s0.png", folder / "s1.png"], tiny_bundle, tmp_path, spec))
    planned = {event.slide: event.spacing for event in events if isinstance(event, Planned)}
    assert planned == {"s0": 0.25, "s1": 1.0}
    said = {event.slide: event.message for event in events if isinstance(event, Warned)}
    used = "The row s0 of the spacing table, 0.25 µm/px, is used, and --mpp 1 is not."
    assert said == {"s0": used}


def test_outputs_never_go_among_files_of_somebody_else(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    (tmp_path / "out" / "s0").mkdir(parents=True)
    (tmp_path / "out" / "s0" / "letter.txt").write_text("dear colleague")
    with pytest.raises(UsageError, match="among files that are not slidecam's"):
        list(predict(folder, tiny_bundle, tmp_path / "out", replace(QUICK, existing="overwrite")))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["s0"]


def test_a_slide_that_is_a_folder_is_no_output_folder(
    tmp_path: Path, tiny_bundle: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "cohort" / "head07", head)
    before = sorted(path.name for path in series.iterdir())
    with pytest.raises(UsageError, match="would lie in what is read"):
        list(predict(tmp_path / "cohort", tiny_bundle, tmp_path / "cohort", QUICK))
    assert sorted(path.name for path in series.iterdir()) == before


@pytest.mark.parametrize("below", ["head07", "head07/results"])
def test_no_output_goes_into_a_slide_that_is_a_folder(
    tmp_path: Path, tiny_bundle: Path, write_volume: Any, head: NDArray[np.int16], below: str
) -> None:
    write_volume.dicom(tmp_path / "head07", head)
    with pytest.raises(UsageError, match="would lie in what is read"):
        list(predict(tmp_path / "head07", tiny_bundle, tmp_path / below, QUICK))


def test_no_output_goes_into_the_folder_of_a_slides_pixels(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    (tmp_path / "S1").mkdir()
    (tmp_path / "S1" / "Slidedat.ini").write_text("[GENERAL]\n")
    (tmp_path / "S1.mrxs").write_bytes(b"\xff\xd8")
    for out in (tmp_path / "S1", tmp_path / "S1" / "results"):
        with pytest.raises(UsageError, match="would lie in what is read"):
            list(predict(tmp_path / "S1.mrxs", tiny_bundle, out, QUICK))


def test_no_output_goes_among_masks(tmp_path: Path, tiny_bundle: Path, folder: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for out in (masks, masks / "results"):
        with pytest.raises(UsageError, match="would lie in what is read"):
            list(predict(folder, tiny_bundle, out, replace(QUICK, mask=masks)))


def test_outputs_beside_the_slides_of_a_folder_are_a_habit_that_works(
    tiny_bundle: Path, folder: Path
) -> None:
    events = list(predict(folder, tiny_bundle, folder / "out", replace(QUICK, dry_run=True)))
    assert not any(isinstance(event, SlideFailed) for event in events)


def test_a_dry_run_says_what_the_call_would_be_refused_for(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    slides, out = [folder / "s1.png", folder / "s2.png"], tmp_path / "out"
    list(predict(slides[0], tiny_bundle, out, QUICK))
    said = "would be refused: There is a run of s1 here already (1 of 2 slides)."
    dry = replace(QUICK, dry_run=True)
    resumed, anew = replace(dry, existing="resume"), replace(dry, existing="overwrite")
    for spec, expected in ((dry, 1), (resumed, 0), (anew, 0)):
        events = list(predict(slides, tiny_bundle, out, spec))
        assert isinstance(events[-1], Finished)
        assert events[-1].exit_code == 0
        warned = [each for each in events if isinstance(each, Warned) and said in each.message]
        assert len(warned) == expected


def test_a_slide_of_a_list_and_of_its_folder_is_classified_once_as_the_list_says(
    tmp_path: Path, tiny_bundle: Path, listed: Path, folder: Path
) -> None:
    spec = replace(QUICK, table=listed, mpp=0.5, dry_run=True)
    events = list(predict(folder, tiny_bundle, tmp_path / "out", spec))
    planned = {event.slide: event.spacing for event in events if isinstance(event, Planned)}
    assert planned["first"] == 0.37
    assert len(planned) == SLIDES
    said = [event.message for event in events if isinstance(event, Warned)]
    assert "first is named 2 times, and taken once." in said


def test_no_output_goes_among_the_slides_or_into_the_bundle(
    tiny_bundle: Path, folder: Path
) -> None:
    with pytest.raises(UsageError, match="would lie among the slides"):
        list(predict(folder, tiny_bundle, folder, QUICK))
    for out in (tiny_bundle, tiny_bundle / "results"):
        with pytest.raises(UsageError, match="would lie in what is read"):
            list(predict(folder, tiny_bundle, out, QUICK))


@pytest.mark.parametrize("existing", ["resume", "overwrite"])
def test_another_slide_of_the_same_name_touches_no_result(
    tmp_path: Path,
    tiny_bundle: Path,
    noise: Callable[[int, int], NDArray[np.uint8]],
    existing: Any,
) -> None:
    out = tmp_path / "out"
    for ward, pixels in (("a", noise(128, 128)), ("b", 255 - noise(128, 128))):
        (tmp_path / ward).mkdir()
        Image.fromarray(pixels).save(tmp_path / ward / "s0.png")
    list(predict(tmp_path / "a", tiny_bundle, out, QUICK))
    before = (out / "s0" / "tiles.csv").read_bytes()
    again = replace(QUICK, existing=existing)
    events = list(predict(tmp_path / "b", tiny_bundle, out, again))
    (failed,) = [event for event in events if isinstance(event, SlideFailed)]
    assert "a run of another slide of this name" in failed.problem
    assert "column name" in failed.remedy
    assert (out / "s0" / "tiles.csv").read_bytes() == before
    # The same slide, moved: it is gone where it was.
    (tmp_path / "a" / "s0.png").rename(tmp_path / "moved.png")
    (tmp_path / "moved.png").replace(tmp_path / "b" / "s0.png")
    events = list(predict(tmp_path / "b", tiny_bundle, out, again))
    assert not [event for event in events if isinstance(event, SlideFailed)]


def test_a_slide_that_another_process_ended_meanwhile_is_no_failure(
    tmp_path: Path, tiny_bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(predict(folder / "s0.png", tiny_bundle, tmp_path / "out", QUICK))
    # It looked before the other had begun.
    monkeypatch.setattr("slidecam.prediction.checks.refuse_unclear", lambda *_all: None)
    *_before, finished = predict(folder / "s0.png", tiny_bundle, tmp_path / "out", QUICK)
    assert isinstance(finished, Finished)
    assert (finished.failed, finished.exit_code) == (0, 0)


@pytest.fixture
def listed(folder: Path) -> Path:
    """A table of three slides as a spreadsheet with decimal commas leaves it."""
    masks = folder.parent / "masks"
    masks.mkdir()
    half = np.zeros((128, 128), np.uint8)
    half[:, :64] = 255
    Image.fromarray(half).save(masks / "left.png")
    table = folder.parent / "list.csv"
    rows = [
        "Path;Name;MPP;Mask;Group",
        "slides/s0.png;first;0,37;;p7",
        "slides/s1.png;;;masks/left.png;p7",
        ";;;;",
        "slides/s2.png;third;;;",
    ]
    table.write_text("\r\n".join(rows), encoding="utf-8-sig")
    return table


def test_a_table_names_slides_with_what_it_knows_of_each(
    tmp_path: Path, tiny_bundle: Path, listed: Path
) -> None:
    spec = replace(QUICK, table=listed, mpp=0.5)
    events = list(predict([], tiny_bundle, tmp_path / "out", spec))
    planned = {event.slide: event for event in events if isinstance(event, Planned)}
    assert {name: event.spacing for name, event in planned.items()} == {
        "first": 0.37,
        "s1": 0.5,
        "third": 0.5,
    }
    boxes = [each.boxes for each in events if isinstance(each, BatchDone) and each.slide == "s1"]
    assert np.concatenate(boxes)[:, 0].tolist() == [0, 0]
    with (tmp_path / "out" / "slides.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    assert {name: row["group"] for name, row in rows.items()} == {
        "first": "p7",
        "s1": "p7",
        "third": "",
    }


def test_what_a_slide_belongs_to_is_kept_where_its_manifest_is_lost(
    tmp_path: Path, tiny_bundle: Path, listed: Path
) -> None:
    out = tmp_path / "out"
    list(predict([], tiny_bundle, out, replace(QUICK, table=listed, mpp=0.5)))
    for name in ("manifest.json", "slides.csv"):
        (out / name).unlink()
    gather(out)
    with (out / "slides.csv").open(encoding="utf-8", newline="") as file:
        groups = {row["slide"]: row["group"] for row in csv.DictReader(file)}
    assert groups == {"first": "p7", "s1": "p7", "third": ""}


def test_a_row_of_several_slides_says_nothing_of_each(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    table = tmp_path / "list.csv"
    table.write_text(f"path,mpp\n{folder},0.5\n", encoding="utf-8")
    with pytest.raises(UsageError, match="Line 2 of the table of slides is of no single slide"):
        list(predict([], tiny_bundle, tmp_path / "out", replace(QUICK, table=table)))


def test_tables_are_written_as_a_spreadsheet_of_europe_reads_them(
    tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    slide, spec = folder / "s0.png", replace(QUICK, mpp=0.37)
    list(predict(slide, tiny_bundle, tmp_path / "a", spec))
    list(predict(slide, tiny_bundle, tmp_path / "b", replace(spec, csv_dialect="semicolon")))
    for name in ("slides.csv", "s0/tiles.csv"):
        plain = list(csv.reader((tmp_path / "a" / name).read_text("utf-8").splitlines()))
        written = (tmp_path / "b" / name).read_text("utf-8")
        assert written.startswith("\ufeff")
        read = list(csv.reader(written.removeprefix("\ufeff").splitlines(), delimiter=";"))
        assert read[0] == plain[0]
        assert len(read) == len(plain)
    assert any("," in cell and "." not in cell for cell in read[1])
    assert [cell.replace(",", ".") for cell in read[1]] == plain[1]


def test_the_table_of_slides_is_there_while_a_call_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_bundle: Path, folder: Path
) -> None:
    monkeypatch.setattr(runlog, "WRITE_EVERY", 0.0)
    monkeypatch.setattr(runlog, "WRITING", 1e9)
    seen = []
    for event in predict(folder, tiny_bundle, tmp_path / "out", replace(QUICK, mpp=0.5)):
        if isinstance(event, SlideFinished):
            with (tmp_path / "out" / "slides.csv").open(encoding="utf-8", newline="") as file:
                seen.append([row["status"] for row in csv.DictReader(file)].count("done"))
    assert seen == list(range(1, SLIDES + 1))
