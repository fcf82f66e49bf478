"""What is left in a slide's folder: each output that a call chose, written one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slidecam.exchange.geojson import write_tiles_geojson
from slidecam.exchange.qupath import QuPathExport, write_for_qupath
from slidecam.exchange.wsinfer_csv import write_tiles_csv
from slidecam.foreground import save_foreground
from slidecam.prediction import volumes
from slidecam.prediction.heatmaps import write_heatmaps
from slidecam.prediction.overview import write_overview
from slidecam.registry import resolve
from slidecam.runs.outputs import chosen_outputs, clear_others
from slidecam.runs.slices import write_slices_csv

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.prediction.heatmaps import WrittenHeatmap
    from slidecam.prediction.work import SlideWork
    from slidecam.runs.slices import SliceTable
    from slidecam.runs.tiles import TileTable


@dataclass(frozen=True)
class VolumeResults:
    """What became of a volume: its slices, and what it is called as ``run.json`` tells it."""

    slices: SliceTable
    call: dict[str, Any]


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
    of_volume
        Of a volume, its slices and its call; None of a slide.
    written
        Its heatmaps, as far as they are on disk: outputs that show them come after them.
    """

    name: str
    work: SlideWork
    table: TileTable
    of_volume: VolumeResults | None
    written: list[WrittenHeatmap] = field(default_factory=list)

    @property
    def volume(self) -> VolumeResults:
        """What became of a volume, where it is one."""
        assert self.of_volume is not None  # noqa: S101  (for the type checker: rows of volumes ask)
        return self.of_volume


def results_of(name: str, work: SlideWork, table: TileTable) -> Results:
    """Return what a slide's outputs are written from."""
    if not work.is_volume:
        return Results(name, work, table, None)
    assert work.run is not None  # noqa: S101  (for the type checker: a dry run writes nothing)
    slices = volumes.slice_table(work, work.run.store, work.card)
    call = volumes.volume_call(slices, work.card)
    return Results(name, work, table, VolumeResults(slices, call))


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
    write_tiles_csv(results.table, path)


def tiles_geojson(results: Results, path: Path) -> None:
    """Write ``tiles.geojson``."""
    write_tiles_geojson(results.table, path)


def slices_csv(results: Results, path: Path) -> None:
    """Write ``slices.csv``."""
    write_slices_csv(results.volume.slices, path)


def heatmaps(results: Results, _path: Path) -> None:
    """Write the heatmap of every method."""
    write = write_heatmaps if results.of_volume is None else volumes.write_volume_heatmaps
    results.written.extend(write(results.work))


def overview(results: Results, path: Path) -> None:
    """Write ``overview.png``."""
    write_overview(path, results.name, results.work, (results.table, results.written))


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
