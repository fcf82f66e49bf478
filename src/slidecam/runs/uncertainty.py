"""How unsure a classifier is of each tile, and in which order a person should look at tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy.special import entr

from slidecam.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.runs.run import Run

Doubt = Literal["entropy", "margin"]

UNDECIDED = 0.6
"""Uncertainty from which a tile is called undecided."""


def uncertainty(
    probabilities: NDArray[np.floating], activation: str, kind: Doubt = "entropy"
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
    return np.asarray(entr(p).sum(axis=1) / np.log(p.shape[1]))


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
