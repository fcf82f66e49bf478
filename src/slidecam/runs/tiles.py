"""The classified tiles of one slide, and the slices of one volume, as plain arrays.

How tiles divide among the classes, and the area under some of them: where they overlap, a place
counts once.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from slidecam.classes import NO_CLASS
from slidecam.errors import UsageError
from slidecam.files import replacing
from slidecam.pixels import RGB  # noqa: TC001  (the manifest reads the fields' types)
from slidecam.store import Status

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.classes import Activation, ClassSet
    from slidecam.foreground import Foreground
    from slidecam.geometry import Box


@dataclass(frozen=True, eq=False)
class TileTable:
    """Every tile of a slide with what became of it, in grid order.

    Attributes
    ----------
    boxes
        int64, (tiles, 4): left, top, width, height in level-0 pixels of the whole slide, bounds or
        not.
    status
        uint8, (tiles,): a `slidecam.store.Status` each.
    probabilities
        float32, (tiles, classes); NaN where a tile is not done.
    classes
        What the probabilities are of, and which of them are called.
    bounds
        The part of the slide that QuPath shows, or None for all of it. It counts from its corner.

    Raises
    ------
    UsageError
        If the arrays do not fit each other or the classes.
    """

    boxes: NDArray[np.int64]
    status: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    classes: ClassSet
    bounds: Box | None = None

    def __post_init__(self) -> None:
        tiles, classes = len(self.status), len(self.classes)
        _expect("boxes", self.boxes, (tiles, 4), "int64")
        _expect("status", self.status, (tiles,), "uint8")
        _expect("probabilities", self.probabilities, (tiles, classes), "float32")

    def __len__(self) -> int:
        return len(self.status)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One per class."""
        return self.classes.names

    @property
    def class_colors(self) -> tuple[RGB, ...]:
        """One per class."""
        return self.classes.colors

    @property
    def activation(self) -> Activation:
        """What made the probabilities."""
        return self.classes.activation

    @property
    def corner(self) -> tuple[int, int]:
        """Where QuPath counts from, in level-0 pixels."""
        if self.bounds is None:
            return (0, 0)
        return (self.bounds.x, self.bounds.y)

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which tiles have a result, bool, (tiles,)."""
        return np.asarray(self.status == Status.DONE)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which tiles could not be read, bool, (tiles,)."""
        return np.asarray(self.status == Status.FAILED)

    @cached_property
    def called(self) -> NDArray[np.bool_]:
        """Which classes each tile is called: none, one or several, bool, (tiles, classes).

        A tile that is not done is called none.
        """
        return np.asarray(self.done[:, None] & self.classes.called(self.probabilities))

    @cached_property
    def winners(self) -> NDArray[np.int64]:
        """Index of the most probable class that each tile is called, int64, (tiles,).

        It is -1 where it is called none.
        """
        return np.where(self.done, self.classes.winners(self.probabilities), NO_CLASS)

    @property
    def none_called(self) -> NDArray[np.bool_]:
        """Which classified tiles are called no class, bool, (tiles,)."""
        return np.asarray(self.done & ~self.called.any(axis=1))

    @property
    def several_called(self) -> NDArray[np.bool_]:
        """Which tiles are called more than one class, bool, (tiles,)."""
        return np.asarray(self.called.sum(axis=1) > 1)

    @property
    def call_counts(self) -> dict[str, int]:
        """How many tiles are called none, and how many several classes; without zeros."""
        counts = {
            "none_called": int(self.none_called.sum()),
            "several_called": int(self.several_called.sum()),
        }
        return {key: count for key, count in counts.items() if count}


def _expect(name: str, array: NDArray[np.generic], shape: tuple[int, ...], dtype: str) -> None:
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise UsageError(
            f"A tile table's {name} are {array.dtype} {array.shape}, not {dtype} {shape}.",
            "Pass one row per tile and one column per class.",
        )


@dataclass(frozen=True)
class ClassSummary:
    """One class on one slide.

    Attributes
    ----------
    name, color
        The class.
    count
        Tiles that are called so. One that is called several classes counts for each of them.
    share
        ``count`` as a share of all classified tiles, 0 to 1; tiles that are called none belong to
        no class.
    mean_probability
        Mean over all classified tiles, or None where there is none. Of raw scores it is a score.
    mean_score
        The same where it is a score; None of probabilities.
    """

    name: str
    color: RGB
    count: int
    share: float
    mean_probability: float | None
    mean_score: float | None = None

    @property
    def means(self) -> dict[str, float | None]:
        """Its means by the keys of ``run.json``, which names a score only where it is one."""
        means = {"mean_probability": self.mean_probability}
        if self.mean_score is not None:
            means["mean_score"] = self.mean_score
        return means


def summarise_classes(table: TileTable) -> tuple[ClassSummary, ...]:
    """Return one row per class, in the classifier's order."""
    classified = int(table.done.sum())
    counts = table.called.sum(axis=0).tolist()
    rows: list[ClassSummary] = []
    for index, count in enumerate(counts):
        mean, score = _mean(table, index), None
        if not table.classes.are_probabilities:
            score = mean
        name, color = table.class_names[index], table.class_colors[index]
        rows.append(ClassSummary(name, color, count, count / max(classified, 1), mean, score))
    return tuple(rows)


def _mean(table: TileTable, index: int) -> float | None:
    values = table.probabilities[table.done, index]
    finite = values[np.isfinite(values)]
    if finite.size:
        return float(finite.mean(dtype=np.float64))
    return None


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A slide cut along the edges of its tiles.

    Every piece lies wholly inside a tile or outside it.

    Attributes
    ----------
    spans
        int64, (tiles, 4): first row, first column of the pieces of each tile, and one past its last
        of both.
    tissue
        float64, (rows, columns): tissue in each piece, in level-0 pixels.
    """

    spans: NDArray[np.int64]
    tissue: NDArray[np.float64]

    def area(self, tiles: NDArray[np.bool_]) -> float:
        """Return the tissue under any of some tiles, in level-0 pixels.

        ``tiles`` is bool, (tiles,).
        """
        return float(self.tissue[self.covered(tiles)].sum())

    def covered(self, tiles: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which pieces lie under any of some tiles, bool, (rows, columns).

        Each tile raises what lies right of and below its first corner by one, and takes it back at
        its other corners; running sums along both axes say then how many tiles lie over a piece.
        """
        top, left, bottom, right = self.spans[tiles].T
        rows, columns = self.tissue.shape[0] + 1, self.tissue.shape[1] + 1
        corners = np.concatenate([top * columns + left, bottom * columns + right])
        opposite = np.concatenate([top * columns + right, bottom * columns + left])
        steps = np.bincount(corners, minlength=rows * columns) - np.bincount(
            opposite, minlength=rows * columns
        )
        depth = steps.reshape(rows, columns).cumsum(axis=0).cumsum(axis=1)
        return np.asarray(depth[:-1, :-1] > 0)


def lay_mosaic(boxes: NDArray[np.int64], tissue: Foreground) -> Mosaic:
    """Cut a slide along the edges of all boxes, int64 (tiles, 4), level-0 pixels."""
    left, top, width, height = boxes.T
    columns, across = np.unique(np.concatenate([left, left + width]), return_inverse=True)
    rows, down = np.unique(np.concatenate([top, top + height]), return_inverse=True)
    count = len(boxes)
    spans = np.stack([down[:count], across[:count], down[count:], across[count:]], axis=1).astype(
        np.int64
    )
    return Mosaic(spans, _tissue_of(rows, columns, tissue))


def _tissue_of(
    rows: NDArray[np.int64], columns: NDArray[np.int64], tissue: Foreground
) -> NDArray[np.float64]:
    if not len(rows):
        return np.zeros((0, 0))
    y, x = (grid.ravel() for grid in np.meshgrid(rows[:-1], columns[:-1], indexing="ij"))
    height, width = (
        grid.ravel() for grid in np.meshgrid(np.diff(rows), np.diff(columns), indexing="ij")
    )
    share = tissue.coverage(np.stack([x, y, width, height], axis=1))
    return np.asarray((share * width * height).reshape(len(rows) - 1, len(columns) - 1))


def cells(boxes: NDArray[np.int64], steps: int | tuple[int, int]) -> NDArray[np.int64]:
    """Return the part of each tile that is its own.

    All of it, or the middle one where tiles overlap.

    Parameters
    ----------
    boxes
        int64, (tiles, 4): x, y, width, height in level-0 pixels.
    steps
        Level-0 pixels from one tile to the next, along x and y where they differ.
    """
    own = np.minimum(boxes[:, 2:], steps)
    return np.concatenate([boxes[:, :2] + (boxes[:, 2:] - own) // 2, own], axis=1)


DONE, SKIPPED, FAILED, MISSING = "done", "skipped", "failed", "missing"
"""What may become of a slice: classified, without foreground, unreadable, not in the file."""

COLUMNS = ("slice", "position_mm", "file_index", "status")
PREFIX = "prob_"
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
    """

    axis: str
    positions: NDArray[np.float64]
    file_indices: NDArray[np.int64]
    status: tuple[str, ...]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]

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
    """Write the table in one step; a slice without a result has empty probabilities."""
    with (
        replacing(path) as fresh,
        fresh.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"{PREFIX}{name}" for name in table.class_names)])
        for number, status in enumerate(table.status):
            numbers = table.probabilities[number].tolist()
            shares = [f"{value:.{DIGITS}f}" if np.isfinite(value) else "" for value in numbers]
            place = f"{table.positions[number]:.3f}"
            writer.writerow([number, place, int(table.file_indices[number]), status, *shares])


def read_slices_csv(path: Path) -> SliceTable:
    """Read a table that `write_slices_csv` wrote; UsageError if its columns are others."""
    with path.open(encoding="utf-8", newline="") as stream:
        head, *rows = [*csv.reader(stream)] or [[]]
    own, of_classes = tuple(head[: len(COLUMNS)]), head[len(COLUMNS) :]
    if own != COLUMNS or not all(name.startswith(PREFIX) for name in of_classes):
        raise UsageError(
            f"The columns are {', '.join(head)}, not those of a slices.csv.",
            "Choose a slices.csv that slidecam wrote.",
            path,
        )
    names = tuple(name.removeprefix(PREFIX) for name in of_classes)
    values = [[float(cell) if cell else np.nan for cell in row[len(COLUMNS) :]] for row in rows]
    return SliceTable(
        "",
        np.array([float(row[1]) for row in rows]),
        np.array([int(row[2]) for row in rows], np.int64),
        tuple(row[3] for row in rows),
        np.array(values, np.float32).reshape(len(rows), len(names)),
        names,
    )
