"""What our QuPath extension and scripts load.

A folder with a table of tiles, heatmaps as pictures, and an index of both.

QuPath's own import of 100,000 tiles from GeoJSON takes 6 s of processor, reading this table line by
line 3 s. Everything is in QuPath's pixels already, so that extension and scripts reckon nothing.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from slidecam.drawing.heat import heat_colors, heat_table
from slidecam.exchange.geojson import (
    MARK,
    called_several,
    opened,
    qupath_class_name,
    write_tiles_geojson,
)
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.exchange.tables import PROBABILITY, as_text, lines, pieces
from slidecam.files import refuse_inputs, refuse_other_kind, replacing_folder
from slidecam.geometry import Box
from slidecam.runs import Run
from slidecam.runs.outputs import QUPATH_FOLDER
from slidecam.runs.tiles import DISAGREEMENT
from slidecam.sources import shown_corner
from slidecam.sources.qupath import QuPathView
from slidecam.store import find_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.exchange.ome_zarr import HeatmapImage
    from slidecam.geometry import Size
    from slidecam.runs.tiles import TileTable


INDEX, TABLE, GEOJSON = "slidecam.json", "tiles.csv.gz", "tiles.geojson.gz"
COLUMNS = ("x", "y", "width", "height", "class")

GEOJSON_UP_TO = 100_000
"""Tiles up to which QuPath's own import of GeoJSON is bearable."""

LONGEST = 4096
"""Longest side of a heatmap's picture: QuPath keeps it in memory as 32 bits per pixel."""

COLORMAP = "viridis"
"""QuPath shows the slide in its own colours, which would hide the overview's yellow to red."""

BAR_COLORS = 33
"""Of a colour bar: odd, so that nothing has one of its own where heat has two sides."""

TileFormat = Literal["auto", "geojson", "csv"]


@dataclass(frozen=True)
class QuPathExport:
    """What is written for QuPath.

    Attributes
    ----------
    table
        The tiles; its corner says where QuPath counts from.
    heatmaps
        Folders of heatmaps that `write_heatmap_ome_zarr` wrote.
    slide, model
        Names, for those who look into the index.
    tiles
        ``csv``: the table for our scripts alone; ``geojson``: beside it what QuPath's own import
        takes; ``auto``: that for up to `GEOJSON_UP_TO` tiles.
    size_px
        Width and height of the slide as QuPath must show it for the tiles to be in their place;
        empty if not known.
    """

    table: TileTable
    heatmaps: Sequence[Path] = ()
    slide: str = ""
    model: str = ""
    tiles: TileFormat = "csv"
    size_px: tuple[int, ...] = ()


def write_for_qupath(export: QuPathExport, folder: Path) -> dict[str, Any]:
    """Write the folder that our QuPath scripts load, whole or not at all, and return its index.

    It holds ``slidecam.json`` (the index), ``tiles.csv.gz``, maybe ``tiles.geojson.gz``, and one
    ``heatmap-N.png`` for each method and class, RGBA, with the place of its outer edges in QuPath's
    pixels in the index.
    """
    version = 1
    if export.table.several_called.any():
        version = 2  # the table has a column more, which scripts of before would misread
    with replacing_folder(folder) as fresh:
        fresh.mkdir()
        index = {
            "format": "slidecam-qupath",
            "version": version,
            "mark": MARK,
            "slide": export.slide,
            "model": export.model,
            "corner_px": list(export.table.corner),
            "size_px": list(export.size_px),
            "tiles": _write_tiles(export, fresh),
            "classes": _classes(export.table),
            "heatmaps": list(_write_heatmaps(export, fresh)),
        }
        (fresh / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="ascii")
    return index


def write_tiles_table(table: TileTable, path: Path) -> None:
    """Write the finished tiles as a gzipped table with a class's name on each, in QuPath's pixels.

    The header is ``x,y,width,height,class,prob_<class>…``. A tile without a winner has an empty
    class; a probability that is not a number is empty. Where a tile is called several classes,
    there is a last column ``called``: their numbers from 0, as ``2+0``, the most probable first. Of
    an ensemble ``disagreement`` follows the probabilities.
    """
    names = map(qupath_class_name, table.class_names)
    cells = [*map(_cell, names), ""]  # the last one serves the winner -1: none
    header = [*COLUMNS, *map(_probability_column, table.class_names)]
    if table.disagreement is not None:
        header.append(DISAGREEMENT)
    several = bool(table.several_called.any())
    if several:
        header.append("called")
    with opened(path, gzipped=True) as file:
        file.write(",".join(header) + "\n")
        for rows in pieces(table):
            boxes = table.boxes[rows] - (*table.corner, 0, 0)
            classes = map(cells.__getitem__, table.winners[rows].tolist())
            columns = [
                *as_text(boxes),
                classes,
                *(_known(values[rows]) for values in table.values.values()),
            ]
            if several:
                columns.append([_places(table, called) for called in called_several(table, rows)])
            file.writelines(lines(columns))


def _places(table: TileTable, names: tuple[str, ...]) -> str:
    return "+".join(str(table.classes.index(name)) for name in names)


def _probability_column(class_name: str) -> str:
    return _cell(PROBABILITY + " ".join(class_name.split()))


def _known(values: NDArray[np.float32]) -> list[str]:
    texts: list[str] = np.where(np.isfinite(values), values.astype(np.str_), "").tolist()
    return texts


def _cell(text: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue()


def _write_tiles(export: QuPathExport, folder: Path) -> dict[str, Any]:
    count = int(export.table.done.sum())
    write_tiles_table(export.table, folder / TABLE)
    geojson = None
    if export.tiles == "geojson" or (export.tiles == "auto" and count <= GEOJSON_UP_TO):
        write_tiles_geojson(export.table, folder / GEOJSON)
        geojson = GEOJSON
    record = {"file": TABLE, "geojson": geojson, "count": count}
    if export.table.several_called.any():
        record["called"] = True
    if export.table.disagreement is not None:
        record[DISAGREEMENT] = DISAGREEMENT
    return record


def _classes(table: TileTable) -> list[dict[str, Any]]:
    """Return each class as trained, as QuPath can call it, its colour, its measurement's name."""
    classes = []
    for name, color in zip(table.class_names, table.class_colors, strict=True):
        row = {
            "name": name,
            "qupath": qupath_class_name(name),
            "color": list(color),
            "measurement": PROBABILITY + name,
        }
        classes.append(row)
    return classes


def _write_heatmaps(export: QuPathExport, folder: Path) -> Iterator[dict[str, Any]]:
    number = 0
    for path in export.heatmaps:
        image = read_heatmap_ome_zarr(path)
        for channel, name in enumerate(image.spec.class_names):
            found = _cut_out(image, channel)
            if found is None:
                continue
            heat, (left, top, pitch) = found
            number += 1
            file = f"heatmap-{number}.png"
            _picture(heat, signed=image.spec.signed).save(folder / file, compress_level=1)
            yield {
                "file": file,
                "method": image.spec.attributes.get("method", ""),
                "class": name,
                "signed": image.spec.signed,
                "bar": _bar(signed=image.spec.signed),
                "shows": image.spec.attributes.get("shows", ""),
                "measured": image.spec.attributes.get("measured", ""),
                "x": left - export.table.corner[0],
                "y": top - export.table.corner[1],
                "width": heat.shape[1] * pitch,
                "height": heat.shape[0] * pitch,
            }


def _bar(*, signed: bool) -> list[str]:
    """Return the colours of a heatmap's picture from one end of its scale to the other."""
    shares = heat_table(BAR_COLORS, signed=signed, colormap=COLORMAP)[:, :3]
    levels = np.rint(shares * 255).astype(np.uint8)
    return [f"#{bytes(color).hex()}" for color in levels]


def _cut_out(
    image: HeatmapImage,
    channel: int,
) -> tuple[NDArray[np.float32], tuple[int, int, int]] | None:
    """Return the part of a channel that holds numbers, with its left and top edge and its pixels.

    Edges and pixels are in level-0 pixels.
    """
    level = _level_for_picture(image)
    heat = np.asarray(image.levels[level][channel], np.float32)
    known = np.isfinite(heat)
    rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    if not rows.size:
        return None
    pitch = round(image.spec.pitch * 2**level)
    x, y = map(round, image.spec.origin)
    part = heat[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return part, (x + int(columns[0]) * pitch, y + int(rows[0]) * pitch, pitch)


def _level_for_picture(image: HeatmapImage) -> int:
    """Return the finest level that is no longer than `LONGEST`, else the coarsest."""
    for level, array in enumerate(image.levels):
        if max(array.shape[1:]) <= LONGEST:
            return level
    return len(image.levels) - 1


def _picture(heat: NDArray[np.float32], *, signed: bool) -> Image.Image:
    """Return heat as a picture that covers the slide the more the hotter it is.

    What is no number is transparent.
    """
    known = np.isfinite(heat)
    colors, cover = heat_colors(heat[known], signed=signed, colormap=COLORMAP)
    pixels = np.zeros((*heat.shape, 4), np.uint8)
    pixels[known] = np.rint(np.concatenate([colors, cover * 255], axis=1)).astype(np.uint8)
    return Image.fromarray(pixels)


def export_for_qupath(
    runs: Path,
    out: Path | None = None,
    shown: Size | None = None,
    tiles: TileFormat = "auto",
) -> Iterator[dict[str, Any]]:
    """Write what QuPath loads for each slide of a run; yield its index with its ``folder``.

    Parameters
    ----------
    runs
        What was given to `predict` as its output folder, or one slide's folder in it.
    out
        Where to write, ``OUT/<slide>/``; None for ``qupath`` in each slide's folder.
    shown
        Width and height as QuPath shows the slide; None for the size that the run was given,
        or that of the scanned bounds.
    tiles
        See `QuPathExport`.

    Raises
    ------
    UsageError
        If there is no run, or an export would take the place of one, or of anything that is none.
    ShownSizeError
        If ``shown`` is not the slide's size nor that of its scanned bounds.
    StoreError
        If a run is damaged or too old to say what is needed.
    """
    folders = find_runs(runs)
    if out is not None:
        _refuse_places([out / folder.resolve().name for folder in folders], folders)
    for folder in folders:
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
        place = folder / QUPATH_FOLDER
        if out is not None:
            place = out / export.slide
        yield {"folder": str(place), **write_for_qupath(export, place)}


def _refuse_places(places: Sequence[Path], folders: Sequence[Path]) -> None:
    """Refuse folders whose place an export must not take; UsageError."""
    refuse_inputs(places, folders, whole=True)
    for place in places:
        refuse_other_kind(place, _is_export, "--out")


def _is_export(place: Path) -> bool:
    """Whether a folder is one that QuPath loads, or empty."""
    return (place / INDEX).is_file() or (place.is_dir() and not any(place.iterdir()))


def _as_shown(run: Run, shown: Size | None) -> TileTable:
    """Return the tiles as QuPath shows the slide now, or as it did when the run was made."""
    if shown is None:
        return run.tiles
    size, bounds = run.size, run.record.input.bounds
    view = QuPathView(shown_corner(run.slide_path, size, bounds, shown), shown)
    return replace(run.tiles, bounds=view.part(size, bounds))
