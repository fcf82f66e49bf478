"""What is opened for a run is known by its content, wherever it lies and whatever lies there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slidecam.errors import RunMismatchError, SourceError, StoreError
from slidecam.events import Planned
from slidecam.prediction.pipeline import predict
from slidecam.reports.run_figure import FigureSpec, write_figure
from slidecam.runs import Run
from slidecam.runs.located import places_of, recorded_view
from slidecam.runs.spec import PredictSpec
from slidecam.viewing import VolumeView, Window

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def ward(
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return a folder with a slide, a bundle and a run of both that was made from within it."""
    folder = tmp_path / "ward_a"
    folder.mkdir()
    write_slide(folder / "s.tif")
    shutil.copytree(tiny_bundle, folder / "bundle")
    monkeypatch.chdir(folder)
    list(predict("s.tif", "bundle", "out", PredictSpec(heatmap="none")))
    return folder


def test_a_relative_slide_and_bundle_count_from_where_the_run_was_made(
    ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "ward_b"
    other.mkdir()
    content = bytearray((ward / "s.tif").read_bytes())
    content[-20:] = bytes(20)
    (other / "s.tif").write_bytes(content)
    monkeypatch.chdir(other)
    run = Run.open(ward / "out" / "s")
    assert run.find_slide() == str(ward / "s.tif")
    assert run.open_bundle().path == ward / "bundle"


def test_what_was_moved_together_is_found_again(
    ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    moved = ward.rename(tmp_path / "elsewhere")
    run = Run.open(moved / "out" / "s")
    assert run.find_slide() == str(moved / "s.tif")
    assert run.open_bundle().digest == run.bundle_digest


def test_another_slide_is_refused_by_name(ward: Path, write_slide: Callable[..., Path]) -> None:
    other = write_slide(ward / "t.tif", seed=7)
    run = Run.open(ward / "out" / "s", slide=str(other))
    with pytest.raises(StoreError, match=r"t\.tif is not the slide that was classified.*--slide"):
        write_figure(ward / "x.png", run, FigureSpec("slide"))
    assert not (ward / "x.png").exists()


def test_another_bundle_in_the_same_place_is_refused(ward: Path, sample_data: Path) -> None:
    run = Run.open(ward / "out" / "s")
    shutil.rmtree(ward / "bundle")
    with pytest.raises(Exception, match="bundle"):
        run.open_bundle()
    shutil.copytree(sample_data / "bundle", ward / "bundle")
    with pytest.raises(RunMismatchError, match=r"another bundle than .*bundle.*--bundle"):
        run.open_bundle()


def test_a_slide_that_is_nowhere_is_said_to_be_missing(ward: Path) -> None:
    (ward / "s.tif").unlink()
    with pytest.raises(SourceError, match=r"s\.tif"):
        Run.open(ward / "out" / "s").open_slide()


def test_the_slide_is_read_by_the_runs_own_reader(
    tiny_bundle: Path, write_slide: Callable[..., Path], tmp_path: Path
) -> None:
    slide = write_slide(tmp_path / "s.tif")
    spec = PredictSpec(heatmap="none", reader="openslide")
    list(predict(slide, tiny_bundle, tmp_path / "out", spec))
    with Run.open(tmp_path / "out" / "s").open_slide() as source:
        assert source.facts.reader == "openslide"


def test_tiles_count_from_where_the_record_says(ward: Path) -> None:
    path = ward / "out" / "s" / "run.json"
    record = json.loads(path.read_text())
    record["input"]["bounds_px"] = [37, 53, 601, 411]
    for corner in ([37, 53], [0, 0]):
        record["qupath"] = {"corner_px": corner, "size_px": None}
        path.write_text(json.dumps(record))
        assert list(Run.open(path.parent).tiles.corner) == corner


@pytest.fixture
def absolute_ward(tiny_bundle: Path, write_slide: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a folder with slides, a bundle and a run of them by absolute paths."""
    folder = tmp_path / "ward_a"
    (folder / "slides").mkdir(parents=True)
    slide = write_slide(folder / "slides" / "s.tif")
    shutil.copytree(tiny_bundle, folder / "bundle")
    out = folder / "results" / "day 1"
    list(predict(slide, folder / "bundle", out, PredictSpec(heatmap="none")))
    return folder


def test_absolute_paths_are_found_where_all_was_moved_together(
    absolute_ward: Path, tmp_path: Path
) -> None:
    moved = absolute_ward.rename(tmp_path / "archive")
    run = Run.open(moved / "results" / "day 1" / "s")
    assert run.find_slide() == str(moved / "slides" / "s.tif")
    assert run.open_bundle().path == moved / "bundle"
    write_figure(tmp_path / "x.png", run, FigureSpec("slide"))


def test_another_slide_of_that_name_above_a_moved_run_is_none_of_its(
    absolute_ward: Path, write_slide: Callable[..., Path], tmp_path: Path
) -> None:
    moved = absolute_ward.rename(tmp_path / "archive")
    (moved / "results" / "slides").mkdir()
    write_slide(moved / "results" / "slides" / "s.tif", seed=7)
    run = Run.open(moved / "results" / "day 1" / "s")
    assert run.find_slide() == str(moved / "slides" / "s.tif")


def test_a_moved_run_is_gone_on_with(absolute_ward: Path, tmp_path: Path) -> None:
    moved = absolute_ward.rename(tmp_path / "archive")
    spec = PredictSpec(heatmap="none", existing="resume")
    out = moved / "results" / "day 1"
    events = list(predict(moved / "slides" / "s.tif", moved / "bundle", out, spec))
    (planned,) = (event for event in events if isinstance(event, Planned))
    assert planned.pending == 0


def test_a_url_lies_in_one_place_and_an_absolute_path_first_where_it_was(tmp_path: Path) -> None:
    assert list(places_of("s3://bucket/s.tif", tmp_path, "/made")) == ["s3://bucket/s.tif"]
    was, *moved = places_of("/gone/a/s.tif", tmp_path / "out" / "s", "/made")
    assert was == "/gone/a/s.tif"
    assert moved.index(str(tmp_path / "a" / "s.tif")) < moved.index(str(tmp_path / "s.tif"))
    first, second, *above = places_of("a/s.tif", tmp_path / "out" / "s", "/made")
    assert (first, second) == (str(Path("/made/a/s.tif")), "a/s.tif")
    assert str(tmp_path / "a" / "s.tif") in above


def test_a_volume_is_seen_as_its_run_saw_it() -> None:
    plan = {"axis": "coronal", "volume": "2", "slices": 3, "window": ["fixed", -37.5, 211.0]}
    view = VolumeView("coronal", 3, Window("fixed", -37.5, 211.0), "2")
    assert recorded_view(plan) == view
