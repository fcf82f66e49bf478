"""``run.json`` before and after a slide's batches, and the writing of all its outputs."""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from slidecam.errors import SlideFailedError, UsageError
from slidecam.exchange.manifest import SlideReport, TileCounts
from slidecam.prediction.outputs import heatmap_records, results_of, write_outputs
from slidecam.runs.outputs import clear_leftovers, painting
from slidecam.runs.summary import summarise_classes
from slidecam.runs.tiles import TileTable
from slidecam.sources import reader_packages
from slidecam.store import Status, read_run, write_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.exchange.manifest import SlideStatus
    from slidecam.geometry import Box
    from slidecam.prediction.preparation import OpenRun, SlideWork
    from slidecam.prediction.timings import Timings
    from slidecam.sources.discovery import FoundSlide

PACKAGES = ("slidecam", "torch", "timm", "numpy", "zarr")
"""Whose versions `run.json` records beside the readers': each can move a result's last digits."""

TRY_AGAIN = "run.json lists the tiles and why. Repeat the call with --resume to try them again."

FACTS = ("input", "spacing", "foreground", "device", "seconds", "volume")
"""What the manifest repeats of `run.json`."""

FAILURES_TOLD = 100
"""Failed tiles that `run.json` lists; the store holds all of them."""


def begin_slide(slide: FoundSlide, work: SlideWork) -> None:
    """Write ``run.json`` as it stands before the first batch.

    Nothing is written if an earlier call finished the slide.
    """
    if work.run is not None and not work.run.complete:
        clear_leftovers(work.folder)
        write_run(work.folder, _record(slide, work))


def _record(slide: FoundSlide, work: SlideWork) -> dict[str, Any]:
    before = read_run(work.folder) or {}
    facts, spacing, card = work.source.facts, work.spacing, work.card
    return {
        "status": "running",
        "started": before.get("started", _now()),
        "resumed": before.get("resumed", 0) + 1 if before else 0,
        "input": {
            "path": slide.shown,
            "fingerprint": facts.fingerprint,
            "reader": facts.reader,
            "format": facts.format,
            "size_px": [facts.size.width, facts.size.height],
            "bounds_px": _numbers(facts.bounds),
            **_volume_record(work),
        },
        "spacing": (
            None
            if spacing is None
            else {"um_px": [spacing.spacing.x, spacing.spacing.y], "from": spacing.origin}
        ),
        "foreground": {"from": work.foreground.origin, "share": work.foreground.share},
        "bundle": {
            "name": card.name,
            "path": str(work.model.bundle.path),
            "digest": work.model.bundle.digest,
            **card.classes.record,
        },
        "qupath": dict(work.qupath),
        "plan": dict(work.plan),
        "ngff": work.spec.ngff,
        "painting": painting(work.model.request, work.spec),
        "device": str(work.model.classifier.device),
        "machine": {"system": platform.platform(), "python": platform.python_version()},
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    """Return the versions of what classifies and what reads; a reader may lack its library."""
    found: dict[str, str] = {}
    for package in (*PACKAGES, *reader_packages()):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _volume_record(work: SlideWork) -> dict[str, Any]:
    stack = work.source.facts.stack
    if stack is None:
        return {}
    return {
        "axis": stack.axis,
        "planes": stack.shape[0],
        "voxels": list(stack.grid.shape),
        "spacing_mm": list(stack.spacing_mm),
        "affine_ras_mm": stack.grid.affine.tolist(),
    }


def _numbers(box: Box | None) -> list[int] | None:
    return None if box is None else [box.x, box.y, box.width, box.height]


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
        record = _counts(work, run, table)
        if results.of_volume is not None:
            record["volume"] = results.of_volume.call
        record |= {"status": status, "heatmaps": heatmap_records(results)}
        write_run(work.folder, {**record, "seconds": timings.told()})
    return _report(slide, work, table, status, reason, work.output_names())


def _report(
    slide: FoundSlide,
    work: SlideWork,
    table: TileTable,
    status: SlideStatus,
    reason: str,
    names: Sequence[str],
) -> SlideReport:
    record = read_run(work.folder) or {}
    failed = int(table.failed.sum())
    return SlideReport(
        slide=slide.name,
        path=slide.shown,
        status=status,
        tiles=TileCounts(int(table.done.sum()), failed, work.grid.candidates - len(table)),
        classes=summarise_classes(table),
        outputs={name: f"{slide.name}/{name}" for name in names if (work.folder / name).exists()},
        seconds=record.get("seconds", {}).get("total", 0.0),
        reason=reason,
        remedy=TRY_AGAIN if failed else "",
        warnings=work.warnings,
        facts={key: record[key] for key in FACTS if key in record},
    )


def _table(run: OpenRun, work: SlideWork) -> TileTable:
    return TileTable(
        boxes=run.store.boxes,
        status=run.store.status,
        probabilities=run.store.probabilities,
        classes=work.card.classes,
        bounds=None if work.qupath["corner_px"] == [0, 0] else work.source.facts.bounds,
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
        return "skipped", _why_no_tile(work)
    lost = len(table) - int(table.done.sum())
    return ("partly", f"{lost} of {len(table)} tiles gave no result") if lost else ("done", "")


def _why_no_tile(work: SlideWork) -> str:
    if work.is_volume:
        return (
            f"none of {work.source.facts.planes} slices holds any foreground"
            f" ({work.foreground.origin})"
        )
    if work.foreground.share:
        return f"none of {work.grid.candidates} places on the slide holds enough tissue for a tile"
    return f"no tissue found ({work.foreground.origin})"


def _counts(work: SlideWork, run: OpenRun, table: TileTable) -> dict[str, Any]:
    """Return ``run.json`` as it stood, with how many tiles ended how."""
    record = read_run(work.folder) or {}
    failures = sorted(run.store.failures.items())
    return {
        **record,
        "finished": _now(),
        "tiles": {"total": len(table), "done": int(table.done.sum()), "failed": len(failures)},
        "classes": [
            {
                "name": each.name,
                "tiles": each.count,
                "share": each.share,
                "mean_probability": each.mean_probability,
            }
            for each in summarise_classes(table)
            if each.count
        ],
        "failures": [{"tile": row, "reason": reason} for row, reason in failures[:FAILURES_TOLD]],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
