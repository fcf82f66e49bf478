"""The classified tiles of one slide, as plain arrays.

What they are unsure of, and which neighbour is the next to look at. See `slidecam.runs.legend` for
how the tissue divides among the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from slidecam.classes import NO_CLASS
from slidecam.errors import UsageError
from slidecam.store import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.classes import Activation, ClassSet
    from slidecam.geometry import Box
    from slidecam.pixels import RGB
    from slidecam.runs.run import Run


PREFIX = "prob_"
"""What stands before a class's name."""

DISAGREEMENT = "disagreement"
"""What columns and measurements of an ensemble's disagreement are called."""

DISAGREEMENT_MEANS = "0: all say the same, 1: certain of as different classes as can be"


def words_on_disagreement(share: float) -> str:
    """Return how far members disagree of one tile, in words; of a ``share`` from 0 to 1."""
    return f"members' disagreement {share:.2f} (0 to 1)"


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
    disagreement
        float32, (tiles,): how far an ensemble's members disagree, from 0 (all say the same) to 1
        (certain of as different classes as can be), by the mean divergence of their probabilities
        from their mean; NaN where a tile is not done. None of a single network.

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
    disagreement: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        tiles, classes = len(self.status), len(self.classes)
        _expect("boxes", self.boxes, (tiles, 4), "int64")
        _expect("status", self.status, (tiles,), "uint8")
        _expect("probabilities", self.probabilities, (tiles, classes), "float32")
        if self.disagreement is not None:
            _expect("disagreement", self.disagreement, (tiles,), "float32")

    def __len__(self) -> int:
        return len(self.status)

    def checked(self, threshold: float | None) -> float:
        """Return a threshold of what the classifier gives, 0 where none was said.

        UsageError if it parts nothing: no number, or of probabilities one that is none.
        """
        if threshold is None:
            return 0.0
        if self.activation == "none" and np.isfinite(threshold):
            return threshold
        if 0 <= threshold <= 1:
            return threshold
        remedy = f"Pass a {self.classes.output_word}."
        if self.activation != "none":
            remedy = "Pass a probability from 0 to 1."
        raise UsageError(f"A threshold of {threshold} parts nothing.", remedy)

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
    def values(self) -> dict[str, NDArray[np.float32]]:
        """What tables have of each tile: ``prob_<class>``, and an ensemble's `DISAGREEMENT`."""
        columns: dict[str, NDArray[np.float32]] = {}
        for place, name in enumerate(self.class_names):
            columns[PREFIX + name] = self.probabilities[:, place]
        if self.disagreement is not None:
            columns[DISAGREEMENT] = self.disagreement
        return columns

    @property
    def disagreement_words(self) -> tuple[str, ...]:
        """How far an ensemble's members disagree, in a sentence; nothing of a single network."""
        if self.disagreement is None or not self.done.any():
            return ()
        mean = float(np.nanmean(self.disagreement[self.done]))
        return (f"Its members disagree by {mean:.3f} on average ({DISAGREEMENT_MEANS}).",)

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


Doubt = Literal["entropy", "margin"]

UNDECIDED = 0.6
"""Uncertainty from which a tile is called undecided."""


def uncertainty(
    probabilities: NDArray[np.floating],
    activation: str,
    kind: Doubt = "entropy",
) -> NDArray[np.float64]:
    """Return how unsure the classifier is of each tile, from 0 (sure) to 1 (as unsure as can be).

    Parameters
    ----------
    probabilities
        (tiles, classes); a row with not-a-number gives not-a-number.
    activation
        ``softmax``: one class of all. ``sigmoid``: every class for itself; its least sure class
        counts.
    kind
        ``entropy``: Shannon's, as a share of the largest. ``margin``: 1 less the distance of the
        two largest probabilities (of a class and its absence, for a sigmoid).

    Raises
    ------
    UsageError
        If the classifier gives no probabilities, or there is no such kind.
    """
    if kind not in get_args(Doubt):
        raise UsageError(
            f"There is no uncertainty called {kind!r}.",
            f"Use one of {', '.join(get_args(Doubt))}.",
        )
    if activation not in {"softmax", "sigmoid"}:
        raise UsageError(
            "This classifier gives scores and no probabilities.",
            "Its tiles have no uncertainty.",
        )
    p = np.asarray(probabilities, np.float64)
    measure = {"entropy": _entropy, "margin": _margin}[kind]
    if activation == "softmax":
        return measure(p)
    pairs = np.stack([p, 1 - p], axis=-1).reshape(-1, 2)
    return np.asarray(measure(pairs).reshape(p.shape).max(axis=1, initial=0.0))


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    # SciPy's own takes half a second to load, which is a third of what a legend costs.
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray((0.0 - (p * logs).sum(axis=1)) / np.log(p.shape[1]))


def _margin(p: NDArray[np.float64]) -> NDArray[np.float64]:
    second, first = np.partition(p, -2, axis=1)[:, -2:].T
    return np.asarray(1 - (first - second))


def most_suspicious(run: Run, class_name: str, least: float = 0.0) -> NDArray[np.int64]:
    """Return the classified tiles in descending probability of a class.

    Tiles that are equal stay in grid order.

    Parameters
    ----------
    run
        The tiles.
    class_name
        Of the class that is looked for.
    least
        Tiles below this probability are left out.

    Returns
    -------
    ndarray
        int64, rows.

    Raises
    ------
    UsageError
        If the classifier has no such class.
    """
    values = run.tiles.probabilities[:, run.index_of(class_name)]
    rows = np.flatnonzero(run.tiles.done & np.isfinite(values) & (values >= least))
    return np.asarray(rows[np.argsort(-values[rows], kind="stable")], np.int64)


def neighbour_in(order: NDArray[np.int64], current: int | None, step: int = 1) -> int | None:
    """Return the tile so many places after ``current`` in an order.

    The last or first one where it ends.

    Parameters
    ----------
    order
        Rows, as of `most_suspicious`.
    current
        A row; one that is not in the order, or None, gives the first.
    step
        Places to go on, or back if negative.

    Returns
    -------
    int or None
        None if the order is empty.
    """
    if not len(order):
        return None
    if current is None or current not in order:
        return int(order[0])
    found = np.flatnonzero(order == current)
    return int(order[min(max(int(found[0]) + step, 0), len(order) - 1)])
