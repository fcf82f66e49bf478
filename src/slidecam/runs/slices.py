"""The slices of one volume, as plain arrays and as ``slices.csv``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import UsageError
from slidecam.files import replacing
from slidecam.parsing import rows_in
from slidecam.runs.tiles import DISAGREEMENT, PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DONE, SKIPPED, FAILED, MISSING = "done", "skipped", "failed", "missing"
"""What may become of a slice: classified, without foreground, unreadable, not in the file."""

COLUMNS = ("slice", "position_mm", "file_index", "status")
DIGITS = 6


@dataclass(frozen=True, eq=False)
class SliceTable:
    """The slices of a volume along the axis that was classified.

    Attributes
    ----------
    axis
        ``axial``, ``coronal`` or ``sagittal``. It is not in the file, and empty in what is read
        from one alone; `Run.slices` knows it from the record.
    positions
        float64, (slices,): where each lies along the axis, LPS+ mm (z, y or x of its centre).
    file_indices
        int64, (slices,): its index along the file's own axis. Its number here counts upwards,
        backwards or to the left, as (S, P, L) arrays do.
    status
        ``done``, ``skipped`` (no foreground), ``failed`` or ``missing``.
    probabilities
        float32, (slices, classes); NaN where a slice is not done.
    class_names
        One per column of ``probabilities``.
    disagreement
        float32, (slices,): of an ensemble, how far its members disagree, from 0 to 1; the mean of a
        slice's tiles, NaN where it is not done. None of a single network.
    """

    axis: str
    positions: NDArray[np.float64]
    file_indices: NDArray[np.int64]
    status: tuple[str, ...]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]
    disagreement: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.status)

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which slices have a result, bool, (slices,)."""
        return np.array([each == DONE for each in self.status], np.bool_)

    def count(self, status: str) -> int:
        """Return how many slices ended so."""
        return self.status.count(status)


def write_slices_csv(table: SliceTable, path: Path) -> None:
    """Write the table in one step; a slice without a result has empty cells."""
    last: list[str] = []
    numbers = table.probabilities
    if table.disagreement is not None:
        last = [DISAGREEMENT]
        numbers = np.column_stack([numbers, table.disagreement])
    with (
        replacing(path) as fresh,
        fresh.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"{PREFIX}{name}" for name in table.class_names), *last])
        for number, status in enumerate(table.status):
            cells = [_cell(value) for value in numbers[number].tolist()]
            place = f"{table.positions[number]:.3f}"
            writer.writerow([number, place, int(table.file_indices[number]), status, *cells])


def _cell(value: float) -> str:
    if np.isfinite(value):
        return f"{value:.{DIGITS}f}"
    return ""


def read_slices_csv(path: Path) -> SliceTable:
    """Read a table that `write_slices_csv` wrote; UsageError if it is none."""
    try:
        return _table_of(path)
    except UsageError:
        raise
    except (ValueError, OverflowError) as error:
        problem = f"This is no slices.csv that can be read: {error}."
        raise UsageError(problem, "Have predict write it anew.", path) from error


def _table_of(path: Path) -> SliceTable:
    head, cells = rows_in(path)
    rows = [list(row.values()) for row in cells]
    own, of_classes = tuple(head[: len(COLUMNS)]), head[len(COLUMNS) :]
    is_ensemble = of_classes[-1:] == [DISAGREEMENT]
    if is_ensemble:
        of_classes = of_classes[:-1]
    if own != COLUMNS or not all(name.startswith(PREFIX) for name in of_classes):
        raise UsageError(
            f"The columns are {', '.join(head)}, not those of a slices.csv.",
            "Choose a slices.csv that slidecam wrote.",
            path,
        )
    names = tuple(name.removeprefix(PREFIX) for name in of_classes)
    values = [[float(cell) if cell else np.nan for cell in row[len(COLUMNS) :]] for row in rows]
    numbers = np.array(values, np.float32).reshape(len(rows), len(names) + is_ensemble)
    return SliceTable(
        "",
        np.array([float(row[1]) for row in rows]),
        np.array([int(row[2]) for row in rows], np.int64),
        tuple(row[3] for row in rows),
        numbers[:, : len(names)],
        names,
        numbers[:, -1] if is_ensemble else None,
    )
