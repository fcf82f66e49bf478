"""One slide before its first batch: opened, masked, cut to a grid, laid on disk, prefetching."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from slidecam.errors import SpacingError
from slidecam.exchange.volumes import words_on_itk
from slidecam.foreground import (
    ForegroundSpec,
    VolumeForeground,
    find_foreground,
    find_head,
    whole_slide,
)
from slidecam.foreground.mask import mask_digest
from slidecam.prediction.checks import make_way, tiling_without_effect
from slidecam.prediction.choices import corner_shown, given_head, given_mask, open_chosen, view_of
from slidecam.prediction.model import batch_size_of, begun_elsewhere, with_usual_maps
from slidecam.prediction.work import OpenRun, SlideWork, Timings
from slidecam.registry import version_of
from slidecam.runs.outputs import all_written
from slidecam.runs.record import RunRecord
from slidecam.runs.written import changed_outputs, words_on_changed
from slidecam.sources import settle_spacing
from slidecam.sources.names import FoundSlide, names_of
from slidecam.sources.qupath import QuPathView
from slidecam.sources.spacing import given_spacing
from slidecam.sources.volume import VolumeSource
from slidecam.store import StorePlan, kept_tissue, lock_run, open_or_create
from slidecam.streaming import StreamSpec, TileStream, plan_batches
from slidecam.tiling import TilingSpec, lay_grid, lay_whole, shape_readings
from slidecam.volume_tiling import lay_planes, lay_tiles_on_planes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from slidecam.foreground import Foreground
    from slidecam.locks import FolderLock
    from slidecam.models import Card
    from slidecam.prediction.model import LoadedModel
    from slidecam.runs.spec import PredictSpec
    from slidecam.sources import SettledSpacing, Source
    from slidecam.store import Mirror
    from slidecam.tiling import TileGrid
    from slidecam.viewing import VolumeView


WHOLE_PICTURE = "the whole picture"
WHOLE_SLICE = "the whole slice"

_OF_PICTURE = ("slide", "reader", "µm/px", "picture", "picture window")
"""Entries of a plan that say which picture is classified; the last two are not in every plan."""


def prepare(
    slide: FoundSlide | str,
    folder: Path,
    model: LoadedModel,
    spec: PredictSpec,
    mirror: Mirror | None = None,
) -> SlideWork:
    """Open a slide, find its tissue, lay its grid, and start to prefetch its pending batches.

    Parameters
    ----------
    slide
        A slide as it was found, or its path alone.
    folder
        Of its outputs.
    model, spec
        What it is classified with, and how.
    mirror
        What puts ``folder`` to a URL, if it belongs there.

    Raises
    ------
    SlidecamError
        Whatever is wrong with the slide, its spacing, its mask or the run that lies in ``folder``.
    """
    timings = Timings()
    with timings.at_work():
        source, spec, marks = open_chosen(slide, model.bundle.card, spec)
        try:
            work = _prepare(source, folder, model, spec)
            work = _started(replace(work, timings=timings, mirror=mirror, marks=marks))
        except BaseException:
            source.let_go()
            raise
    timings.prepare = timings.seconds
    return work


def _prepare(source: Source, folder: Path, model: LoadedModel, spec: PredictSpec) -> SlideWork:
    spacing = _spacing(source, model, spec)
    qupath = _qupath(source, spec)
    picture = _picture(source, spacing, view_of(model.bundle.card, spec))
    kept = _kept(source, folder, picture, spec)
    foreground, grid, tiling = _laid(source, spacing, model, spec, kept)
    model = replace(model, batch_size=batch_size_of(folder, model, spec))
    is_volume = source.facts.stack is not None
    model = with_usual_maps(folder, model, spec, volume=is_volume)
    plan = _plan(picture, foreground, model, tiling)
    return SlideWork(model, spec, source, spacing, foreground, grid, folder, plan, qupath, run=None)


def _spacing(source: Source, model: LoadedModel, spec: PredictSpec) -> SettledSpacing | None:
    given, note = given_spacing(names_of(source.facts), spec.mpp, spec.spacings)
    try:
        return settle_spacing(source.facts, given).with_note(note)
    except SpacingError:
        if model.sees_pictures:
            return None
        raise


def _qupath(source: Source, spec: PredictSpec) -> QuPathView:
    return QuPathView(corner_shown(source, spec), spec.shown_size(source.facts))


def _laid(
    source: Source,
    spacing: SettledSpacing | None,
    model: LoadedModel,
    spec: PredictSpec,
    kept: Foreground | None,
) -> tuple[Foreground, TileGrid, dict[str, Any]]:
    """Return where there is something to classify, its tiles, and what decided them, in words."""
    card = model.bundle.card
    if isinstance(source, VolumeSource):
        return _laid_volume(source, spacing, card, spec)
    if card.spacing is None or spacing is None:
        grid = lay_whole(source.facts, card.input_px)
        everything = replace(whole_slide(source.facts.size), origin=WHOLE_PICTURE)
        source.add_readings(tiling_without_effect(card, spec, volume=False))
        return everything, grid, {"tile": WHOLE_PICTURE, "input px": card.input_px}
    foreground = kept or _foreground(source, spacing, spec)
    source.add_readings(foreground.readings)
    tiling = _tiling(card.spacing, card, spec)
    grid = lay_grid(source.facts, spacing.spacing, foreground, tiling)
    source.add_readings(shape_readings(spacing.spacing, grid))
    return foreground, grid, _words(tiling)


def _laid_volume(
    source: VolumeSource, spacing: SettledSpacing | None, card: Card, spec: PredictSpec
) -> tuple[Foreground, TileGrid, dict[str, Any]]:
    source.say_what_is_broken()
    source.say_what_is_no_number()
    source.add_readings(_caveats(card))
    if spec.mask is None:
        head = find_head(source)
    else:
        head = given_head(source, spec.mask)
    source.add_readings((*head.readings, *words_on_itk(source.stack.grid)))
    source.say_window()
    view, window = source.view, source.view.shown_window
    settled: dict[str, Any] = {
        "axis": view.axis,
        "volume": view.volume,
        "slices": view.slices,
        "window": [window.kind, window.low, window.high],
    }
    if card.spacing is None or spacing is None:
        source.add_readings(tiling_without_effect(card, spec, volume=True))
        grid = lay_planes(source.facts, head, card.input_px, spec.min_tissue)
        whole = {
            "tile": WHOLE_SLICE,
            "input px": card.input_px,
            "min tissue": spec.min_tissue,
        }
        return head, grid, whole | settled
    tiling = _tiling(card.spacing, card, spec)
    settled |= _words(tiling)
    return (
        head,
        lay_tiles_on_planes(source.facts, spacing.spacing, head, tiling),
        settled,
    )


def _caveats(card: Card) -> Iterator[str]:
    """Yield what whoever reads the call of a volume must know of its classifier."""
    if card.volume is None:
        yield (
            f"The card of {card.name} says nothing of volumes: how it does on whole ones was not"
            " measured, and its slices are windowed and pooled by slidecam's defaults, along the"
            " axis of --axis."
        )
    elif card.volume.caveat:
        yield card.volume.caveat


def _tiling(spacing: float, card: Card, spec: PredictSpec) -> TilingSpec:
    return TilingSpec(
        tile_px=card.tile_px,
        spacing=spacing,
        input_px=card.input_px,
        overlap=spec.overlap,
        edge=spec.edge,
        grid=spec.grid,
        min_tissue=spec.min_tissue,
    )


def _words(tiling: TilingSpec) -> dict[str, Any]:
    """Return a tiling as the plan has it."""
    return {name.replace("_", " "): value for name, value in asdict(tiling).items()}


def _foreground(source: Source, spacing: SettledSpacing, spec: PredictSpec) -> Foreground:
    if spec.mask is None:
        return find_foreground(source, spacing.spacing, ForegroundSpec())
    return given_mask(source, spec.mask, spec)


def _picture(source: Source, spacing: SettledSpacing | None, view: VolumeView) -> dict[str, Any]:
    """Return which picture is classified, of whose pixels and of what size, as the plan has it.

    What the call chose of the file is there only where the file does not decide, so that runs of
    earlier versions are resumed.
    """
    facts, um_per_pixel = source.facts, None
    if spacing is not None:
        um_per_pixel = [spacing.spacing.x, spacing.spacing.y]
    found: dict[str, Any] = {
        "slide": facts.fingerprint,
        "reader": facts.reader,
        "µm/px": um_per_pixel,
    }
    if view.slide.chosen:
        found["picture"] = view.slide.chosen
    if facts.window is not None:
        found["picture window"] = list(facts.window)
    return found


def _kept(
    source: Source, folder: Path, picture: Mapping[str, Any], spec: PredictSpec
) -> Foreground | None:
    """Return the tissue of a run that is resumed, where the same would be found again."""
    if spec.existing != "resume" or spec.mask is not None or source.facts.stack is not None:
        return None
    seen = dict.fromkeys(_OF_PICTURE) | dict(picture)
    return kept_tissue(folder, source.facts.size, seen, _finder())


@cache
def _finder() -> str:
    """Return who finds tissue: another version of slidecam may find other tissue."""
    return f"slidecam {version_of('slidecam')}"


def _plan(
    picture: Mapping[str, Any],
    foreground: Foreground,
    model: LoadedModel,
    tiling: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what decides every result, in words, since people read what differs."""
    return {
        **picture,
        "model": model.bundle.digest,
        **tiling,
        "tissue mask": mask_digest(_mask_of(foreground)),
        **model.mapped,
        "backend": model.classifier.backend,
        "batch size": model.batch_size,
    }


def _mask_of(foreground: Foreground) -> NDArray[np.bool_]:
    """Return the mask that tiles are laid on: of a volume that of all planes."""
    if isinstance(foreground, VolumeForeground):
        return foreground.volume
    return foreground.mask


def _started(work: SlideWork) -> SlideWork:
    if work.spec.dry_run:
        return work
    lock = lock_run(work.folder)
    try:
        return replace(work, run=open_run(work, lock))
    except BaseException:
        lock.release()
        raise


def open_run(work: SlideWork, lock: FolderLock | None, part: range | None = None) -> OpenRun:
    """Continue or begin the run of a slide, and prefetch its pending batches; StoreError.

    ``lock`` is its folder's, None where whoever gave the work out holds it; ``part`` the indices of
    the batches that are this process's, None for all.
    """
    model, spec = work.model, work.spec
    grid = work.grid
    batches = plan_batches(work.source, grid, model.batch_size)
    classes = len(model.bundle.card.class_names)
    planes = None
    if work.is_volume:
        planes = grid.planes
    found = None
    if spec.mask is None and not work.is_volume:
        found = {"from": work.foreground.origin, "by": _finder()}
    layout = StorePlan(
        boxes=grid.boxes,
        batches=batches,
        step=grid.step,
        row_step=grid.row_step,
        classes=classes,
        map_shape=model.map_shape,
        digest=work.plan,
        planes=planes,
        class_record=model.bundle.card.classes.record,
        tissue=_mask_of(work.foreground),
        disagrees=model.bundle.card.has_members,
        found=found,
    )
    make_way(work, spec.existing)
    store = open_or_create(work.folder, layout, spec.existing)
    store.mirror = work.mirror
    pending = [(index, batches[index]) for index in store.pending_batches()]
    ours = pending
    if part is not None:
        ours = [batch for batch in pending if batch[0] in part]
    # Two slides are in flight at a time, so each gets half of the memory.
    stream_spec = StreamSpec(
        model.batch_size,
        spec.workers,
        spec.memory_mb // 2,
        model.bundle.card.interpolation,
    )
    stream = TileStream(work.source, grid, ours, stream_spec)
    record = RunRecord.find(work.folder)
    done = len(grid) - sum(len(rows) for _index, rows in pending)
    names = work.output_names()
    complete = not pending and all_written(work.folder, record, model.request, spec, names)
    complete = complete and record is not None and work.is_written_for_qupath(record)
    changed: tuple[str, ...] = ()
    # A server takes objects whole, and none is fetched to be looked at.
    if work.mirror is None and record is not None and record.outcome is not None:
        changed = changed_outputs(work.folder, record.outcome.written, names)
    notes = (*begun_elsewhere(record, model, done), *words_on_changed(changed))
    complete = complete and not changed
    if lock is not None and lock.note:
        notes = (*notes, lock.note)
    return OpenRun(store, stream, grid.boxes, done, complete, notes, lock, planes)
