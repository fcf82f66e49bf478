"""What is left in a slide's folder: its ``run.json``, and each output that a call chose.

``run.json`` is written before the first batch and after the last one, the outputs one after the
other in between.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.errors import SlideFailedError, UsageError
from slidecam.exchange.geojson import write_tiles_geojson
from slidecam.exchange.manifest import SlideReport, TileCounts
from slidecam.exchange.qupath import QuPathExport, write_for_qupath
from slidecam.exchange.tables import write_tiles_csv
from slidecam.foreground import save_foreground
from slidecam.objects import said
from slidecam.prediction import volumes
from slidecam.prediction.model import versions
from slidecam.prediction.pictures import thumbnail, write_heatmaps, write_overview
from slidecam.registry import resolve
from slidecam.runs.legend import classified_tissue, summarise_classes
from slidecam.runs.outputs import (
    OVERVIEW,
    chosen_outputs,
    clear_leftovers,
    clear_others,
    painting,
)
from slidecam.runs.record import RunRecord
from slidecam.runs.record_parts import (
    RecordedBundle,
    RecordedCall,
    RecordedForeground,
    RecordedHeatmap,
    RecordedInput,
    RecordedOutcome,
    RecordedSpacing,
)
from slidecam.runs.slices import write_slices_csv
from slidecam.runs.tiles import TileTable
from slidecam.runs.written import output_marks
from slidecam.sources.identifiers import hidden_parts
from slidecam.sources.volume import VolumeSource
from slidecam.store import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from slidecam.exchange.manifest import SlideStatus
    from slidecam.prediction.pictures import WrittenHeatmap
    from slidecam.prediction.work import OpenRun, SlideWork
    from slidecam.runs.legend import ClassSummary, OwnParts
    from slidecam.sources.names import FoundSlide


@dataclass(frozen=True)
class Results:
    """What a slide's outputs are written from.

    Attributes
    ----------
    name
        The slide's.
    work
        All that was settled about it.
    table
        Every tile with what became of it.
    parts
        What each tile counts for in shares.
    of_volume
        Of a volume, its slices and its call; None of a slide.
    written
        Its heatmaps, as far as they are on disk: outputs that show them come after them.
    thumbnail
        The slide as ``overview.png`` shows it, which is read beside the outputs before that one;
        None where nothing shows it.
    """

    name: str
    work: SlideWork
    table: TileTable
    parts: OwnParts
    of_volume: volumes.VolumeResults | None
    written: list[WrittenHeatmap] = field(default_factory=list)
    thumbnail: Future[NDArray[np.uint8]] | None = None

    @property
    def volume(self) -> volumes.VolumeResults:
        """What became of a volume, where it is one."""
        assert self.of_volume is not None  # noqa: S101  (for the type checker: rows of volumes ask)
        return self.of_volume


def results_of(name: str, work: SlideWork, table: TileTable) -> Results:
    """Return what a slide's outputs are written from."""
    parts = work.own_parts()
    if not work.is_volume:
        return Results(name, work, table, parts, None)
    return Results(name, work, table, parts, volumes.volume_results(work))


def write_outputs(results: Results) -> None:
    """Write every output that was chosen, and take away the others of an earlier call.

    Raises
    ------
    Exception
        Whatever a writer raises.
    """
    work = results.work
    rows = chosen_outputs(work.spec.outputs, volume=work.is_volume)
    clear_others(work.folder, kept=rows)
    with ThreadPoolExecutor(1, "slidecam-thumbnail") as beside:
        if OVERVIEW in {row.name for row in rows}:
            results = replace(results, thumbnail=beside.submit(thumbnail, work.source))
        for row in rows:
            if not row.wanted or resolve(row.wanted)(work):
                resolve(row.write)(results, work.folder / row.name)


def heatmap_records(results: Results) -> list[dict[str, Any]]:
    """Return what ``run.json`` says of the heatmaps."""
    if results.of_volume is None:
        return [one.record() for one in results.written]
    return [volumes.heatmap_record(one, results.work) for one in results.written]


def tiles_csv(results: Results, path: Path) -> None:
    """Write ``tiles.csv``."""
    write_tiles_csv(results.table, path, results.work.spec.csv_dialect)


def tiles_geojson(results: Results, path: Path) -> None:
    """Write ``tiles.geojson``."""
    write_tiles_geojson(results.table, path)


def slices_csv(results: Results, path: Path) -> None:
    """Write ``slices.csv``."""
    write_slices_csv(results.volume.slices, path)


def heatmaps(results: Results, _path: Path) -> None:
    """Write the heatmap of every method."""
    if results.of_volume is None:
        results.written.extend(write_heatmaps(results.work))
    else:
        results.written.extend(volumes.write_volume_heatmaps(results.work))


def overview(results: Results, path: Path) -> None:
    """Write ``overview.png``."""
    assert results.thumbnail is not None  # noqa: S101  (for the type checker: it is chosen)
    drawn = results.table, results.parts, results.written
    write_overview(path, results.name, results.work, drawn, results.thumbnail.result())


def montage(results: Results, path: Path) -> None:
    """Write ``montage.png``."""
    found = results.volume
    volumes.write_montage(path, results.work, found.slices, found.call, results.written)


def slide_mask(results: Results, path: Path) -> None:
    """Write ``mask.png``."""
    save_foreground(results.work.foreground, path)


def volume_mask(results: Results, path: Path) -> None:
    """Write ``mask.nii.gz``."""
    volumes.write_volume_mask(results.work, path)


def is_for_qupath(work: SlideWork) -> bool:
    """Whether the call says how QuPath shows the slide."""
    return work.qupath.size is not None


def for_qupath(results: Results, path: Path) -> None:
    """Write what our QuPath scripts load."""
    places = [one.path for one in results.written]
    size = results.work.qupath.size
    size_px = () if size is None else (size.width, size.height)
    export = QuPathExport(
        results.table, places, results.name, results.work.card.name, size_px=size_px
    )
    write_for_qupath(export, path)


TRY_AGAIN = "run.json lists the tiles and why. Repeat the call with --resume to try them again."

FAILURES_LISTED = 100
"""Failed tiles that `run.json` lists; the store holds all of them."""


def begin_slide(slide: FoundSlide, work: SlideWork) -> None:
    """Write ``run.json`` as it stands before the first batch.

    Nothing is written if an earlier call finished the slide.
    """
    if work.run is not None and not work.run.complete:
        clear_leftovers(work.folder)
        _record(slide, work).write(work.folder)
        work.put()


def _record(slide: FoundSlide, work: SlideWork) -> RunRecord:
    """Return the record of a slide before its first batch."""
    started, resumed, before = _now(), 0, RunRecord.find(work.folder)
    if before is not None:
        started, resumed = before.started, before.resumed + 1
    spacing, bundle = work.spacing, work.model.bundle
    return RunRecord(
        status="running",
        started=started,
        resumed=resumed,
        made_in=_working_folder(slide),
        input=RecordedInput.of(slide.shown, work.source.facts, volumes.recorded(work), slide.group),
        spacing=None if spacing is None else RecordedSpacing(spacing.spacing, spacing.origin),
        foreground=RecordedForeground(work.foreground.origin, work.foreground.share),
        bundle=RecordedBundle(work.card.name, said(bundle.path), bundle.digest, work.card.classes),
        qupath=work.qupath,
        plan=work.plan,
        ngff=work.spec.ngff,
        painting=painting(work.model.request, work.spec),
        device=str(work.model.classifier.device),
        machine=work.model.machine,
        versions=versions(),
    )


def _working_folder(slide: FoundSlide) -> str | None:
    """Return the folder that relative paths count from; None where it may not be written down.

    A folder above a DICOM series may be called after its patient.
    """
    folder = Path.cwd()
    if "://" in slide.path:
        return str(folder)
    if hidden_parts(folder / slide.path):
        return None
    return str(folder)


def finish_slide(slide: FoundSlide, work: SlideWork) -> SlideReport:
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
            "A dry run leaves nothing to finish.", "Prepare the slide without dry_run."
        )
    if not run.complete:
        work.refuse_changed()
    table = _table(run, work)
    _refuse_nothing_read(slide, run, table)
    status, reason = _outcome(work, table)
    if not run.complete:
        start = time.perf_counter()
        results = results_of(slide.name, work, table)
        write_outputs(results)
        work.timings.write += time.perf_counter() - start
        begun = RunRecord.find(work.folder) or _record(slide, work)
        outcome = _recorded(results, run)
        replace(begun, status=status, outcome=outcome).write(work.folder)
        work.put()
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
    seconds = 0.0
    if record.outcome is not None:
        seconds = record.outcome.seconds.get("total", 0.0)
    failed, parts = int(table.failed.sum()), work.own_parts()
    return SlideReport(
        slide=slide.name,
        path=slide.shown,
        status=status,
        tiles=TileCounts(
            done=int(table.done.sum()),
            failed=failed,
            skipped=work.grid.candidates - len(table),
            **table.call_counts,
        ),
        classes=summarise_classes(table, parts),
        tissue=classified_tissue(table, parts),
        outputs={name: f"{slide.name}/{name}" for name in names if (work.folder / name).exists()},
        seconds=seconds,
        reason=reason,
        remedy=TRY_AGAIN if failed else "",
        warnings=(*work.warnings, *record.faint_heatmaps),
        facts=record.manifest_facts(),
        bundle=record.bundle.name,
        bundle_digest=record.bundle.digest or "",
    )


def _table(run: OpenRun, work: SlideWork) -> TileTable:
    store = run.store
    return TileTable(
        store.boxes,
        store.status,
        store.probabilities,
        classes=work.card.classes,
        bounds=work.qupath.part(work.source.facts.size, work.source.facts.bounds),
        disagreement=store.disagreement,
    )


def _refuse_nothing_read(slide: FoundSlide, run: OpenRun, table: TileTable) -> None:
    if len(table) and (table.status == Status.FAILED).all():
        first = next(iter(run.store.failures.values()))
        raise SlideFailedError(
            slide.path,
            f"None of its {len(table)} tiles gave a result: {first}",
            "Copy the slide again.",
        )


def _outcome(work: SlideWork, table: TileTable) -> tuple[SlideStatus, str]:
    if not len(table):
        return "skipped", work.no_tile_reason
    lost = len(table) - int(table.done.sum())
    if lost:
        return "partly", f"{lost} of {len(table)} tiles gave no result"
    if isinstance(work.source, VolumeSource) and work.source.unplaced:
        return "partly", work.source.unplaced_words
    return "done", ""


def _recorded(results: Results, run: OpenRun) -> RecordedOutcome:
    """Return what became of a slide whose outputs are written."""
    table, failures = results.table, sorted(run.store.failures.items())
    call = None
    if results.of_volume is not None:
        call = RecordedCall.from_json(results.of_volume.call)
    return RecordedOutcome(
        finished=_now(),
        tiles={
            "total": len(table),
            "done": int(table.done.sum()),
            "failed": len(failures),
            "skipped": results.work.grid.candidates - len(table),
            **table.call_counts,
        },
        tissue=asdict(classified_tissue(table, results.parts)),
        classes=[
            _class_row(each) for each in summarise_classes(table, results.parts) if each.count
        ],
        failures=[{"tile": row, "reason": reason} for row, reason in failures[:FAILURES_LISTED]],
        heatmaps=tuple(map(RecordedHeatmap.from_json, heatmap_records(results))),
        seconds=results.work.timings.record(),
        call=call,
        written=output_marks(results.work.folder, results.work.output_names()),
    )


def _class_row(each: ClassSummary) -> dict[str, Any]:
    counts = {"tiles": each.count, "share": each.share, "area": each.area}
    return {"name": each.name, **counts, **each.means}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
