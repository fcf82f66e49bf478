"""The manifest says of every slide what became of it, in strict JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.exchange.manifest import RunFacts, SlideReport, TileCounts, write_manifest
from slidecam.runs.tiles import ClassSummary

if TYPE_CHECKING:
    from pathlib import Path

RUN = RunFacts(
    slidecam="0.1.0",
    bundle="pocket",
    bundle_digest="ab12",
    command={"overlap": 0.5, "heatmap": "gradcam++", "inputs": ["a.svs"]},
    started=datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone(timedelta(hours=2))),
    finished=datetime(2026, 11, 21, 10, 1, 30, tzinfo=UTC),
    exit_code=3,
)


def written(folder: Path, *reports: SlideReport, run: RunFacts = RUN) -> dict[str, Any]:
    write_manifest(reports, run, folder / "manifest.json")
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    record: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return record


def test_a_finished_slide_is_reported_in_full(tmp_path: Path) -> None:
    report = SlideReport(
        slide="a",
        path="/data/a.svs",
        status="partly",
        tiles=TileCounts(10, 2, 30),
        classes=(ClassSummary("Tumor", (200, 0, 0), 10, 1.0, 0.75),),
        outputs={"tiles.csv": "a/tiles.csv"},
        seconds=1.5,
        reason="2 tiles could not be read.",
        remedy="Look at run.json.",
        warnings=("no spacing",),
        facts={"spacing": 0.5},
    )
    (slide,) = written(tmp_path, report)["slides"]
    assert slide == {
        "slide": "a",
        "path": "/data/a.svs",
        "status": "partly",
        "tiles": {"done": 10, "failed": 2, "skipped": 30},
        "classes": [
            {
                "name": "Tumor",
                "color": [200, 0, 0],
                "count": 10,
                "share": 1.0,
                "mean_probability": 0.75,
            }
        ],
        "outputs": {"tiles.csv": "a/tiles.csv"},
        "seconds": 1.5,
        "reason": "2 tiles could not be read.",
        "remedy": "Look at run.json.",
        "warnings": ["no spacing"],
        "facts": {"spacing": 0.5},
    }


def test_the_run_is_written_with_times_in_utc(tmp_path: Path) -> None:
    record = written(tmp_path)
    assert (record["format"], record["version"], record["slides"]) == ("slidecam-manifest", 1, [])
    assert record["run"] == {
        "slidecam": "0.1.0",
        "bundle": "pocket",
        "bundle_digest": "ab12",
        "command": {"overlap": 0.5, "heatmap": "gradcam++", "inputs": ["a.svs"]},
        "started": "2026-11-21T10:00:00Z",
        "finished": "2026-11-21T10:01:30Z",
        "seconds": 90.0,
        "exit_code": 3,
    }


def test_what_is_not_a_number_is_null(tmp_path: Path) -> None:
    report = SlideReport(
        "a", "a.svs", "failed", seconds=float("nan"), facts={"x": [float("inf"), 1.0]}
    )
    (slide,) = written(tmp_path, report)["slides"]
    assert slide["seconds"] is None
    assert slide["facts"] == {"x": [None, 1.0]}


def test_slides_keep_their_order_and_their_names(tmp_path: Path) -> None:
    names = ['b"', "ä腫瘍", "a\\c"]
    record = written(tmp_path, *(SlideReport(name, f"/x/{name}", "done") for name in names))
    assert [slide["slide"] for slide in record["slides"]] == names
