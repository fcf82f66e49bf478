"""`tiles.csv`: a row per classified tile, in the layout that WSInfer and its readers share."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import UsageError
from slidecam.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.runs.tiles import TileTable

BOX_COLUMNS = ("minx", "miny", "width", "height")
PROBABILITY = "prob_"
"""What stands before a class's name, here and in QuPath's measurements."""

VALUES_AT_ONCE = 1 << 18
"""Values that are text in memory at any time."""


@dataclass(frozen=True, eq=False)
class CsvTiles:
    """What a `tiles.csv` says.

    Boxes int64 (tiles, 4), probabilities float32 (tiles, classes), names.
    """

    boxes: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]


def write_tiles_csv(table: TileTable, path: Path) -> None:
    """Write the finished tiles of ``table``, in grid order.

    The header is ``minx,miny,width,height,prob_<class>…``; boxes are whole level-0 pixels, and
    probabilities have as many digits as give back the same float32.
    """
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        file.write(_header(table.class_names))
        for rows in pieces(table):
            columns = [*as_text(table.boxes[rows]), *as_text(table.probabilities[rows])]
            file.writelines(",".join(row) + "\n" for row in zip(*columns, strict=True))


def read_tiles_csv(path: Path) -> CsvTiles:
    """Read a table of `write_tiles_csv` or WSInfer; UsageError if its columns are others."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        _check_header(path, header)
        values = np.array(list(rows), dtype=np.float64).reshape(-1, len(header))
    names = tuple(column.removeprefix(PROBABILITY) for column in header[len(BOX_COLUMNS) :])
    # Through float64 both ways: WSInfer's boxes may be written as 350.0.
    return CsvTiles(values[:, :4].astype(np.int64), values[:, 4:].astype(np.float32), names)


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


def as_text(values: NDArray[np.generic]) -> list[list[str]]:
    """Return each column of (rows, columns) as strings.

    NumPy writes the fewest digits that read back the same.
    """
    return [column.astype(np.str_).tolist() for column in values.T]


def _check_header(path: Path, header: list[str]) -> None:
    boxes, classes = header[: len(BOX_COLUMNS)], header[len(BOX_COLUMNS) :]
    if tuple(boxes) != BOX_COLUMNS or not all(column.startswith(PROBABILITY) for column in classes):
        raise UsageError(
            f"{path}: the columns are {header}.",
            f"A table of tiles begins with {','.join(BOX_COLUMNS)} and goes on with"
            f" {PROBABILITY}<class>.",
        )
