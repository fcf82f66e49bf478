"""How volumes' slices are best pooled: every rule tried on runs whose volumes' classes are known.

A rule is chosen on volumes that the classifier has not learnt from and that will not measure it:
with few of them, on runs by classifiers of which each has left one volume out.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.class_names import classes_meant, normal_name
from slidecam.errors import DataSetError, UsageError
from slidecam.files import refuse_unnameable
from slidecam.models.card_parts import Pooling, PoolingKind
from slidecam.parsing import ParseError, rows_in
from slidecam.runs import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.classes import ClassSet

KS = (1, 2, 3, 5, 8, 13)
"""Slices of ``top-k`` that are tried."""

LEAST = 1e-6
"""What a probability counts as at least in the log loss: a rule may be sure of what is wrong."""

COLUMNS = ("run", "label")


@dataclass(frozen=True)
class KnownVolume:
    """A finished run of a volume whose class is known.

    Attributes
    ----------
    name, label
        The volume, and its class.
    probabilities
        Of its slices, float32, (slices, classes); NaN where a slice was not classified.
    classes
        Of the classifier; they exclude each other.
    """

    name: str
    label: str
    probabilities: NDArray[np.float32]
    classes: ClassSet

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classifier, in the order of its probabilities."""
        return self.classes.names


@dataclass(frozen=True)
class PoolingFigures:
    """What a rule makes of the volumes.

    Attributes
    ----------
    pooling
        The rule.
    right
        How many volumes are called what they are.
    log_loss
        Mean of -ln of the probability of each volume's own class.
    called
        What each volume is called, and how likely that is.
    """

    pooling: Pooling
    right: int
    log_loss: float
    called: dict[str, tuple[str, float]]

    def wrong(self, volumes: Sequence[KnownVolume]) -> list[str]:
        """Return which of these volumes are called something else, in words."""
        words = []
        for (name, (called, share)), volume in zip(self.called.items(), volumes, strict=True):
            if called != volume.label:
                words.append(f"{name} is called {called} ({share:.2f})")
        return words

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**asdict(self), "words": str(self.pooling)}


def read_known_volumes(table: Path) -> list[KnownVolume]:
    """Return the runs that a table lists, ``run,label``; folders are relative to its own.

    Raises
    ------
    DataSetError
        If it has other columns, no line, a run without slices, or a label that is no class.
    UsageError, StoreError
        If a run cannot be read.
    """
    try:
        columns, lines = rows_in(table)
    except (OSError, ParseError) as error:
        problem = f"this is no table of text: {error}."
        raise DataSetError(problem, "Save it as CSV in UTF-8.", table) from error
    if set(COLUMNS) - set(columns):
        raise DataSetError(
            "the table does not say which run is of what.",
            "Its first line names the columns run and label.",
            table,
        )
    known = [_known(table.parent / line["run"], line["label"]) for line in lines]
    if not known:
        raise DataSetError("the table lists no run.", "Write a line for each volume.", table)
    if len({volume.class_names for volume in known}) > 1:
        raise DataSetError(
            "these runs are of classifiers with different classes.",
            "Compare runs of one recipe.",
            table,
        )
    return known


def _known(folder: Path, label: str) -> KnownVolume:
    refuse_unnameable(folder)
    run = Run.open(folder)
    slices, classes = run.slices, run.tiles.classes
    if slices is None:
        raise DataSetError("this is no finished run of a volume.", "Name one of a volume.", folder)
    if not slices.done.any():
        remedy = "Take it out of the table, or repeat predict with --min-tissue 0."
        raise DataSetError("no slice of this run was classified.", remedy, folder)
    if classes.activation != "softmax":
        raise UsageError(
            "Its classes do not exclude each other: no rule calls one of them.",
            "Name runs of a classifier with softmax.",
            folder,
        )
    label = normal_name(label.strip())
    if label not in slices.class_names:
        remedy = f"Write one of {', '.join(slices.class_names)}."
        raise DataSetError(f"there is no class {label!r}.", remedy, folder)
    return KnownVolume(folder.name, label, slices.probabilities, classes)


def compare_poolings(
    volumes: Sequence[KnownVolume],
    negative: str = "",
    ks: Sequence[int] = KS,
) -> list[PoolingFigures]:
    """Return what every rule makes of volumes, the best first.

    Most volumes right is best, then the lowest log loss.

    Parameters
    ----------
    volumes
        One at least.
    negative
        The class that says that nothing is there; see `Pooling`.
    ks
        Slices of ``top-k`` to try.

    Raises
    ------
    UsageError
        If ``negative`` is no class of theirs.
    """
    names = volumes[0].class_names
    negative = normal_name(negative)
    if negative and negative not in names:
        raise UsageError(f"There is no class {negative!r}.", classes_meant(negative, names))
    tried = [_figures(pooling, volumes) for pooling in _poolings(negative, ks)]
    return sorted(tried, key=lambda found: (-found.right, found.log_loss))


def _poolings(negative: str, ks: Sequence[int]) -> Iterator[Pooling]:
    kinds: tuple[PoolingKind, ...] = ("mean", "max", "noisy-or")
    for kind in kinds:
        yield Pooling(kind, negative=negative)
    for k in ks:
        if k > 1:  # one slice is ``max``
            yield Pooling("top-k", k, negative)


def _figures(pooling: Pooling, volumes: Sequence[KnownVolume]) -> PoolingFigures:
    called: dict[str, tuple[str, float]] = {}
    right, losses = 0, []
    for number, volume in enumerate(volumes, 1):
        pooled = pooling.pool(volume.probabilities, volume.class_names, exclusive=True)
        name = volume.classes.call(pooled.tolist())  # by the card's biases, as predict calls it
        right += name == volume.label
        own = float(pooled[volume.class_names.index(volume.label)])
        losses.append(-math.log(max(own, LEAST)))
        called[f"{number} {volume.name}"] = (name, round(_share_of(pooled, volume), 4))
    return PoolingFigures(pooling, right, float(np.mean(losses)), called)


def _share_of(pooled: NDArray[np.float64], volume: KnownVolume) -> float:
    """Return how likely a volume is what it is called."""
    return float(pooled[volume.classes.foremost(pooled.tolist())])
