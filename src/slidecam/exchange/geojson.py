"""`tiles.geojson`: every classified tile as a QuPath tile object.

QuPath refuses a whole file for one bad feature, so what it dislikes is never written: a classification
without a colour, a name that is null or blank or holds a line break, a measurement that is no number, an open
ring.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import numpy as np

from slidecam.atomic import replacing
from slidecam.exchange.wsinfer_csv import PROBABILITY, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.exchange.tiles import TileTable
    from slidecam.sources.source import RGB

NAMESPACE = UUID("8f2b6f0e-5d0c-5a51-9f0b-6a1d1f7c2e90")
"""What the ids of our tiles are derived under, so that the same tile has the same id in every run."""

UNNAMED = "Unnamed"


def write_tiles_geojson(table: TileTable, path: Path) -> None:
    """Write the finished tiles of ``table`` as a FeatureCollection that QuPath imports as locked tiles.

    Coordinates are level-0 pixels counted from the corner of ``table.bounds``, as QuPath counts them. A tile
    without a winner has no classification; a probability that is not a number is left out.
    """
    with replacing(path) as fresh, fresh.open("w", encoding="ascii", newline="\n") as file:
        file.write('{"type":"FeatureCollection","features":[')
        separator = "\n"
        for rows in pieces(table):
            file.write(separator + ",\n".join(_features(table, rows)))
            separator = ",\n"
        file.write("\n]}\n")


def qupath_class_name(name: str) -> str:
    """Return ``name`` as QuPath can take it.

    A colon separates a class from its subclass there, and a part that is blank or holds a line break makes
    QuPath refuse the file.
    """
    parts = [" ".join(part.split()) for part in name.split(":")]
    return ": ".join(part for part in parts if part) or UNNAMED


def _features(table: TileTable, rows: NDArray[np.int64]) -> Iterator[str]:
    # The empty last one serves the winner -1: none.
    classes = [*map(_classification, table.class_names, table.class_colors), ""]
    winners = (classes[winner] for winner in table.winners[rows].tolist())
    return map(_feature, rows.tolist(), _corners(table, rows), winners, _measurements(table, rows))


def _classification(name: str, color: RGB) -> str:
    red, green, blue = color
    told = json.dumps(qupath_class_name(name))
    return f'"classification":{{"name":{told},"color":[{red},{green},{blue}]}},'


def _corners(table: TileTable, rows: NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
    """Return left, top, right, bottom in QuPath's pixels."""
    corner = (table.bounds.x, table.bounds.y) if table.bounds else (0, 0)
    low = table.boxes[rows, :2] - corner
    corners = np.concatenate([low, low + table.boxes[rows, 2:]], axis=1)
    return [(left, top, right, bottom) for left, top, right, bottom in corners.tolist()]


def _measurements(table: TileTable, rows: NDArray[np.int64]) -> list[str]:
    columns = [
        _measurement(json.dumps(PROBABILITY + name), values)
        for name, values in zip(table.class_names, table.probabilities[rows].T, strict=True)
    ]
    return [",".join(filter(None, row)) for row in zip(*columns, strict=True)]


def _measurement(key: str, values: NDArray[np.float32]) -> list[str]:
    finite = np.isfinite(values).tolist()
    texts = values.astype(np.str_).tolist()
    return [f"{key}:{text}" if known else "" for text, known in zip(texts, finite, strict=True)]


def _feature(row: int, corners: tuple[int, int, int, int], classification: str, measurements: str) -> str:
    left, top, right, bottom = corners
    identity = uuid5(NAMESPACE, f"{row} {corners} {measurements}")
    return (
        f'{{"type":"Feature","id":"{identity}","geometry":{{"type":"Polygon","coordinates":'
        f"[[[{left},{top}],[{right},{top}],[{right},{bottom}],[{left},{bottom}],[{left},{top}]]]}},"
        f'"properties":{{"objectType":"tile",{classification}"isLocked":true,'
        f'"measurements":{{{measurements}}}}}}}'
    )
