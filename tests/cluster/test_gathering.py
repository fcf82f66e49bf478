"""A folder's manifest and report, made anew from what its slides recorded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.cluster.gathering import DAMAGED, RECOVERED, gather
from slidecam.errors import UsageError
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slidecam.exchange.manifest import SlideReport

LEAN = PredictSpec(batch=8, workers=2, outputs=("tiles.csv",))


@pytest.fixture
def filled(tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]) -> Path:
    """Return a folder of results: two slides done, one without tissue, one that was refused."""
    slides = [write_slide(tmp_path / f"{name}.tif", seed=place) for place, name in enumerate("ab")]
    slides.append(write_slide(tmp_path / "glass.tif", tissue=False))
    (tmp_path / "broken.tif").write_bytes(slides[0].read_bytes()[:700])
    slides.append(tmp_path / "broken.tif")
    list(predict(slides, tiny_bundle, tmp_path / "out", LEAN))
    return tmp_path / "out"


def rows_of(out: Path) -> dict[str, dict[str, object]]:
    rows = json.loads((out / "manifest.json").read_text())["slides"]
    return {row["slide"]: row for row in rows}


def test_what_is_gathered_is_what_the_calls_wrote(filled: Path) -> None:
    before = rows_of(filled)
    log = gather(filled)
    assert rows_of(filled) == before
    assert {report.slide: report.status for report in log.reports} == {
        "a": "done",
        "b": "done",
        "glass": "skipped",
    }


def test_a_lost_or_damaged_manifest_is_made_anew(filled: Path) -> None:
    before = rows_of(filled)
    (filled / "manifest.json").write_text("{")
    (filled / "report.html").unlink()
    (moved,) = [one.message for one in gather(filled).notes if DAMAGED in one.message]
    assert "manifest.json" in moved
    after = rows_of(filled)
    assert after.keys() == {"a", "b", "glass"}
    for name in ("a", "b"):
        assert after[name] == before[name]
    assert after["glass"]["status"] == "skipped"
    assert (filled / DAMAGED).exists()
    assert (filled / "report.html").exists()


def test_a_run_that_was_ended_is_unfinished(filled: Path) -> None:
    record = json.loads((filled / "b" / "run.json").read_text())
    kept = {key: value for key, value in record.items() if key not in {"finished", "tiles"}}
    (filled / "b" / "run.json").write_text(json.dumps({**kept, "status": "running"}))
    found: dict[str, SlideReport] = {report.slide: report for report in gather(filled).reports}
    assert found["b"].status == "unfinished"
    assert "--resume" in found["b"].remedy


def test_the_command_counts_what_it_found(filled: Path) -> None:
    said = CliRunner().invoke(app, ["gather", str(filled), "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.output)["done"] == 2


@pytest.mark.parametrize("content", ["", "[1,2]", "{}", None])
def test_a_slide_without_a_readable_record_is_named_with_its_remedy(
    tmp_path: Path, tiny_bundle: Path, filled: Path, content: str | None
) -> None:
    record = filled / "b" / "run.json"
    record.unlink()
    fault = "is not there"
    if content is not None:
        record.write_text(content)
        fault = "is damaged"
    said = CliRunner().invoke(app, ["report", str(filled)])
    assert said.exit_code == 3, said.output
    assert f"b: Its run.json {fault}. {RECOVERED}" in said.output
    assert rows_of(filled)["b"]["status"] == "failed"
    slides = [tmp_path / "a.tif", tmp_path / "b.tif"]
    list(predict(slides, tiny_bundle, filled, replace(LEAN, existing="resume")))
    assert rows_of(filled)["b"]["status"] == "done"


def test_a_folder_without_runs_is_refused(tmp_path: Path, filled: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        gather(tmp_path / "nowhere")
    for name in ("a", "b", "glass"):
        shutil.rmtree(filled / name)
    with pytest.raises(UsageError, match="no run"):
        gather(filled)
