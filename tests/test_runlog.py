"""What a run returns and leaves behind, whatever became of its slides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slidecam.events import SlideFailed
from slidecam.exchange.manifest import SlideReport, SlideStatus, TileCounts
from slidecam.models import open_bundle
from slidecam.reports import report
from slidecam.runlog import PARTLY, RunLog
from slidecam.runs.spec import PredictSpec
from slidecam.sources.names import FoundSlide
from slidecam.store import Outlet

HIDDEN = "/data/Doe^John/series"


def log_of(
    out: Path,
    bundle: Path,
    statuses: list[SlideStatus],
    expected: int,
    spec: PredictSpec | None = None,
) -> RunLog:
    slides = [FoundSlide(f"s{index}", f"s{index}.svs") for index in range(expected)]
    log = RunLog(Outlet(out), open_bundle(bundle), spec or PredictSpec(), slides)
    for index, status in enumerate(statuses):
        if status == "failed":
            log.failed(SlideFailed(f"s{index}", f"s{index}.svs", "broken", "mend it"))
        else:
            log.finished(
                SlideReport(
                    f"s{index}", f"s{index}.svs", status, TileCounts(3, int(status == "partly"))
                )
            )
    return log


@pytest.mark.parametrize(
    ("statuses", "expected", "code"),
    [
        (["done", "done"], 2, 0),
        (["done", "skipped"], 2, 0),
        (["done", "failed"], 2, 3),
        (["done", "partly"], 2, 3),
        (["failed", "failed"], 2, 1),
        (["done"], 2, 3),
        ([], 2, 3),
    ],
)
def test_the_exit_code_says_whether_all_some_or_nothing_was_done(
    tmp_path: Path, tiny_bundle: Path, statuses: list[SlideStatus], expected: int, code: int
) -> None:
    assert log_of(tmp_path, tiny_bundle, statuses, expected).exit_code == code


def test_the_manifest_holds_every_slide_and_the_settings(tmp_path: Path, tiny_bundle: Path) -> None:
    spec = PredictSpec(mask=Path("mask.png"), overlap=0.5)
    log_of(tmp_path, tiny_bundle, ["done", "failed"], 2, spec).write()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [(slide["slide"], slide["status"]) for slide in manifest["slides"]] == [
        ("s0", "done"),
        ("s1", "failed"),
    ]
    assert manifest["slides"][1]["remedy"] == "mend it"
    assert (manifest["run"]["command"]["mask"], manifest["run"]["command"]["overlap"]) == (
        "mask.png",
        0.5,
    )
    assert "s1" in (tmp_path / "report.html").read_text()


def test_a_dry_run_leaves_nothing(tmp_path: Path, tiny_bundle: Path) -> None:
    log = log_of(tmp_path / "out", tiny_bundle, ["done"], 1, PredictSpec(dry_run=True))
    log.write()
    assert not (tmp_path / "out").exists()
    assert log.summary().manifest == ""


def test_the_summary_counts_failed_slides(tmp_path: Path, tiny_bundle: Path) -> None:
    summary = log_of(tmp_path, tiny_bundle, ["done", "failed", "failed"], 3).summary()
    assert (summary.slides, summary.failed, summary.exit_code) == (3, 2, 3)


def test_slides_that_a_stopped_run_did_not_reach_are_in_the_manifest(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    log_of(tmp_path, tiny_bundle, ["done"], 3).write()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [slide["status"] for slide in manifest["slides"]] == ["done", "unfinished", "unfinished"]
    assert "--resume" in manifest["slides"][2]["remedy"]
    assert "s2" in (tmp_path / "report.html").read_text()


class UnforeseenError(Exception):
    """Derives from nothing that any list of errors could name."""


def test_a_report_that_cannot_be_rendered_is_a_failed_output_and_takes_nothing_with_it(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unforeseen(*_given: object, **_named: object) -> None:
        raise UnforeseenError(f"nobody expected {HIDDEN}")

    (tmp_path / "report.html").write_text("of an earlier call")
    monkeypatch.setattr(report, "write_page", unforeseen)
    log = log_of(tmp_path, tiny_bundle, ["done", "done"], 2)
    log.slides = [FoundSlide("s0", HIDDEN, hidden=("Doe^John",)), log.slides[1]]
    log.write()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (failed,) = manifest["run"]["failed_outputs"]
    assert (failed["output"], failed["slide"]) == ("report.html", "")
    assert failed["reason"].startswith("UnforeseenError: nobody expected ")
    assert "please report it" in failed["remedy"]
    assert failed["traceback"][0] == "Traceback (most recent call last):"
    assert "Doe" not in json.dumps(manifest)
    assert [slide["status"] for slide in manifest["slides"]] == ["done", "done"]
    assert manifest["run"]["exit_code"] == 3
    assert not (tmp_path / "report.html").exists()
    assert (log.summary().exit_code, log.summary().report) == (3, "")
    (warned,) = log.warnings()
    assert warned.message.startswith("report.html is not complete: UnforeseenError")


def test_a_picture_that_nobody_foresaw_is_left_out_and_every_slide_is_in_the_report(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(path: Path) -> str:
        if path.parent.name == "s0":
            raise UnforeseenError("no such chunk")
        return "data:image/png;base64,AAAA"

    monkeypatch.setattr(report, "picture_uri", odd)
    log = log_of(tmp_path, tiny_bundle, [], 2)
    for name in ("s0", "s1"):
        outputs = {"overview.png": f"{name}/overview.png"}
        log.finished(SlideReport(name, f"{name}.svs", "done", TileCounts(3), outputs=outputs))
    log.write()
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,AAAA") == 1
    assert 'href="s0/overview.png"' in page
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [one["slide"] for one in manifest["run"]["failed_outputs"]] == ["s0"]
    assert log.exit_code == 3
    assert log.summary().report == str(tmp_path / "report.html")


def test_a_whole_report_leaves_no_word_of_failed_outputs(tmp_path: Path, tiny_bundle: Path) -> None:
    log = log_of(tmp_path, tiny_bundle, ["done"], 1)
    log.write()
    assert "failed_outputs" not in json.loads((tmp_path / "manifest.json").read_text())["run"]
    assert log.warnings() == []


def test_a_manifest_that_cannot_be_written_takes_no_slide_with_it(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    (tmp_path / "manifest.json").mkdir()
    log = log_of(tmp_path, tiny_bundle, ["done", "failed"], 2)
    log.write()
    assert [failed.output for failed in log.failed_outputs] == ["manifest.json"]
    assert "slidecam report" in log.warnings()[0].message
    assert log.exit_code == PARTLY
    assert "s1" in (tmp_path / "report.html").read_text()
    (tmp_path / "manifest.json").rmdir()
    log.write()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [slide["status"] for slide in manifest["slides"]] == ["done", "failed"]
    assert log.failed_outputs == []


def test_a_damaged_manifest_in_mid_run_ends_nothing(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slidecam.runlog.WRITE_EVERY", 0.0)
    (tmp_path / "manifest.json").write_text("{")
    log = log_of(tmp_path, tiny_bundle, ["done", "failed", "partly"], 3)
    assert [report.status for report in log.reports] == ["done", "failed", "partly"]
    log.write()
    assert "is not JSON" in log.warnings()[0].message


def test_a_folder_with_slides_of_another_model_says_so(tmp_path: Path, tiny_bundle: Path) -> None:
    log = log_of(tmp_path, tiny_bundle, [], 2)
    for name, model in (("s0", "first"), ("s1", "second")):
        log.finished(SlideReport(name, f"{name}.svs", "done", bundle=model, bundle_digest=model))
    log.write()
    (warned,) = log.warnings()
    assert "2 models: first (first) of 1 slide, second (second) of 1 slide." in warned.message
