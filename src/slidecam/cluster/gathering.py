"""A folder's manifest, report and table, made anew from what its slides recorded.

Many processes fill a folder, and any of them may be ended before it has written for all. Each
slide's own folder says what became of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from slidecam.errors import StoreError, UsageError
from slidecam.exchange.manifest import (
    Manifest,
    SlideReport,
    TileCounts,
    read_manifest,
    refuse_folder,
)
from slidecam.runlog import GO_ON, MANIFEST, STOPPED, RunLog
from slidecam.runs import Run
from slidecam.runs.legend import classified_tissue, own_slices, parts_of, summarise_classes
from slidecam.runs.outputs import OUTPUT_TABLE
from slidecam.runs.record import RunRecord
from slidecam.runs.spec import PredictSpec
from slidecam.sources.names import FoundSlide
from slidecam.store import RUN_FILE, STORE_FOLDER, Outlet, read_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slidecam.exchange.manifest import SlideStatus
    from slidecam.runs.legend import OwnParts

OWN = (RUN_FILE, STORE_FOLDER, "failures")
"""What in a slide's folder is no output."""

DAMAGED = "manifest.damaged.json"

RECOVERED = "Repeat the call of slidecam predict with --resume, which recovers it."
"""The remedy of a slide whose record cannot be read."""


def gather(out: Path) -> RunLog:
    """Make the manifest, report and table of a folder anew, and return what is in them.

    Slides that never came to a folder of their own keep what the manifest says of them. A manifest
    that cannot be read is moved aside, which is noted. A slide whose record cannot be read is
    failed, with `RECOVERED` as its remedy, and noted.

    Raises
    ------
    UsageError
        If there is no slide's run in ``out``.
    StoreError
        If a folder lies where the manifest belongs.
    """
    known: dict[str, SlideReport] = {}
    lost = []
    manifest, moved = _remembered(out)
    for before in manifest.slides:
        known[before.slide] = before
    reports, slides = [], []
    for folder in sorted(filter(Path.is_dir, out.iterdir())):
        report = report_of(folder, known.get(folder.name))
        if report is not None:
            reports.append(report)
            slides.append(FoundSlide(report.slide, report.path))
            if report.remedy == RECOVERED:
                lost.append(report)
    if not reports:
        raise UsageError(
            "There is no run of slidecam predict here.", "Pass the folder given as --out.", out
        )
    log = RunLog(Outlet(out), None, PredictSpec(), slides, reports=reports)
    log.write()
    log.note("", moved)
    for report in lost:
        log.note(report.slide, f"{report.slide}: {report.reason} {report.remedy}")
    return log


def _remembered(out: Path) -> tuple[Manifest, str]:
    """Return what a folder remembers, and that its manifest was moved aside, where it was."""
    if not out.is_dir():
        raise UsageError("There is no such folder.", "Pass the folder given as --out.", out)
    refuse_folder(out / MANIFEST)
    try:
        return read_manifest(out / MANIFEST), ""
    except StoreError as error:
        (out / MANIFEST).replace(out / DAMAGED)
        return Manifest(), f"{error.problem} It lies in {DAMAGED} now, and is made anew."


def report_of(folder: Path, known: SlideReport | None = None) -> SlideReport | None:
    """Return what became of a slide, as its own folder says; None where it is no slide's.

    ``known`` is what the manifest said of it: the record keeps not all of its warnings.
    """
    data = read_run(folder)
    if data is None:
        return _without_record(folder, known)
    record = RunRecord.find(folder)
    path = _path_of(data, known)
    reason = str(data.get("reason", ""))
    if record is None or record.status == "failed":
        if record is None and not reason:
            return _unread(folder, path)
        remedy = str(data.get("remedy", ""))
        return SlideReport(folder.name, path, "failed", reason=reason, remedy=remedy)
    if record.outcome is None or not record.is_finished:
        return SlideReport(folder.name, path, "unfinished", reason=STOPPED, remedy=GO_ON)
    try:
        return _finished(folder, record, known)
    except StoreError as error:
        return SlideReport(folder.name, path, "failed", reason=error.problem, remedy=error.remedy)


def _without_record(folder: Path, known: SlideReport | None) -> SlideReport | None:
    """Return that a slide has no readable record; None where nothing says that it is a slide's."""
    traces = {*OWN, *(row.name for row in OUTPUT_TABLE.own)}
    if not any((folder / name).exists() for name in traces):
        return None
    return _unread(folder, "" if known is None else known.path)


def _unread(folder: Path, path: str) -> SlideReport:
    fault = "is damaged" if (folder / RUN_FILE).exists() else "is not there"
    reason = f"Its {RUN_FILE} {fault}."
    return SlideReport(folder.name, path, "failed", reason=reason, remedy=RECOVERED)


def _path_of(data: Mapping[str, Any], known: SlideReport | None) -> str:
    source = data.get("input")
    if isinstance(source, dict) and "path" in source:
        return str(source["path"])
    return "" if known is None else known.path


def _finished(folder: Path, record: RunRecord, known: SlideReport | None) -> SlideReport:
    run, outcome = Run.open(folder), record.outcome
    assert outcome is not None  # noqa: S101  (for the type checker: it is finished)
    table, parts = run.tiles, _parts(run)
    failed, lost = int(table.failed.sum()), len(table) - int(table.done.sum())
    same = known is not None and known.status == record.status
    warnings, reason, remedy = (*record.input.readings, *record.faint_heatmaps), "", ""
    if known is not None and same:
        warnings, reason, remedy = known.warnings, known.reason, known.remedy
    elif lost:
        reason = f"{lost} of {len(table)} tiles gave no result"
    elif record.status == "skipped" and record.foreground is not None:
        reason = f"nothing to classify ({record.foreground.origin})"
    facts = record.manifest_facts()
    if known is not None and "group" in known.facts:
        # Of the last list of slides, which may say more than the first one.
        facts["group"] = known.facts["group"]
    return SlideReport(
        slide=folder.name,
        path=record.input.path,
        status=cast("SlideStatus", record.status),
        tiles=TileCounts(
            done=int(table.done.sum()),
            failed=failed,
            skipped=int(outcome.tiles.get("skipped", 0)),
            **table.call_counts,
        ),
        classes=summarise_classes(table, parts),
        tissue=classified_tissue(table, parts),
        outputs={name: f"{folder.name}/{name}" for name in _outputs_in(folder)},
        seconds=outcome.seconds.get("total", 0.0),
        reason=reason,
        remedy=remedy,
        warnings=warnings,
        facts=facts,
        bundle=record.bundle.name,
        bundle_digest=record.bundle.digest or "",
    )


def _parts(run: Run) -> OwnParts:
    if run.is_volume:
        return own_slices(len(run))
    return parts_of(run)


def _outputs_in(folder: Path) -> Iterator[str]:
    for entry in sorted(folder.iterdir()):
        if not entry.name.startswith(".") and entry.name not in OWN:
            yield entry.name
