"""Several processes on one folder of results, which share its slides without asking each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from slidecam.errors import UsageError
from slidecam.events import SlideFinished, Warned
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.sources.names import FoundSlide, Shard
from slidecam.store import lock_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEAN = PredictSpec(batch=4, workers=2, outputs=("tiles.csv",))


def slides_called(*names: str) -> list[FoundSlide]:
    return [FoundSlide(name, f"{name}.svs") for name in names]


def test_every_slide_is_of_exactly_one_part() -> None:
    slides = slides_called(*(f"TCGA-{number:03}" for number in range(97)))
    for parts in (1, 2, 7, 8):
        taken = [[s for s in slides if Shard(n + 1, parts).takes(s)] for n in range(parts)]
        assert sorted(s.name for part in taken for s in part) == [s.name for s in slides]


def test_a_part_depends_on_the_names_of_its_slides_alone() -> None:
    few, many = slides_called("b", "e"), slides_called(*"abcdefgh")
    part = Shard(1, 3)
    assert {s.name for s in filter(part.takes, few)} == {
        s.name for s in filter(part.takes, many) if s.name in {"b", "e"}
    }
    # That may never change: processes of two versions may share a folder.
    assert Shard(1, 8).takes(FoundSlide("TCGA-A1-A0SB", "x"))


@pytest.mark.parametrize("text", ["", "3", "0/8", "9/8", "-1/8", "1/0", "a/b", "1/8/2", "1.5/8"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard 3/8"):
        PredictSpec(shard=text)


def test_parts_of_one_folder_are_done_one_after_the_other_and_all_of_them_are_in_its_manifest(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    folder, out = tmp_path / "slides", tmp_path / "out"
    folder.mkdir()
    names = {"a", "b", "c", "d"}
    for name in names:
        write_slide(folder / f"{name}.tif")
    done: list[str] = []
    for part in ("1/2", "2/2"):
        events = list(predict(folder, tiny_bundle, out, replace(LEAN, shard=part)))
        done += [event.slide for event in events if isinstance(event, SlideFinished)]
        said = [event.message for event in events if isinstance(event, Warned)]
        assert any(f"--shard {part}: " in each and " of 4 slides" in each for each in said)
    assert sorted(done) == sorted(names)
    slides = json.loads((out / "manifest.json").read_text())["slides"]
    assert {each["slide"]: each["status"] for each in slides} == dict.fromkeys(names, "done")


def test_a_part_without_slides_is_done_at_once(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide, out = write_slide(tmp_path / "one.tif"), tmp_path / "out"
    empty = next(n for n in (1, 2) if not Shard(n, 2).takes(FoundSlide("one", "")))
    events = list(predict(slide, tiny_bundle, out, replace(LEAN, shard=f"{empty}/2")))
    assert getattr(events[-1], "exit_code", None) == 0
    assert not (out / "one").exists()


def test_a_slide_that_another_process_works_on_is_claimed_and_no_failure(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slides = [write_slide(tmp_path / f"{name}.tif") for name in ("one", "two")]
    out = tmp_path / "out"
    held = lock_run(out / "one")
    events = list(predict(slides, tiny_bundle, out, LEAN))
    held.release()
    fates = {each.slide: each.status for each in events if isinstance(each, SlideFinished)}
    assert fates == {"one": "claimed", "two": "done"}
    assert getattr(events[-1], "exit_code", None) == 0
    assert "claimed elsewhere" in (out / "report.html").read_text()
    # Whoever claimed it says what became of it, before or after.
    list(predict(slides[0], tiny_bundle, out, replace(LEAN, existing="resume")))
    held = lock_run(out / "one")
    list(predict(slides, tiny_bundle, out, replace(LEAN, existing="resume")))
    held.release()
    rows = json.loads((out / "manifest.json").read_text())["slides"]
    assert {row["slide"]: row["status"] for row in rows} == {"one": "done", "two": "done"}


@pytest.mark.slow
def test_processes_that_share_a_folder_by_claims_alone_do_each_slide_once(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    folder, out = tmp_path / "slides", tmp_path / "out"
    folder.mkdir()
    for number in range(8):
        write_slide(folder / f"s{number}.tif")
    words = [sys.executable, "-m", "slidecam", "predict", str(folder), "-m", str(tiny_bundle)]
    words += ["-o", str(out), "--batch", "4", "--resume", "--outputs", "tiles.csv", "--json"]
    running = [
        subprocess.Popen(  # noqa: S603  (our own command)
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        for _process in range(2)
    ]
    said = [each.communicate(timeout=300) for each in running]
    assert [each.returncode for each in running] == [0, 0], said
    rows = json.loads((out / "manifest.json").read_text())["slides"]
    assert {row["status"] for row in rows} == {"done"}
    assert len(rows) == 8
