"""`tiles.csv`: a row per classified tile, in the layout that WSInfer and its readers share."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np

from slidecam.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.runs.tiles import TileTable

BOX_COLUMNS = ("minx", "miny", "width", "height")
PROBABILITY = "prob_"
"""What stands before a class's name, here and in QuPath's measurements."""

VALUES_AT_ONCE = 1 << 18
"""Values that are text in memory at any time."""


def write_tiles_csv(table: TileTable, path: Path) -> None:
    """Write the finished tiles of ``table``, in grid order.

    The header is ``minx,miny,width,height,prob_<class>…``; boxes are whole level-0 pixels, and
    probabilities have as many digits as give back the same float32.
    """
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        file.write(_header(table.class_names))
        for rows in pieces(table):
            columns = [*as_text(table.boxes[rows]), *as_text(table.probabilities[rows])]
            file.writelines(lines(columns))


def pieces(table: TileTable) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of the finished tiles, as many at once as make `VALUES_AT_ONCE` values."""
    rows = np.flatnonzero(table.done)
    step = max(1, VALUES_AT_ONCE // (len(BOX_COLUMNS) + len(table.class_names)))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _header(class_names: tuple[str, ...]) -> str:
    line = io.StringIO()
    columns = [*BOX_COLUMNS, *(PROBABILITY + name for name in class_names)]
    csv.writer(line, lineterminator="\n").writerow(columns)
    return line.getvalue()


def lines(columns: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of a table from the cells of its columns."""
    for row in zip(*columns, strict=True):
        yield ",".join(row) + "\n"


def as_text(values: NDArray[np.generic]) -> list[list[str]]:
    """Return each column of (rows, columns) as strings.

    NumPy writes the fewest digits that read back the same.
    """
    return [column.astype(np.str_).tolist() for column in values.T]
