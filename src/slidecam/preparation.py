"""What one slide needs before its first batch: opened, masked, cut into a grid, laid out on disk, prefetching."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from slidecam.errors import MaskError, StoreError, UsageError, WeightsError
from slidecam.foreground import ForegroundSpec, find_foreground, load_foreground
from slidecam.inference import choose_device, find_batch_size, map_shape, request_maps
from slidecam.models import open_bundle
from slidecam.sources import COARSEST, FINEST, open_source, reader_names, settle_spacing
from slidecam.store import RUN_FILE, STORE_FOLDER, RunStore, StorePlan, lock_run, open_or_create, read_run
from slidecam.streaming import StreamSpec, TileStream, plan_batches
from slidecam.tiling import TilingSpec, lay_grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from filelock import FileLock
    from numpy.typing import NDArray

    from slidecam.foreground import Foreground
    from slidecam.inference import MapRequest
    from slidecam.models import Bundle, Classifier
    from slidecam.sources import SettledSpacing, Source
    from slidecam.tiling import TileGrid

LARGEST_NUMBER = 1_000_000
"""Of tiles per batch, threads and megabytes: what lies beyond is a slip of the finger."""

HEATMAP = "heatmap.ome.zarr"
OUTPUTS = ("tiles.csv", "tiles.geojson", HEATMAP, "overview.png", "mask.png")
"""What lies in a slide's folder beside `run.json` and `run.zarr`; the names are a contract."""

FINISHED = ("done", "partly", "skipped")
"""What ``run.json`` says of a slide whose outputs are all written."""


@dataclass(frozen=True)
class PredictSpec:
    """What `predict` may be told; the command line's options of the same names.

    Attributes
    ----------
    heatmap
        An explainer's name, ``none``, or None: ``gradcam++`` where the bundle allows it and has few classes.
    heatmap_classes
        Names of the classes to map; empty for all.
    mpp, spacings
        µm per level-0 pixel for every slide, or by file name or stem; they win over what the files say.
    overlap, grid, edge, min_tissue
        See `TilingSpec`.
    mask
        GeoJSON or PNG that replaces the tissue detection: one file for the only slide, or a folder of
        ``<stem>.geojson`` / ``<stem>.png``.
    batch, workers, memory_mb
        Tiles per batch (None: found from memory), decoding threads, and what prefetched pixels may take.
    device, precision, backend
        ``auto``, ``cpu``, ``cuda``; ``fp32``, ``bf16``; ``folded``, ``eager``.
    existing
        What to do where a run lies already: ``refuse``, ``resume`` or ``overwrite``.
    dry_run
        Plan every slide and write nothing.
    ngff
        Version of the heatmap's OME-Zarr: ``0.4`` or ``0.5``.
    trust
        Whether a bundle that can run code (TorchScript) may be loaded.
    reader
        Name of the reader to use instead of the one that the content suggests.
    """

    heatmap: str | None = None
    heatmap_classes: tuple[str, ...] = ()
    mpp: float | None = None
    spacings: Mapping[str, float] = field(default_factory=dict)
    overlap: float = 0.0
    grid: Literal["slidecam", "wsinfer"] = "slidecam"
    edge: Literal["pad", "drop"] = "pad"
    min_tissue: float = 0.1
    mask: Path | None = None
    batch: int | None = None
    workers: int = 4
    memory_mb: int = 512
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    backend: Literal["folded", "eager"] = "folded"
    existing: Literal["refuse", "resume", "overwrite"] = "refuse"
    dry_run: bool = False
    ngff: Literal["0.4", "0.5"] = "0.4"
    trust: bool = False
    reader: str | None = None

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("overlap", self.overlap, 0.0, 0.999),
            ("min_tissue", self.min_tissue, 0.0, 1.0),
            ("mpp", 1.0 if self.mpp is None else self.mpp, FINEST, COARSEST),
            ("batch", 1 if self.batch is None else self.batch, 1, LARGEST_NUMBER),
            ("workers", self.workers, 1, LARGEST_NUMBER),
            ("memory_mb", self.memory_mb, 1, LARGEST_NUMBER),
        ):
            # Written so that not-a-number is outside too.
            if not low <= value <= high:
                raise UsageError(f"{name} {value} is out of range.", f"Pass a value from {low:g} to {high:g}.")
        if self.reader is not None and self.reader not in reader_names():
            raise UsageError(f"there is no reader {self.reader!r}.", f"Pass one of {', '.join(reader_names())}.")


@dataclass(frozen=True)
class LoadedModel:
    """A bundle on its device, with what was settled about maps and batches once for all slides."""

    bundle: Bundle
    classifier: Classifier
    request: MapRequest | None
    map_shape: tuple[int, int, int] | None
    batch_size: int


@dataclass(frozen=True)
class OpenRun:
    """A run on disk with its pending batches on their way.

    Attributes
    ----------
    store, stream
        Where results go, and the tiles that have none yet.
    boxes
        int64, (tiles, 4), level-0 pixels, in grid order.
    done
        Tiles that had a result when the run was opened.
    complete
        Whether an earlier call has finished this slide, and all of its outputs are still there.
    notes
        What a reader of the results should know of how they came about.
    lock
        Keeps other processes out until it is released.
    """

    store: RunStore
    stream: TileStream
    boxes: NDArray[np.int64]
    done: int
    complete: bool
    notes: tuple[str, ...]
    lock: FileLock

    def close(self) -> None:
        """Stop decoding and let other processes in."""
        self.stream.close()
        self.lock.release()


@dataclass(frozen=True)
class Prepared:
    """One slide, ready to stream.

    Attributes
    ----------
    source, spacing, foreground, grid
        The slide and what was settled about it.
    folder
        Where its outputs go.
    plan
        What decides every result, as in ``run.json``.
    run
        The run on disk; None in a dry run.
    """

    source: Source
    spacing: SettledSpacing
    foreground: Foreground
    grid: TileGrid
    folder: Path
    plan: Mapping[str, Any]
    run: OpenRun | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the results should know of the slide."""
        spacing = (self.spacing.warning,) if self.spacing.warning else ()
        return (*spacing, *self.source.facts.notes, *(self.run.notes if self.run else ()))

    def close(self) -> None:
        """Stop decoding and let the file go."""
        if self.run is not None:
            self.run.close()
        self.source.close()


def load_model(model: str | Path, spec: PredictSpec) -> LoadedModel:
    """Open a bundle, put its classifier on the device and settle maps and batch size."""
    bundle = open_bundle(model, trust=spec.trust)
    classifier = bundle.classifier(choose_device(spec.device), spec.precision, spec.backend)
    _prove(bundle, classifier)
    request = request_maps(bundle.card, spec.heatmap, spec.heatmap_classes, has_map=classifier.has_map)
    shape = map_shape(classifier, request)
    return LoadedModel(bundle, classifier, request, shape, spec.batch or find_batch_size(classifier, request))


def _prove(bundle: Bundle, classifier: Classifier) -> None:
    """Classify one grey tile: weights that have become not-a-number in training are found before the first slide."""
    edge = bundle.card.input_px
    grey = torch.full((1, edge, edge, 3), 128, dtype=torch.uint8, device=classifier.device)
    if not classifier.run(grey, gradients=False).logits.isfinite().all():
        raise WeightsError(bundle.path, "the logits of a grey tile are not finite numbers.", "Train or copy it again.")


def prepare(path: str, folder: Path, model: LoadedModel, spec: PredictSpec) -> Prepared:
    """Open a slide, find its tissue, lay its grid, and start to prefetch its pending batches.

    Raises
    ------
    SlidecamError
        Whatever is wrong with the slide, its spacing, its mask or the run that lies in ``folder``.
    """
    source = open_source(path, spec.reader)
    try:
        return _prepare(source, folder, model, spec)
    except BaseException:
        source.close()
        raise


def _prepare(source: Source, folder: Path, model: LoadedModel, spec: PredictSpec) -> Prepared:
    spacing = settle_spacing(source.facts, _override(source, spec))
    foreground = _foreground(source, spacing, spec)
    tiling = _tiling(model, spec)
    grid = lay_grid(source.facts, spacing.spacing, foreground, tiling)
    model = replace(model, batch_size=_batch_size(folder, model, spec))
    plan = _plan(source, spacing, foreground, model, tiling)
    prepared = Prepared(source, spacing, foreground, grid, folder, plan, None)
    return prepared if spec.dry_run else _started(prepared, model, spec)


def _override(source: Source, spec: PredictSpec) -> float | None:
    facts = source.facts
    return spec.spacings.get(Path(facts.path).name, spec.spacings.get(facts.name, spec.mpp))


def _foreground(source: Source, spacing: SettledSpacing, spec: PredictSpec) -> Foreground:
    if spec.mask is None:
        return find_foreground(source, spacing.spacing, ForegroundSpec())
    # QuPath counts from the corner of the scanned bounds, both in what it exports and in what we write for it.
    bounds = source.facts.bounds
    offset = (0.0, 0.0) if bounds is None else (float(bounds.x), float(bounds.y))
    return load_foreground(_mask_file(source, spec.mask), source.facts.size, offset)


def _mask_file(source: Source, mask: Path) -> Path:
    if not mask.is_dir():
        return mask
    for suffix in (".geojson", ".json", ".png"):
        path = mask / f"{source.facts.name}{suffix}"
        if path.exists():
            return path
    raise MaskError(
        f"{mask}: there is no {source.facts.name}.geojson or {source.facts.name}.png in this folder.",
        "Add one, or leave --mask out to detect the tissue.",
    )


def _tiling(model: LoadedModel, spec: PredictSpec) -> TilingSpec:
    card = model.bundle.card
    return TilingSpec(card.tile_px, card.spacing, card.input_px, spec.overlap, spec.edge, spec.grid, spec.min_tissue)


def _batch_size(folder: Path, model: LoadedModel, spec: PredictSpec) -> int:
    # A run goes on with the batches it was begun with, or its last digits would depend on where it was cut off.
    if spec.existing != "resume" or spec.batch is not None:
        return model.batch_size
    try:
        stored = RunStore.open(folder).digest.get("batch size")
    except StoreError:
        return model.batch_size
    return stored if isinstance(stored, int) and stored > 0 else model.batch_size


def _plan(
    source: Source, spacing: SettledSpacing, foreground: Foreground, model: LoadedModel, tiling: TilingSpec
) -> dict[str, Any]:
    """Return what decides every result, in words, since people are told of what differs."""
    names = model.bundle.card.class_names
    mapped = model.request
    return {
        "slide": source.facts.fingerprint,
        "reader": source.facts.reader,
        "µm/px": [spacing.spacing.x, spacing.spacing.y],
        "model": model.bundle.digest,
        **{name.replace("_", " "): value for name, value in asdict(tiling).items()},
        "tissue mask": _digest(foreground.mask),
        "heatmap": None if mapped is None else mapped.method,
        "heatmap classes": [] if mapped is None else [names[index] for index in mapped.classes],
        "backend": model.classifier.backend,
        "batch size": model.batch_size,
    }


def _digest(mask: NDArray[np.bool_]) -> str:
    return hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()


def _started(prepared: Prepared, model: LoadedModel, spec: PredictSpec) -> Prepared:
    lock = lock_run(prepared.folder)
    try:
        return replace(prepared, run=_open_run(prepared, model, spec, lock))
    except BaseException:
        lock.release()
        raise


def _open_run(prepared: Prepared, model: LoadedModel, spec: PredictSpec, lock: FileLock) -> OpenRun:
    grid = prepared.grid
    batches = plan_batches(prepared.source, grid, model.batch_size)
    classes = len(model.bundle.card.class_names)
    layout = StorePlan(grid.boxes, batches, grid.step, classes, model.map_shape, prepared.plan)
    if spec.existing == "overwrite":
        _clear(prepared.folder)
    store = open_or_create(prepared.folder, layout, spec.existing)
    pending = [(index, batches[index]) for index in store.pending_batches()]
    # Two slides are in flight at a time, so each gets half of the memory.
    stream_spec = StreamSpec(model.batch_size, spec.workers, spec.memory_mb // 2, model.bundle.card.interpolation)
    stream = TileStream(prepared.source, grid, pending, stream_spec)
    record = read_run(prepared.folder) or {}
    done = len(grid) - sum(len(rows) for _index, rows in pending)
    complete = not pending and _all_written(prepared.folder, record, model, spec)
    return OpenRun(store, stream, grid.boxes, done, complete, _begun_elsewhere(record, model, done), lock)


def _all_written(folder: Path, record: Mapping[str, Any], model: LoadedModel, spec: PredictSpec) -> bool:
    wanted = [name for name in OUTPUTS if name != HEATMAP or model.request is not None]
    same = record.get("status") in FINISHED and record.get("ngff") == spec.ngff
    return same and all((folder / name).exists() for name in wanted)


def _begun_elsewhere(record: Mapping[str, Any], model: LoadedModel, done: int) -> tuple[str, ...]:
    now = {"device": str(model.classifier.device), "torch": version("torch")}
    then = {"device": record.get("device"), "torch": record.get("versions", {}).get("torch")}
    changed = [f"{key} {then[key]}, now {now[key]}" for key in now if then[key] not in {None, now[key]}]
    if not (done and changed):
        return ()
    return (f"This run was begun with {' and '.join(changed)}; the last digits of its tiles may differ.",)


def _clear(folder: Path) -> None:
    for name in (RUN_FILE, STORE_FOLDER, *OUTPUTS):
        _remove(folder / name)
    clear_leftovers(folder)


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written."""
    for path in folder.glob(".*.partial"):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
