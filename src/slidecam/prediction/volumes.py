"""A volume's outputs: slices' table, call, heatmaps as OME-Zarr and NIfTI, mask and montage."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.drawing.style import lowest_share
from slidecam.errors import StoreError
from slidecam.exchange.volumes import (
    PLANES,
    VolumeRasterSpec,
    read_volume_ome_zarr,
    write_nifti,
    write_volume_ome_zarr,
)
from slidecam.explain.catalogue import title_of
from slidecam.explain.facts import measured, said_of_methods
from slidecam.foreground import VolumeForeground
from slidecam.geometry import LevelBox
from slidecam.heatmap import paint
from slidecam.models.card_parts import VolumeCard
from slidecam.prediction.pictures import WrittenHeatmap, attributes, paint_spec, rival
from slidecam.reports.montage import (
    MontageFacts,
    MontageSlice,
    decisive_slices,
    write_montage_png,
)
from slidecam.runs.outputs import clear_heatmaps, heatmap_files, nifti_name
from slidecam.runs.record_parts import RecordedVolume
from slidecam.runs.slices import DONE, FAILED, MISSING, SKIPPED, SliceTable
from slidecam.sources.volume import VolumeSource
from slidecam.store import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.exchange.volumes import VolumeHeatmap
    from slidecam.models import Card
    from slidecam.prediction.work import SlideWork
    from slidecam.sources.volume_grid import VolumeGrid
    from slidecam.store import RunStore

BLOCK_VALUES = 5_000_000
"""Values that are in memory at once while NIfTI is written.

16 planes of 512 x 512, as they lie in a chunk.
"""


@dataclass(frozen=True)
class VolumeResults:
    """What became of a volume: its slices, and what it is called as ``run.json`` has it."""

    slices: SliceTable
    call: dict[str, Any]


def volume_results(work: SlideWork) -> VolumeResults:
    """Return what became of a volume whose tiles are all on disk."""
    assert work.run is not None  # noqa: S101  (for the type checker: a dry run writes nothing)
    slices = slice_table(work, work.run.store, work.card)
    return VolumeResults(slices, volume_call(slices, work.card))


def slice_table(work: SlideWork, store: RunStore, card: Card) -> SliceTable:
    """Return what became of each slice; one that is cut into tiles has the mean of them."""
    source = _volume(work)
    stack = source.stack
    status = np.full(stack.shape[0], SKIPPED, dtype="<U8")
    status[list(stack.missing)] = MISSING
    planes, done = store.planes, store.status == Status.DONE
    status[planes] = FAILED
    status[planes[done]] = DONE
    probabilities = np.full((stack.shape[0], len(card.class_names)), np.nan, np.float32)
    apart = None
    if store.disagreement is not None:
        apart = np.full(stack.shape[0], np.nan, np.float32)
    known, of_tiles = store.probabilities, store.disagreement
    for plane in np.unique(planes[done]).tolist():
        here = done & (planes == plane)
        probabilities[plane] = known[here].mean(axis=0)
        if apart is not None and of_tiles is not None:
            apart[plane] = of_tiles[here].mean()
    words = tuple(str(each) for each in status)
    return SliceTable(
        stack.axis,
        stack.positions,
        stack.file_indices,
        words,
        probabilities,
        card.class_names,
        apart,
    )


def volume_call(table: SliceTable, card: Card) -> dict[str, Any]:
    """Return the volume's own probabilities and what it is called, as ``run.json`` has it."""
    pooling = (card.volume or VolumeCard()).pooling
    pooled = pooling.pool(
        table.probabilities, card.class_names, exclusive=card.activation == "softmax"
    )
    probabilities: dict[str, float | None] = dict.fromkeys(table.class_names)
    if np.isfinite(pooled).all():
        for name, value in zip(table.class_names, pooled, strict=True):
            probabilities[name] = round(float(value), 6)
    called = card.classes.called_names(pooled.tolist())
    return {
        "called": next(iter(called), None),
        "called_classes": list(called),
        "probabilities": probabilities,
        "pooling": str(pooling),
        "slices": {status: table.count(status) for status in (DONE, SKIPPED, FAILED, MISSING)},
    }


def _volume(work: SlideWork) -> VolumeSource:
    if not isinstance(work.source, VolumeSource):
        raise StoreError(work.folder, "This is no run of a volume.", "Pass the folder of one.")
    return work.source


def recorded(work: SlideWork) -> RecordedVolume | None:
    """Return what ``run.json`` says of a volume; None of a slide."""
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


def heatmap_record(written: WrittenHeatmap, work: SlideWork) -> dict[str, Any]:
    """Return what ``run.json`` says of a volume's heatmap."""
    niftis = {name: nifti_name(written.path.name, name) for name in written.class_names}
    return {
        **written.record(),
        "nifti": niftis,
        "voxels": list(_volume(work).stack.grid.shape),
    }


def write_volume_mask(work: SlideWork, path: Path) -> None:
    """Write a volume's foreground as NIfTI, on the file's own grid."""
    stack = _volume(work).stack
    assert isinstance(work.foreground, VolumeForeground)  # noqa: S101  (for the type checker: it is a volume's)
    small = np.asarray(stack.from_pictures(work.foreground.volume))
    # The mask is of every n-th row and column: each voxel has the nearest one before it, as
    # pictures are hung.
    places = [
        _spread(length, of) for length, of in zip(stack.grid.spl_shape, small.shape, strict=True)
    ]
    if stack.axis != "axial":
        places[0] = small.shape[0] - 1 - places[0][::-1]

    def read(where: tuple[slice, ...]) -> NDArray[np.generic]:
        return small[np.ix_(*(place[part] for place, part in zip(places, where, strict=True)))]

    write_nifti(path, _file_blocks(stack.grid, read), stack.grid, "uint8", "slidecam foreground")


def _spread(length: int, of: int) -> NDArray[np.int64]:
    return np.arange(length) * of // length


def write_volume_heatmaps(work: SlideWork) -> list[WrittenHeatmap]:
    """Write the heatmap of every method, and a NIfTI of each class beside it."""
    request = work.model.request
    files = heatmap_files(request)
    clear_heatmaps(work.folder, kept=files.values())
    return [_write_heatmap(work.folder / name, method, work) for method, name in files.items()]


def _write_heatmap(path: Path, method: str, work: SlideWork) -> WrittenHeatmap:
    run, request, card, source = work.run, work.model.request, work.card, _volume(work)
    assert run is not None  # noqa: S101  (for the type checker)
    assert request is not None  # noqa: S101  (for the type checker: there are no files without one)
    heatmap = paint(run.store, source.facts.size, paint_spec(method, request, card, work.spec))
    assert heatmap is not None  # noqa: S101  (for the type checker: a run with a request keeps maps)
    names = tuple(card.class_names[index] for index in request.classes)
    written = WrittenHeatmap(
        path, method, names, heatmap, rival(method, request, card), measured(card, method)
    )
    colors = dict(zip(card.class_names, card.class_colors, strict=True))
    raster = VolumeRasterSpec(
        source.facts.name,
        names,
        tuple(colors[name] for name in names),
        source.stack,
        heatmap.spec.signed,
        work.spec.ngff,
        attributes(written),
    )
    write_volume_ome_zarr(
        path, (heatmap.plane(plane) for plane in range(source.facts.planes)), raster
    )
    saved = read_volume_ome_zarr(path)
    for index, name in enumerate(names):
        description = (
            f"slidecam {method} {re.sub('[^ -~]', '?', name)},"
            f" {lowest_share(signed=heatmap.spec.signed):g} to 1, 0 where nothing was classified"
        )
        grid = source.stack.grid
        write_nifti(
            path.with_name(nifti_name(path.name, name)),
            _class_blocks(saved, index),
            grid,
            "float32",
            description,
        )
    return written


def _class_blocks(saved: VolumeHeatmap, index: int) -> Iterator[NDArray[np.generic]]:
    return _file_blocks(saved.spec.stack.grid, lambda where: _read(saved, index, where))


def _read(saved: VolumeHeatmap, index: int, where: tuple[slice, ...]) -> NDArray[np.generic]:
    place: list[int | slice] = [index, *where]
    return np.asarray(saved.array[tuple(place)])


def _file_blocks(
    grid: VolumeGrid, read: Callable[[tuple[slice, ...]], NDArray[np.generic]]
) -> Iterator[NDArray[np.generic]]:
    """Yield what ``read`` gives for places in (S, P, L), in the file's own order.

    Each piece is some planes along the file's slowest axis.
    """
    place = next(each for each in range(3) if grid.file_axis(each) == 2)  # noqa: PLR2004  (k, the slowest)
    length = grid.spl_shape[place]
    step = max(1, BLOCK_VALUES // max(1, grid.shape[0] * grid.shape[1]))
    step = step // PLANES * PLANES or step  # so that no chunk is read twice
    for start in range(0, length, step):
        stop = min(start + step, length)
        where = [slice(None)] * 3
        where[place] = slice(start, stop)
        if grid.flipped(place):
            where[place] = slice(length - stop, length - start)
        yield grid.from_spl(read(tuple(where)))


def write_montage(
    path: Path,
    work: SlideWork,
    table: SliceTable,
    call: dict[str, Any],
    written: Sequence[WrittenHeatmap],
) -> None:
    """Draw the slices that decided what a volume is called, with the first method's heatmap."""
    names, numbers, shown = work.card.class_names, [], 0
    if call["called"] in names:
        shown = names.index(call["called"])
    if table.done.any():
        numbers = decisive_slices(table, shown)
    first = None
    if written and names[shown] in written[0].class_names:
        first = written[0]
    slices = _montage_slices(_volume(work), numbers, first, names[shown])
    facts = _montage_facts(work, call, first, names[shown])
    write_montage_png(path, slices, table, facts)


def _montage_slices(
    source: VolumeSource,
    numbers: Sequence[int],
    written: WrittenHeatmap | None,
    shown: str,
) -> list[MontageSlice]:
    whole = LevelBox(0, 0, source.facts.size.width, source.facts.size.height)
    slices = [MontageSlice(number, source.read(0, whole, plane=number), None) for number in numbers]
    if written is None:
        return slices
    saved, channel = read_volume_ome_zarr(written.path), written.class_names.index(shown)
    return [
        replace(one, heat=saved.pictures(channel, one.number, one.number + 1)[0]) for one in slices
    ]


def _montage_facts(
    work: SlideWork,
    call: dict[str, Any],
    first: WrittenHeatmap | None,
    shown: str,
) -> MontageFacts:
    source, card = _volume(work), work.card
    _apart, row_mm, column_mm = source.stack.spacing_mm
    low, high = source.limits
    heat, certainty = "no heatmap", ""
    if first is not None:
        heat = f"{title_of(first.method)} of {shown} (one scale for the volume)"
    details = (
        f"{card.name}   ·   {heat}   ·   {source.stack.axis}, {source.stack.spacing_mm[0]:.3g} mm"
        f" apart   ·   window {low:.4g} to {high:.4g}   ·   {datetime.now(UTC).date().isoformat()}"
    )
    called = " + ".join(call["called_classes"]) or "nothing"
    share = call["probabilities"].get(call["called"])
    if share is not None:
        certainty = f", {share:.2f}"
    slices = call["slices"]
    words = (
        f"Called {called}{certainty} ({call['pooling']}; {slices[DONE]} classified,"
        f" {slices[SKIPPED]} skipped, {slices[FAILED]} failed, {slices[MISSING]} missing)"
    )
    size = source.facts.size
    aspect = size.height * row_mm / (size.width * column_mm)
    signed = first is not None and first.heatmap.spec.signed
    said = said_of_methods(card, work.model.methods)
    return MontageFacts(
        source.facts.name, details, words, shown, card.classes, aspect, signed, said
    )
