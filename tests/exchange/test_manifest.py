"""The manifest says of every slide what became of it, in strict JSON."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.errors import StoreError, UsageError
from slidecam.exchange.manifest import (
    RunFacts,
    SlideReport,
    TileCounts,
    add_to_manifest,
    read_manifest,
    remembered,
)
from slidecam.runs.legend import ClassSummary

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.exchange.manifest import SlideStatus

RUN = RunFacts(
    slidecam="0.1.0",
    bundle="pocket",
    bundle_digest="ab12",
    command={"overlap": 0.5, "heatmap": "gradcam++", "inputs": ["a.svs"]},
    started=datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone(timedelta(hours=2))),
    finished=datetime(2026, 11, 21, 10, 1, 30, tzinfo=UTC),
    exit_code=3,
    call="c1",
)


def written(folder: Path, *reports: SlideReport, run: RunFacts = RUN) -> dict[str, Any]:
    add_to_manifest(folder / "manifest.json", reports, run, lambda _slide: True)
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
        bundle="pocket",
        bundle_digest="ab12",
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
        "bundle": "pocket",
        "bundle_digest": "ab12",
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
        "slides": 0,
        "failed": 0,
        "call": "c1",
    }


def test_what_is_not_a_number_is_null(tmp_path: Path) -> None:
    report = SlideReport(
        "a", "a.svs", "failed", facts={"x": [float("inf"), 1.0], "y": float("nan")}
    )
    (slide,) = written(tmp_path, report)["slides"]
    assert slide["facts"] == {"x": [None, 1.0], "y": None}


def test_slides_keep_their_order_and_their_names(tmp_path: Path) -> None:
    names = ['b"', "ä腫瘍", "a\\c"]
    record = written(tmp_path, *(SlideReport(name, f"/x/{name}", "done") for name in names))
    assert [slide["slide"] for slide in record["slides"]] == names


def by_another_call(run: RunFacts, name: str) -> RunFacts:
    return replace(run, call=name)


def statuses(folder: Path) -> dict[str, str]:
    return {row.slide: row.status for row in read_manifest(folder / "manifest.json").slides}


def full_report(name: str) -> SlideReport:
    return SlideReport(
        name,
        f"/data/{name}.svs",
        "partly",
        TileCounts(10, 2, 30, none_called=3),
        (
            ClassSummary("Tumor", (200, 0, 0), 7, 0.7, 0.7361),
            ClassSummary("Fat", (9, 8, 7), 0, 0.0, None, 0.25),
        ),
        {"tiles.csv": f"{name}/tiles.csv"},
        1.437,
        "2 tiles could not be read.",
        "Look at run.json.",
        ("no spacing",),
        {"spacing": {"um_px": [0.5, 0.5]}},
        "pocket",
        "ab12",
    )


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    report = full_report("a")
    written(tmp_path, report)
    assert read_manifest(tmp_path / "manifest.json").slides == (report,)


def test_a_second_call_leaves_the_slides_and_the_calls_of_the_first(tmp_path: Path) -> None:
    for name in ("monday", "tuesday"):
        (tmp_path / name).mkdir()
        written(tmp_path, full_report(name), run=by_another_call(RUN, name))
    assert statuses(tmp_path) == {"monday": "partly", "tuesday": "partly"}
    calls = read_manifest(tmp_path / "manifest.json").calls
    assert [call["call"] for call in calls] == ["monday", "tuesday"]


def test_a_call_that_writes_again_is_one_call(tmp_path: Path) -> None:
    for exit_code in (3, 3, 0):
        record = written(tmp_path, run=replace(RUN, exit_code=exit_code))
    assert [call["exit_code"] for call in record["calls"]] == [0]


@pytest.mark.parametrize("fate", ["failed", "unfinished"])
def test_a_retry_that_is_refused_changes_no_result(tmp_path: Path, fate: SlideStatus) -> None:
    (tmp_path / "a").mkdir()
    written(tmp_path, full_report("a"))
    retry = SlideReport("a", "a.svs", fate, reason="made by another plan")
    for name in ("c2", "c3"):
        written(tmp_path, retry, run=by_another_call(RUN, name))
    (slide,) = read_manifest(tmp_path / "manifest.json").slides
    note = "A later call left these results as they were: made by another plan"
    assert slide == replace(full_report("a"), warnings=("no spacing", note))


def test_a_retry_that_harmed_the_run_is_told_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    written(tmp_path, full_report("a"))
    retry = SlideReport("a", "a.svs", "failed", reason="the disk is full")
    path = tmp_path / "manifest.json"
    add_to_manifest(path, [retry], by_another_call(RUN, "c2"), lambda _slide: False)
    assert statuses(tmp_path) == {"a": "failed"}


def test_a_slide_whose_folder_was_taken_away_is_forgotten(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    written(tmp_path, full_report("a"), full_report("b"))
    (tmp_path / "a").rmdir()
    written(tmp_path, SlideReport("c", "c.svs", "failed"), run=by_another_call(RUN, "c2"))
    assert statuses(tmp_path) == {"b": "partly", "c": "failed"}


def test_a_manifest_of_one_call_is_read(tmp_path: Path) -> None:
    old = {
        "format": "slidecam-manifest",
        "version": 1,
        "run": {"bundle": "pocket"},
        "slides": [{"slide": "a", "path": "a.svs", "status": "done", "tiles": {"done": 3}}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    found = read_manifest(tmp_path / "manifest.json")
    assert found.slides == (SlideReport("a", "a.svs", "done", TileCounts(3)),)
    assert found.calls == ({"bundle": "pocket"},)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "is not JSON"),
        ("[]", "does not say"),
        ('{"format": "vite"}', "does not say"),
        (
            '{"format": "slidecam-manifest", "slides": [{"slide": 7}]}',
            "is damaged",
        ),
        ('{"format": "slidecam-manifest", "slides": 4}', "is damaged"),
        ('{"format": "slidecam-manifest", "calls": [4]}', "is damaged"),
    ],
)
def test_what_is_no_manifest_of_ours_is_refused_and_left(
    tmp_path: Path, text: str, fault: str
) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=fault):
        written(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == text


def test_the_remedy_of_a_lost_manifest_is_to_make_it_anew_where_slides_lie(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Name the --out"):
        remembered(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="slidecam report"):
        remembered(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text('{"format": "slidecam-manifest", "slides": [{"slide": 7}]}')
    with pytest.raises(StoreError, match=r"slides\.0\.slide is not as slidecam.*slidecam report"):
        remembered(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="a folder where"):
        remembered(tmp_path)


def _one_more(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    add_to_manifest(
        folder / "manifest.json",
        [full_report(name)],
        by_another_call(RUN, name),
        lambda _slide: True,
    )


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(partial(_one_more, tmp_path), names))
    assert sorted(statuses(tmp_path)) == sorted(names)
