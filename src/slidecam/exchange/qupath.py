"""What our QuPath scripts load.

A folder with a table of tiles, heatmaps as pictures, and an index of both.

QuPath's own GeoJSON import takes 7 s and 1.1 GB for 100,000 tiles and 97 s for a million; reading
this table line by line takes a second and seven. Everything is in QuPath's pixels already, so that
the scripts reckon nothing.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from slidecam.drawing.heat import heat_colors
from slidecam.exchange.geojson import MARK, opened, qupath_class_name, write_tiles_geojson
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.exchange.wsinfer_csv import PROBABILITY, as_text, pieces
from slidecam.files import replacing_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.exchange.ome_zarr import HeatmapImage
    from slidecam.runs.tiles import TileTable

INDEX, TABLE, GEOJSON = "slidecam.json", "tiles.csv.gz", "tiles.geojson.gz"
COLUMNS = ("x", "y", "width", "height", "class")

GEOJSON_UP_TO = 100_000
"""Tiles up to which QuPath's own import of GeoJSON is bearable."""

LONGEST = 4096
"""Longest side of a heatmap's picture: QuPath keeps it in memory as 32 bits per pixel."""

COLORMAP = "viridis"
"""QuPath shows the slide in its own colours, which would hide the overview's yellow to red."""

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
    with replacing_folder(folder) as fresh:
        fresh.mkdir()
        index = {
            "format": "slidecam-qupath",
            "version": 1,
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
    class; a probability that is not a number is empty.
    """
    names = list(map(qupath_class_name, table.class_names))
    cells = [*map(_cell, names), ""]  # the last one serves the winner -1: none
    header = ",".join(
        [*COLUMNS, *(_cell(PROBABILITY + " ".join(name.split())) for name in table.class_names)]
    )
    with opened(path, gzipped=True) as file:
        file.write(header + "\n")
        for rows in pieces(table):
            boxes = table.boxes[rows] - (*table.corner, 0, 0)
            classes = [cells[winner] for winner in table.winners[rows].tolist()]
            columns = [*as_text(boxes), classes, *map(_known, table.probabilities[rows].T)]
            file.writelines(",".join(row) + "\n" for row in zip(*columns, strict=True))


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
    wanted = export.tiles == "geojson" or (export.tiles == "auto" and count <= GEOJSON_UP_TO)
    if wanted:
        write_tiles_geojson(export.table, folder / GEOJSON)
    return {"file": TABLE, "geojson": GEOJSON if wanted else None, "count": count}


def _classes(table: TileTable) -> list[dict[str, Any]]:
    """Return each class as trained, as QuPath can call it, its colour, its measurement's name."""
    return [
        {
            "name": name,
            "qupath": qupath_class_name(name),
            "color": list(color),
            "measurement": PROBABILITY + name,
        }
        for name, color in zip(table.class_names, table.class_colors, strict=True)
    ]


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
                "x": left - export.table.corner[0],
                "y": top - export.table.corner[1],
                "width": heat.shape[1] * pitch,
                "height": heat.shape[0] * pitch,
            }


def _cut_out(
    image: HeatmapImage, channel: int
) -> tuple[NDArray[np.float32], tuple[int, int, int]] | None:
    """Return the part of a channel that holds numbers, with its left and top edge and its pixels.

    Edges and pixels are in level-0 pixels.
    """
    level = next(
        (level for level, array in enumerate(image.levels) if max(array.shape[1:]) <= LONGEST),
        len(image.levels) - 1,
    )
    heat = np.asarray(image.levels[level][channel], np.float32)
    known = np.isfinite(heat)
    rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    if not rows.size:
        return None
    pitch = round(image.spec.pitch * 2**level)
    x, y = map(round, image.spec.origin)
    part = heat[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return part, (x + int(columns[0]) * pitch, y + int(rows[0]) * pitch, pitch)


def _picture(heat: NDArray[np.float32], *, signed: bool) -> Image.Image:
    """Return heat as a picture that covers the slide the more the hotter it is.

    What is no number is transparent.
    """
    known = np.isfinite(heat)
    colors, cover = heat_colors(heat[known], signed=signed, colormap=COLORMAP)
    pixels = np.zeros((*heat.shape, 4), np.uint8)
    pixels[known] = np.rint(np.concatenate([colors, cover * 255], axis=1)).astype(np.uint8)
    return Image.fromarray(pixels)
