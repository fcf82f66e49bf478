"""Which tiles a person should label next.

Those that the classifier is least sure of, and not ten of one kind.

Tiles are taken one by one. The value of a tile is its uncertainty times how little it is like any
tile that is taken or labelled already: ``u_i * (1 - max_j n_ij)``, where the likeness of two tiles
is the larger of how near they lie, ``exp(-(distance / reach)²)``, and how alike they look, ``looks
* exp(-(distance of features / usual distance)²)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slidecam.classes import NO_CLASS
from slidecam.errors import UsageError
from slidecam.geometry import Box
from slidecam.registry import deferred
from slidecam.runs import uncertainty

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray
    from scipy.spatial import distance

    from slidecam.runs import Run
    from slidecam.runs.tiles import Doubt

    Array = NDArray[np.float64]
else:
    distance = deferred("scipy.spatial.distance")

SAMPLE = 512
"""Tiles among which the usual distance of looks is found."""


@dataclass(frozen=True)
class SuggestionSpec:
    """How tiles are chosen.

    Attributes
    ----------
    kind
        Of uncertainty.
    reach
        How far a label speaks for what lies around it, in edges of a tile; in a volume a plane
        counts as one.
    looks
        How much looking alike counts, beside lying near: from 0, not at all, to 1, as much.
    seed
        Decides which of two tiles of equal value comes first.
    """

    kind: Doubt = "entropy"
    reach: float = 3.0
    looks: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.reach > 0 and 0 <= self.looks <= 1):
            raise UsageError(
                f"reach {self.reach} and looks {self.looks} are out of range.",
                "Pass reach above 0, looks from 0 to 1.",
            )


@dataclass(frozen=True)
class Suggestion:
    """A tile to label.

    Attributes
    ----------
    row, box
        Which tile, and its place.
    uncertainty
        From 0 to 1.
    classes
        The two most probable ones; of a single output its class and its absence.
    plane
        The slice of a volume that it lies on, as in ``slices.csv``; None on a slide.
    """

    row: int
    box: Box
    uncertainty: float
    classes: tuple[str, str]
    plane: int | None = None


def suggest(
    run: Run,
    count: int = 20,
    exclude: Collection[int] = (),
    spec: SuggestionSpec | None = None,
    features: NDArray[np.floating] | None = None,
) -> tuple[Suggestion, ...]:
    """Return tiles to label next, the most worthwhile first.

    Parameters
    ----------
    run
        The tiles; those that are not classified are left out.
    count
        How many at most.
    exclude
        Rows that are labelled already; what is like them is worth less.
    spec
        None for the usual.
    features
        (tiles, D), how tiles look; None for their logits.

    Raises
    ------
    UsageError
        If the classifier gives no probabilities, or ``count`` is below 1.
    """
    spec = spec or SuggestionSpec()
    if count < 1:
        raise UsageError(f"{count} tiles are none to suggest.", "Pass 1 or more.")
    unsure = uncertainty(run.tiles.probabilities, run.tiles.activation, spec.kind)
    looks = run.logits if features is None else np.asarray(features)
    known = run.tiles.done & np.isfinite(unsure) & np.isfinite(looks).all(axis=1)
    rows = np.random.default_rng(spec.seed).permutation(np.flatnonzero(known))
    field = _Field.of(run, looks.astype(np.float64), rows, spec)
    taken = np.isin(rows, np.array(sorted(exclude), np.int64))
    chosen = []
    for place in np.flatnonzero(taken):
        field.take(int(place))
    for _round in range(min(count, int((~taken).sum()))):
        value = np.where(taken, -1.0, unsure[rows] * (1 - field.likeness))
        best = int(value.argmax())
        taken[best] = True
        field.take(best)
        chosen.append(int(rows[best]))
    return tuple(_suggestion(run, row, float(unsure[row])) for row in chosen)


@dataclass(frozen=True, eq=False)
class _Field:
    """How like any taken tile each tile is, so far; ``likeness`` is (candidates,), and grows."""

    centers: Array
    features: Array
    usual: float
    spec: SuggestionSpec
    likeness: Array

    @classmethod
    def of(cls, run: Run, looks: Array, rows: NDArray[np.int64], spec: SuggestionSpec) -> _Field:
        boxes = run.tiles.boxes[rows].astype(np.float64)
        centers = (boxes[:, :2] + boxes[:, 2:] / 2) / np.maximum(boxes[:, 2:], 1)
        if run.planes is not None:
            centers = np.concatenate([centers, run.planes[rows, None]], axis=1)
        features = looks[rows]
        some = features[:SAMPLE]  # the rows are in an order by chance
        far = distance.pdist(some)
        usual = float(np.median(far[far > 0])) if (far > 0).any() else 1.0
        return cls(centers, features, usual, spec, np.zeros(len(rows)))

    def take(self, place: int) -> None:
        """Note that a tile is taken."""
        near = np.exp(
            -np.square(self.centers - self.centers[place]).sum(axis=1) / self.spec.reach**2
        )
        far = np.square(self.features - self.features[place]).sum(axis=1)
        alike = self.spec.looks * np.exp(-far / self.usual**2)
        np.maximum(self.likeness, np.maximum(near, alike), out=self.likeness)


def _suggestion(run: Run, row: int, unsure: float) -> Suggestion:
    names, values = run.tiles.class_names, run.tiles.probabilities[row]
    if len(names) == 1:
        classes = (names[0], f"not {names[0]}")
        if run.tiles.winners[row] == NO_CLASS:
            classes = (classes[1], classes[0])
    else:
        first, second = np.argsort(-values, kind="stable")[:2].tolist()
        classes = (names[first], names[second])
    plane = None
    if run.planes is not None:
        plane = int(run.planes[row])
    return Suggestion(row, Box(*run.tiles.boxes[row].tolist()), unsure, classes, plane)
