"""`tiles.geojson`: every classified tile as a QuPath tile object.

Drag it onto the slide in QuPath, plain or gzipped. Beyond some 100,000 tiles QuPath takes minutes
and gigabytes for it; `slidecam.exchange.qupath` writes a table that our script loads in seconds.

QuPath refuses a whole file for one bad feature, so what it dislikes is never written: a
classification without a colour, a name that is null or blank or holds a line break, a measurement
that is no number, an open ring.
"""

from __future__ import annotations

import gzip
import io
import json
from contextlib import contextmanager
from hashlib import sha1
from typing import IO, TYPE_CHECKING
from uuid import UUID

import numpy as np

from slidecam.exchange.wsinfer_csv import PROBABILITY, pieces
from slidecam.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.pixels import RGB
    from slidecam.runs.tiles import TileTable

NAMESPACE = UUID("8f2b6f0e-5d0c-5a51-9f0b-6a1d1f7c2e90")
"""What our tiles' ids are derived under, so that the same tile has the same id in every run."""

UNNAMED = "Unnamed"

PACKING = 3
"""Gzip's level: a quarter of the time of the usual one, a fifth more room."""

MARK = "slidecam"
"""Name of our tiles in QuPath.

One text shared by all of them, where metadata would cost memory for each.
"""


def write_tiles_geojson(table: TileTable, path: Path) -> None:
    """Write ``table``'s finished tiles as a FeatureCollection that QuPath imports as locked tiles.

    Coordinates are level-0 pixels counted from ``table.corner``, as QuPath counts them. A tile
    without a winner has no classification; a probability that is not a number is left out. Every
    tile is named `MARK`, by which our script finds what it may take away. A ``path`` that ends in
    ``.gz`` is gzipped.
    """
    with replacing(path) as fresh, opened(fresh, gzipped=path.suffix == ".gz") as file:
        file.write('{"type":"FeatureCollection","features":[')
        separator = "\n"
        for rows in pieces(table):
            file.write(separator + ",\n".join(_features(table, rows)))
            separator = ",\n"
        file.write("\n]}\n")


@contextmanager
def opened(path: Path, *, gzipped: bool) -> Iterator[IO[str]]:
    """Open a text to write, the same bytes for the same text: gzip would note name and time."""
    with path.open("wb") as raw:
        packed = gzip.GzipFile("", "wb", PACKING, raw, mtime=0) if gzipped else raw
        with io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
            yield file


def qupath_class_name(name: str) -> str:
    """Return ``name`` as QuPath can take it.

    A colon separates a class from its subclass there, and a part that is blank or holds a line
    break makes QuPath refuse the file.
    """
    parts = [" ".join(part.split()) for part in name.split(":")]
    return ": ".join(part for part in parts if part) or UNNAMED


def _features(table: TileTable, rows: NDArray[np.int64]) -> Iterator[str]:
    # The empty last one serves the winner -1: none.
    classes = [*map(_classification, table.class_names, table.class_colors), ""]
    winners = (classes[winner] for winner in table.winners[rows].tolist())
    return map(_feature, rows.tolist(), _corners(table, rows), winners, _measurements(table, rows))


def _uuid5(name: str) -> str:
    """Return what `uuid.uuid5` makes of a name under `NAMESPACE`, in a third of the time.

    Every tile has one.
    """
    digest = sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def _classification(name: str, color: RGB) -> str:
    red, green, blue = color
    told = json.dumps(qupath_class_name(name))
    return f'"classification":{{"name":{told},"color":[{red},{green},{blue}]}},'


def _corners(table: TileTable, rows: NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
    """Return left, top, right, bottom in QuPath's pixels."""
    low = table.boxes[rows, :2] - table.corner
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


def _feature(
    row: int, corners: tuple[int, int, int, int], classification: str, measurements: str
) -> str:
    left, top, right, bottom = corners
    identity = _uuid5(f"{row} {corners} {measurements}")
    return (
        f'{{"type":"Feature","id":"{identity}","geometry":{{"type":"Polygon","coordinates":'
        f"[[[{left},{top}],[{right},{top}],[{right},{bottom}],[{left},{bottom}],[{left},{top}]]]}},"
        f'"properties":{{"objectType":"tile","name":"{MARK}",{classification}"isLocked":true,'
        f'"measurements":{{{measurements}}}}}}}'
    )
