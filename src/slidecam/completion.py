"""What becomes of a slide's results: ``run.json`` before and after its batches, and all that people open."""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import RegionReadError, SlideFailedError, UsageError
from slidecam.exchange.geojson import write_tiles_geojson
from slidecam.exchange.manifest import SlideReport, TileCounts
from slidecam.exchange.ome_zarr import RasterSpec, read_heatmap_ome_zarr, write_heatmap_ome_zarr
from slidecam.exchange.picture import OverviewFacts, OverviewHeat, write_overview_png
from slidecam.exchange.summary import summarise_classes
from slidecam.exchange.tiles import TileTable
from slidecam.exchange.wsinfer_csv import write_tiles_csv
from slidecam.foreground import save_foreground
from slidecam.heatmap import paint
from slidecam.preparation import HEATMAP, OUTPUTS, clear_leftovers
from slidecam.store import Status, read_run, write_run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.events import SlideFailed
    from slidecam.exchange.manifest import SlideStatus
    from slidecam.heatmap import Heatmap
    from slidecam.inference import MapRequest, ScoredBatch
    from slidecam.preparation import LoadedModel, OpenRun, PredictSpec, Prepared
    from slidecam.sources import Source
    from slidecam.sources.discovery import FoundSlide

THUMBNAIL = 1200
"""Longest side of the slide in the overview, in pixels."""

PACKAGES = ("slidecam", "torch", "timm", "numpy", "zarr", "openslide-python", "tiffslide", "pillow")
"""Whose versions `run.json` records: each of them can move the last digits of a result."""

METHOD_NAMES = {"gradcam++": "Grad-CAM++"}
"""How a method is written where people read it."""

TRY_AGAIN = "run.json lists the tiles and why. Repeat the call with --resume to try them again."

FAILURES_TOLD = 100
"""Failed tiles that `run.json` lists; the store holds all of them."""


@dataclass
class Timings:
    """Seconds of one slide, added up over its batches.

    ``decode`` counts thread seconds, which run beside the others; ``transfer`` and ``model`` are the device's,
    ``write`` the store's and the outputs'.
    """

    decode: float = 0.0
    transfer: float = 0.0
    model: float = 0.0
    write: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, scored: ScoredBatch) -> None:
        """Add one batch."""
        self.decode += scored.batch.decode_seconds
        self.transfer += scored.transfer_seconds
        self.model += scored.model_seconds

    def told(self) -> dict[str, float]:
        """Return all of them, rounded to milliseconds, with the seconds since the slide was begun."""
        parts = {"decode": self.decode, "transfer": self.transfer, "model": self.model, "write": self.write}
        return {name: round(value, 3) for name, value in {**parts, "total": self.seconds}.items()}

    @property
    def seconds(self) -> float:
        """Seconds since the slide was begun."""
        return time.perf_counter() - self.started


def begin_slide(slide: FoundSlide, ready: Prepared, model: LoadedModel, spec: PredictSpec) -> None:
    """Write ``run.json`` as it stands before the first batch, unless the slide was finished by an earlier call."""
    if ready.run is not None and not ready.run.complete:
        clear_leftovers(ready.folder)
        write_run(ready.folder, _record(slide, ready, model, spec))


def fail_slide(folder: Path, failure: SlideFailed) -> None:
    """Note in ``run.json`` that the slide was given up, where it can still be written."""
    record = {**(read_run(folder) or {}), "status": "failed", "finished": _now()}
    with suppress(OSError):
        write_run(folder, {**record, "reason": failure.problem, "remedy": failure.remedy})


def _record(slide: FoundSlide, ready: Prepared, model: LoadedModel, spec: PredictSpec) -> dict[str, Any]:
    before = read_run(ready.folder) or {}
    facts = ready.source.facts
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
        },
        "spacing": {"um_px": [ready.spacing.spacing.x, ready.spacing.spacing.y], "from": ready.spacing.origin},
        "foreground": {"from": ready.foreground.origin, "share": ready.foreground.share},
        "bundle": {
            "name": model.bundle.card.name,
            "path": str(model.bundle.path),
            "digest": model.bundle.digest,
        },
        "plan": dict(ready.plan),
        "ngff": spec.ngff,
        "device": str(model.classifier.device),
        "machine": {"system": platform.platform(), "python": platform.python_version()},
        "versions": {package: version(package) for package in PACKAGES},
    }


def finish_slide(
    slide: FoundSlide, ready: Prepared, model: LoadedModel, spec: PredictSpec, timings: Timings
) -> SlideReport:
    """Write a slide's outputs and finish its ``run.json``; a slide that was finished before is left as it is.

    Raises
    ------
    SlideFailedError
        If no tile could be read at all.
    OSError
        If an output cannot be written.
    """
    run = ready.run
    if run is None:
        raise UsageError("a dry run leaves nothing to finish.", "Prepare the slide without dry_run.")
    table = _table(run, ready, model)
    _refuse_nothing_read(slide, run, table)
    status, reason = _outcome(ready, table)
    if not run.complete:
        start = time.perf_counter()
        _write_outputs(slide, ready, model, spec, table)
        timings.write += time.perf_counter() - start
        write_run(ready.folder, _finished_record(ready, run, table, status, timings))
    return _report(slide, ready, table, status, reason)


def _report(slide: FoundSlide, ready: Prepared, table: TileTable, status: SlideStatus, reason: str) -> SlideReport:
    record = read_run(ready.folder) or {}
    failed = int(table.failed.sum())
    return SlideReport(
        slide=slide.name,
        path=slide.shown,
        status=status,
        tiles=TileCounts(int(table.done.sum()), failed, ready.grid.candidates - len(table)),
        classes=summarise_classes(table),
        outputs={name: f"{slide.name}/{name}" for name in OUTPUTS if (ready.folder / name).exists()},
        seconds=record.get("seconds", {}).get("total", 0.0),
        reason=reason,
        remedy=TRY_AGAIN if failed else "",
        warnings=ready.warnings,
        facts={key: record.get(key) for key in ("input", "spacing", "foreground", "device", "seconds")},
    )


def _table(run: OpenRun, ready: Prepared, model: LoadedModel) -> TileTable:
    card = model.bundle.card
    return TileTable(
        boxes=run.store.boxes,
        status=run.store.status,
        probabilities=run.store.probabilities,
        class_names=card.class_names,
        class_colors=card.class_colors,
        activation=card.activation,
        bounds=ready.source.facts.bounds,
    )


def _refuse_nothing_read(slide: FoundSlide, run: OpenRun, table: TileTable) -> None:
    if len(table) and (table.status == Status.FAILED).all():
        first = next(iter(run.store.failures.values()))
        raise SlideFailedError(
            slide.path, f"none of its {len(table)} tiles gave a result: {first}", "Copy the slide again."
        )


def _outcome(ready: Prepared, table: TileTable) -> tuple[SlideStatus, str]:
    if not len(table):
        return "skipped", _why_no_tile(ready)
    lost = len(table) - int(table.done.sum())
    return ("partly", f"{lost} of {len(table)} tiles gave no result") if lost else ("done", "")


def _why_no_tile(ready: Prepared) -> str:
    if ready.foreground.share:
        return f"none of {ready.grid.candidates} places on the slide holds enough tissue for a tile"
    return f"no tissue found ({ready.foreground.origin})"


def _write_outputs(slide: FoundSlide, ready: Prepared, model: LoadedModel, spec: PredictSpec, table: TileTable) -> None:
    folder = ready.folder
    write_tiles_csv(table, folder / "tiles.csv")
    write_tiles_geojson(table, folder / "tiles.geojson")
    save_foreground(ready.foreground, folder / "mask.png")
    heat = _write_heatmap(ready, model, spec)
    facts = _overview_facts(slide, ready, model)
    write_overview_png(folder / "overview.png", _thumbnail(ready.source), table, heat, facts)


def _thumbnail(source: Source) -> NDArray[np.uint8]:
    """Return the best picture of the slide that can still be decoded; damage costs sharpness, then everything."""
    for longest in (THUMBNAIL, THUMBNAIL // 3, THUMBNAIL // 9):
        try:
            return source.overview(longest).pixels
        except RegionReadError:
            continue
    size = source.facts.size
    shrink = THUMBNAIL / max(size.width, size.height)
    return np.full((max(1, round(size.height * shrink)), max(1, round(size.width * shrink)), 3), 255, np.uint8)


def _write_heatmap(ready: Prepared, model: LoadedModel, spec: PredictSpec) -> OverviewHeat | None:
    run, request = ready.run, model.request
    heatmap = None if run is None else paint(run.store, ready.source.facts.size)
    if heatmap is None or request is None:
        return None
    card = model.bundle.card
    names = tuple(card.class_names[index] for index in request.classes)
    raster = RasterSpec(
        name=ready.source.facts.name,
        class_names=names,
        class_colors=tuple(card.class_colors[index] for index in request.classes),
        size=heatmap.raster.size,
        pitch=heatmap.raster.pitch,
        spacing=ready.spacing.spacing,
        ngff=spec.ngff,
        attributes=_scale_told(heatmap, request.method),
    )
    path = ready.folder / HEATMAP
    write_heatmap_ome_zarr(path, heatmap.bands(), raster)
    return _heat_for_overview(path, names, f"{_method_name(request)}, share of the slide's scale")


def _method_name(request: MapRequest) -> str:
    return METHOD_NAMES.get(request.method, request.method)


def _scale_told(heatmap: Heatmap, method: str) -> dict[str, Any]:
    return {"method": method, "raw_at_0": heatmap.scale.low, "raw_at_1": heatmap.scale.high}


def _heat_for_overview(path: Path, names: tuple[str, ...], label: str) -> OverviewHeat:
    image = read_heatmap_ome_zarr(path)
    level = image.level_for(THUMBNAIL)
    values = np.asarray(image.levels[level][:])
    return OverviewHeat(values, image.spec.pitch * 2**level, names, label)


def _overview_facts(slide: FoundSlide, ready: Prepared, model: LoadedModel) -> OverviewFacts:
    card = model.bundle.card
    return OverviewFacts(
        slide=slide.name,
        model=card.name,
        method="" if model.request is None else _method_name(model.request),
        date=datetime.now(UTC).date().isoformat(),
        size=ready.source.facts.size,
        spacing=ready.spacing.spacing,
        details=(
            ("Tile", f"{card.tile_px} px at {card.spacing:g} µm/px"),
            ("Slide", f"{ready.spacing.spacing.mean:.4g} µm/px ({ready.spacing.origin})"),
            ("Tissue", ready.foreground.origin),
        ),
    )


def _finished_record(ready: Prepared, run: OpenRun, table: TileTable, status: str, timings: Timings) -> dict[str, Any]:
    record = read_run(ready.folder) or {}
    failures = sorted(run.store.failures.items())
    return {
        **record,
        "status": status,
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
        "seconds": timings.told(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
