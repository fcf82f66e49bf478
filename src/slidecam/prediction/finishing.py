"""``run.json`` before and after a slide's batches, and the writing of all its outputs."""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.errors import SlideFailedError, UsageError
from slidecam.exchange.manifest import SlideReport, TileCounts
from slidecam.prediction.outputs import heatmap_records, results_of, write_outputs
from slidecam.runs.outputs import clear_leftovers, painting
from slidecam.runs.record import RunRecord
from slidecam.runs.record_parts import (
    RecordedBundle,
    RecordedCall,
    RecordedForeground,
    RecordedHeatmap,
    RecordedInput,
    RecordedOutcome,
    RecordedSpacing,
    RecordedVolume,
)
from slidecam.runs.summary import summarise_classes
from slidecam.runs.tiles import TileTable
from slidecam.sources import reader_packages
from slidecam.sources.identifiers import hidden_parts
from slidecam.store import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.exchange.manifest import SlideStatus
    from slidecam.prediction.outputs import Results
    from slidecam.prediction.work import OpenRun, SlideWork, Timings
    from slidecam.sources.discovery import FoundSlide

PACKAGES = ("slidecam", "torch", "timm", "numpy", "zarr")
"""Whose versions `run.json` records beside the readers': each can move a result's last digits."""

TRY_AGAIN = "run.json lists the tiles and why. Repeat the call with --resume to try them again."

FAILURES_TOLD = 100
"""Failed tiles that `run.json` lists; the store holds all of them."""


def begin_slide(slide: FoundSlide, work: SlideWork) -> None:
    """Write ``run.json`` as it stands before the first batch.

    Nothing is written if an earlier call finished the slide.
    """
    if work.run is not None and not work.run.complete:
        clear_leftovers(work.folder)
        _record(slide, work).write(work.folder)


def _record(slide: FoundSlide, work: SlideWork) -> RunRecord:
    """Return the record of a slide before its first batch."""
    before = RunRecord.find(work.folder)
    facts, spacing, bundle = work.source.facts, work.spacing, work.model.bundle
    return RunRecord(
        status="running",
        started=_now() if before is None else before.started,
        resumed=0 if before is None else before.resumed + 1,
        made_in=_working_folder(slide),
        input=RecordedInput(
            path=slide.shown,
            fingerprint=facts.fingerprint,
            reader=facts.reader,
            format=facts.format,
            size=facts.size,
            bounds=facts.bounds,
            volume=_volume(work),
        ),
        spacing=None if spacing is None else RecordedSpacing(spacing.spacing, spacing.origin),
        foreground=RecordedForeground(work.foreground.origin, work.foreground.share),
        bundle=RecordedBundle(work.card.name, str(bundle.path), bundle.digest, work.card.classes),
        qupath=work.qupath,
        plan=work.plan,
        ngff=work.spec.ngff,
        painting=painting(work.model.request, work.spec),
        device=str(work.model.classifier.device),
        machine={"system": platform.platform(), "python": platform.python_version()},
        versions=_versions(),
    )


def _working_folder(slide: FoundSlide) -> str | None:
    """Return the folder that relative paths count from; None where it may not be written down.

    A folder above a DICOM series may be called after its patient.
    """
    folder = Path.cwd()
    if "://" in slide.path:
        return str(folder)
    return None if hidden_parts(folder / slide.path) else str(folder)


def _versions() -> dict[str, str]:
    """Return the versions of what classifies and what reads; a reader may lack its library."""
    found: dict[str, str] = {}
    for package in (*PACKAGES, *reader_packages()):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _volume(work: SlideWork) -> RecordedVolume | None:
    stack = work.source.facts.stack
    if stack is None:
        return None
    return RecordedVolume(
        axis=stack.axis,
        planes=stack.shape[0],
        voxels=tuple(stack.grid.shape),
        spacing_mm=tuple(stack.spacing_mm),
        affine_ras_mm=tuple(map(tuple, stack.grid.affine.tolist())),
    )


def finish_slide(slide: FoundSlide, work: SlideWork, timings: Timings) -> SlideReport:
    """Write a slide's outputs and finish its ``run.json``.

    A slide that was finished before is left as it is.

    Raises
    ------
    SlideFailedError
        If no tile could be read at all.
    OSError
        If an output cannot be written.
    """
    run = work.run
    if run is None:
        raise UsageError(
            "a dry run leaves nothing to finish.", "Prepare the slide without dry_run."
        )
    table = _table(run, work)
    _refuse_nothing_read(slide, run, table)
    status, reason = _outcome(work, table)
    if not run.complete:
        start = time.perf_counter()
        results = results_of(slide.name, work, table)
        write_outputs(results)
        timings.write += time.perf_counter() - start
        begun = RunRecord.find(work.folder) or _record(slide, work)
        outcome = _recorded(results, run, timings)
        replace(begun, status=status, outcome=outcome).write(work.folder)
    return _report(slide, work, table, status, reason, work.output_names())


def _report(
    slide: FoundSlide,
    work: SlideWork,
    table: TileTable,
    status: SlideStatus,
    reason: str,
    names: Sequence[str],
) -> SlideReport:
    record = RunRecord.read(work.folder)
    seconds = {} if record.outcome is None else record.outcome.seconds
    failed = int(table.failed.sum())
    return SlideReport(
        slide=slide.name,
        path=slide.shown,
        status=status,
        tiles=TileCounts(int(table.done.sum()), failed, work.grid.candidates - len(table)),
        classes=summarise_classes(table),
        outputs={name: f"{slide.name}/{name}" for name in names if (work.folder / name).exists()},
        seconds=seconds.get("total", 0.0),
        reason=reason,
        remedy=TRY_AGAIN if failed else "",
        warnings=work.warnings,
        facts=record.manifest_facts(),
    )


def _table(run: OpenRun, work: SlideWork) -> TileTable:
    return TileTable(
        boxes=run.store.boxes,
        status=run.store.status,
        probabilities=run.store.probabilities,
        classes=work.card.classes,
        bounds=work.qupath.part(work.source.facts.size, work.source.facts.bounds),
    )


def _refuse_nothing_read(slide: FoundSlide, run: OpenRun, table: TileTable) -> None:
    if len(table) and (table.status == Status.FAILED).all():
        first = next(iter(run.store.failures.values()))
        raise SlideFailedError(
            slide.path,
            f"none of its {len(table)} tiles gave a result: {first}",
            "Copy the slide again.",
        )


def _outcome(work: SlideWork, table: TileTable) -> tuple[SlideStatus, str]:
    if not len(table):
        return "skipped", _no_tile_reason(work)
    lost = len(table) - int(table.done.sum())
    if lost:
        return "partly", f"{lost} of {len(table)} tiles gave no result"
    return "done", ""


def _no_tile_reason(work: SlideWork) -> str:
    if work.is_volume:
        return (
            f"none of {work.source.facts.planes} slices holds any foreground"
            f" ({work.foreground.origin})"
        )
    if work.foreground.share:
        return f"none of {work.grid.candidates} places on the slide holds enough tissue for a tile"
    return f"no tissue found ({work.foreground.origin})"


def _recorded(results: Results, run: OpenRun, timings: Timings) -> RecordedOutcome:
    """Return what became of a slide whose outputs are written."""
    table, failures = results.table, sorted(run.store.failures.items())
    call = None if results.of_volume is None else results.of_volume.call
    return RecordedOutcome(
        finished=_now(),
        tiles={"total": len(table), "done": int(table.done.sum()), "failed": len(failures)},
        classes=[
            {
                "name": each.name,
                "tiles": each.count,
                "share": each.share,
                "mean_probability": each.mean_probability,
            }
            for each in summarise_classes(table)
            if each.count
        ],
        failures=[{"tile": row, "reason": reason} for row, reason in failures[:FAILURES_TOLD]],
        heatmaps=tuple(map(RecordedHeatmap.from_json, heatmap_records(results))),
        seconds=timings.record(),
        call=None if call is None else RecordedCall.from_json(call),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
