"""Tables of tiles that the writers' tests share."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.classes import ClassSet
from slidecam.runs.tiles import TileTable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TableMaker = Callable[..., TileTable]

COLORS = ((200, 0, 0), (150, 200, 150), (60, 90, 220), (255, 200, 0))


def called(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return what logits (n, K) are called; of one 1 for its class and 0 for its absence."""
    count = logits.shape[1]
    classes = ClassSet(tuple(map(str, range(count))), "softmax" if count > 1 else "sigmoid")
    return classes.labels(classes.probabilities(logits))


@pytest.fixture
def make_table() -> TableMaker:
    """Return a maker of tables: pass the probabilities, and whatever else should not be plain."""

    def make(rows: list[list[float]], /, **changes: Any) -> TileTable:
        values = np.array(rows, np.float32).reshape(len(rows), -1)
        count, classes = values.shape
        plain: dict[str, Any] = {
            "boxes": np.array([(100 * i, 50, 100, 80) for i in range(count)], np.int64).reshape(
                -1, 4
            ),
            "status": np.ones(count, np.uint8),
            "probabilities": values,
            "bounds": None,
        }
        named: dict[str, Any] = {
            "names": ("Tumor", "Stroma", "Fat", "Other")[:classes],
            "colors": COLORS[:classes],
        }
        for key in ("class_names", "class_colors", "activation", "thresholds"):
            if key in changes:
                named[key.removeprefix("class_")] = changes.pop(key)
        return TileTable(**(plain | {"classes": ClassSet(**named)} | changes))

    return make


@dataclass(frozen=True, eq=False)
class CsvTiles:
    """What a `tiles.csv` says.

    Boxes int64 (tiles, 4), probabilities float32 (tiles, classes), names.
    """

    boxes: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]


def read_tiles_csv(path: Path) -> CsvTiles:
    """Read a ``tiles.csv`` by its columns' places alone."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    values = np.array(rows, np.float64).reshape(-1, len(header))
    names = tuple(column.removeprefix("prob_") for column in header[4:])
    return CsvTiles(values[:, :4].astype(np.int64), values[:, 4:].astype(np.float32), names)
