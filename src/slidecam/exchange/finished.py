"""A finished run's outputs made again for another program, without the slide or the model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slidecam.exchange.qupath import QuPathExport, write_for_qupath
from slidecam.geometry import Box
from slidecam.runs import Run
from slidecam.runs.outputs import QUPATH_FOLDER
from slidecam.sources import shown_corner
from slidecam.sources.qupath_view import QuPathView
from slidecam.store import find_runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slidecam.exchange.qupath import TileFormat
    from slidecam.geometry import Size
    from slidecam.runs.tiles import TileTable


def export_for_qupath(
    runs: Path, out: Path | None = None, shown: Size | None = None, tiles: TileFormat = "auto"
) -> Iterator[dict[str, Any]]:
    """Write what QuPath loads for each slide of a run; yield its index with its ``folder``.

    Parameters
    ----------
    runs
        What was given to `predict` as its output folder, or one slide's folder in it.
    out
        Where to write, ``OUT/<slide>/``; None for ``qupath`` in each slide's folder.
    shown
        Width and height as QuPath shows the slide; None for what the run was told, or the scanned
        bounds.
    tiles
        See `QuPathExport`.

    Raises
    ------
    UsageError
        If there is no run.
    ShownSizeError
        If ``shown`` is not the slide's size nor that of its scanned bounds.
    StoreError
        If a run is damaged or too old to say what is needed.
    """
    for folder in find_runs(runs):
        run = Run.open(folder)
        table = _as_shown(run, shown)
        heatmaps = [folder / heatmap.file for heatmap in run.record.heatmaps]
        part = table.bounds or Box(0, 0, run.size.width, run.size.height)
        export = QuPathExport(
            table=table,
            heatmaps=[path for path in heatmaps if path.is_dir()],
            slide=run.slide,
            model=run.model,
            tiles=tiles,
            size_px=(part.width, part.height),
        )
        place = folder / QUPATH_FOLDER if out is None else out / export.slide
        yield {"folder": str(place), **write_for_qupath(export, place)}


def _as_shown(run: Run, shown: Size | None) -> TileTable:
    """Return the tiles as QuPath shows the slide now, or as it did when the run was made."""
    if shown is None:
        return run.tiles
    size, bounds = run.size, run.record.input.bounds
    view = QuPathView(shown_corner(run.slide_path, size, bounds, shown), shown)
    return replace(run.tiles, bounds=view.part(size, bounds))
