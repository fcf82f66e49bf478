"""A finished run's outputs made again for another program, without the slide or the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slidecam.classes import ClassSet
from slidecam.errors import StoreError
from slidecam.exchange.qupath import QuPathExport, write_for_qupath
from slidecam.geometry import Box, Size
from slidecam.runs.tiles import TileTable
from slidecam.sources import shown_corner
from slidecam.store import RunStore, find_runs, read_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from slidecam.exchange.qupath import TileFormat

QUPATH = "qupath"
"""Folder in a slide's folder that is written for QuPath."""


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
        table, record = read_table(folder, shown)
        heatmaps = [folder / told["file"] for told in record.get("heatmaps", ())]
        export = QuPathExport(
            table=table,
            heatmaps=[path for path in heatmaps if path.is_dir()],
            slide=folder.resolve().name,
            model=record["bundle"]["name"],
            tiles=tiles,
            size_px=tuple(record["input"]["size_px"])
            if table.bounds is None
            else (table.bounds.width, table.bounds.height),
        )
        place = folder / QUPATH if out is None else out / export.slide
        yield {"folder": str(place), **write_for_qupath(export, place)}


def read_table(folder: Path, shown: Size | None = None) -> tuple[TileTable, Mapping[str, Any]]:
    """Return the tiles of the run in a slide's folder, and its ``run.json``.

    See `export_for_qupath`.
    """
    record, store = read_run(folder) or {}, RunStore.open(folder)
    try:
        table = TileTable(
            boxes=store.boxes,
            status=store.status,
            probabilities=store.probabilities,
            classes=ClassSet.from_record(record["bundle"]),
            bounds=_shown_part(record, shown),
        )
    except (KeyError, TypeError) as error:
        remedy = "Run predict again with --overwrite."
        raise StoreError(
            folder, f"its run.json lacks {error}: another version wrote it.", remedy
        ) from error
    return table, record


def _shown_part(record: Mapping[str, Any], shown: Size | None) -> Box | None:
    """Return the part of the slide that QuPath shows: as it says now, or as the run was told."""
    told = record["input"]
    bounds = None if told["bounds_px"] is None else Box(*told["bounds_px"])
    corner = tuple(record["qupath"]["corner_px"])
    if shown is not None:
        corner = shown_corner(told["path"], Size(*told["size_px"]), bounds, shown)
    return None if corner == (0, 0) else bounds
