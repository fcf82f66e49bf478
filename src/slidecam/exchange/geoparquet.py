"""`tiles.parquet`: every tile of a slide as GeoParquet 1.1, for programs that read tables.

pyarrow writes it, an optional package: this module is loaded only where the output is asked for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from slidecam.exchange.tables import BOX_COLUMNS
from slidecam.files import replacing
from slidecam.store import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.runs.outputs import SlideOutputs
    from slidecam.runs.tiles import TileTable

GEOMETRY = "geometry"

ROWS_PER_GROUP = 65_536
"""Tiles that are in memory as Arrow's arrays at any time."""

STATUS_WORDS = {status.value: status.name.lower() for status in Status}

POLYGON = np.dtype(
    [
        ("little_endian", "u1"),
        ("type", "<u4"),
        ("rings", "<u4"),
        ("points", "<u4"),
        ("corners", "<f8", (5, 2)),
    ]
)
"""A polygon of one ring of five points in well-known binary: 93 bytes, without gaps."""

WKB_POLYGON = 3


def write_output(results: SlideOutputs, path: Path) -> None:
    """Write ``tiles.parquet`` of a slide's results."""
    write_tiles_parquet(results.table, path)


def write_tiles_parquet(table: TileTable, path: Path) -> None:
    """Write every tile of ``table``, in grid order, in groups of `ROWS_PER_GROUP` rows.

    Columns are those of ``tiles.csv`` (``minx,miny,width,height`` in whole level-0 pixels of the
    slide, ``prob_<class>``, of an ensemble ``disagreement``), null where there is no result;
    ``status``: ``done``, ``failed`` or ``pending``; ``classification``: the class of
    ``tiles.geojson``, null where a tile is called none; and ``geometry``: the tile's outline as a
    polygon in ``tiles.geojson``'s frame, level-0 pixels counted from ``table.corner``, x to the
    right and y down, of no geographic reference.
    """
    schema = _schema(table)
    with (
        replacing(path) as fresh,
        parquet.ParquetWriter(fresh, schema, compression="zstd") as writer,
    ):
        for rows in _groups(len(table)):
            writer.write_table(_piece(table, rows, schema), row_group_size=ROWS_PER_GROUP)


def write_slides_parquet(rows: Sequence[Mapping[str, str | float | None]], path: Path) -> None:
    """Write ``slides.parquet``, the rows of ``slides.csv``; numbers are numbers, and gaps null.

    A name that is no text has its bytes as ``slides.csv`` has them, after backslashes.
    """
    with replacing(path) as fresh:
        table = pa.Table.from_pylist([_in_text(row) for row in rows])
        parquet.write_table(table, fresh, compression="zstd")


def _in_text(row: Mapping[str, str | float | None]) -> dict[str, str | float | None]:
    cells: dict[str, str | float | None] = {}
    for name, value in row.items():
        cells[name] = value
        if isinstance(value, str):
            cells[name] = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return cells


def _groups(count: int) -> Iterator[slice]:
    # A table without rows is one group, so that the file has its columns.
    for start in range(0, max(1, count), ROWS_PER_GROUP):
        yield slice(start, min(start + ROWS_PER_GROUP, count))


def _schema(table: TileTable) -> pa.Schema:
    fields = [pa.field(name, pa.int64(), nullable=False) for name in BOX_COLUMNS]
    fields += [pa.field(name, pa.float32()) for name in table.values]
    fields.append(pa.field("status", pa.string(), nullable=False))
    fields.append(pa.field("classification", pa.string()))
    fields.append(pa.field(GEOMETRY, pa.binary(), nullable=False))
    return pa.schema(fields, metadata={"geo": json.dumps(_geo(table))})


def _geo(table: TileTable) -> dict[str, Any]:
    """Return GeoParquet's metadata; its rings run as `_outlines` lays them."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [],
        "crs": None,
        "edges": "planar",
        "orientation": "counterclockwise",
    }
    if len(table):
        column["geometry_types"] = ["Polygon"]
        low = table.boxes[:, :2] - table.corner
        high = low + table.boxes[:, 2:]
        column["bbox"] = [*map(float, low.min(axis=0)), *map(float, high.max(axis=0))]
    return {
        "version": "1.1.0",
        "primary_column": GEOMETRY,
        "columns": {GEOMETRY: column},
    }


def _piece(table: TileTable, rows: slice, schema: pa.Schema) -> pa.Table:
    boxes, status = table.boxes[rows], table.status[rows]
    unknown = status != Status.DONE
    columns = list(map(pa.array, boxes.T))
    for column in table.values.values():
        values = column[rows]
        columns.append(pa.array(values, mask=unknown | np.isnan(values)))
    names = np.array([*table.class_names, None], dtype=object)  # the last one serves the winner -1
    columns.append(pa.array(list(map(STATUS_WORDS.__getitem__, status.tolist()))))
    columns.append(pa.array(names[table.winners[rows]].tolist(), pa.string()))
    columns.append(_outlines(boxes, table.corner))
    return pa.Table.from_arrays(columns, schema=schema)


def _outlines(boxes: NDArray[np.int64], corner: tuple[int, int]) -> pa.Array:
    """Return boxes as polygons in well-known binary."""
    left, top = (boxes[:, :2] - corner).T
    right, bottom = left + boxes[:, 2], top + boxes[:, 3]
    polygons = np.empty(len(boxes), POLYGON)
    polygons["little_endian"] = 1
    polygons["type"], polygons["rings"], polygons["points"] = WKB_POLYGON, 1, 5
    polygons["corners"][:, :, 0] = np.stack([left, right, right, left, left], axis=1)
    polygons["corners"][:, :, 1] = np.stack([top, top, bottom, bottom, top], axis=1)
    offsets = np.arange(len(boxes) + 1, dtype=np.int32) * POLYGON.itemsize
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(polygons.tobytes())]
    return pa.Array.from_buffers(pa.binary(), len(boxes), buffers)
