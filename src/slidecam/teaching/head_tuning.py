"""A last linear layer taught by a few labels, and held by what it knew before.

With features ``f`` (everything before the layer is frozen), old logits ``z0 = W0 f + b0``, and ``x
= (f - m) / s``, where ``m`` is the mean and ``s`` the root mean square distance from it of the
tiles that hold (or else of the labelled ones), the new logits are ``z = z0 + V x + v``, and ``V``,
``v`` make small

    N / (N + doubt) * sum_i c_i L(t_i, z_i) + hold * sum_j r_j L(p_j, z_j) / M + pull / 2 * (|V|² +
    |v|²).

- ``i`` are N labelled tiles; ``c_i`` sum to 1, evenly over the classes if they are balanced. A tile
  that the old head calls wrong has its label for a target ``t_i``; one that it calls right keeps
  the old probabilities ``p_i``: what is right is held as it is, and only what is wrong moves the
  head. Labels that the old head gets all right change nothing. The fewer labels there are, the less
  they weigh: one slip of the hand must not turn a slide over.
- ``j`` are M other tiles (rehearsal; Robins, "Catastrophic forgetting, rehearsal and
  pseudorehearsal", 1995, with the old network's outputs for targets as Li and Hoiem, "Learning
  without forgetting", 2017). ``r_j`` lets go of those that look like tiles that were called wrong,
  the more of these there are: ``(1 + sum_w exp(-(d_jw / (h / 2))²))^-2`` with the distances
  ``d_jw`` to them and the usual distance ``h`` of two tiles.
- ``L`` is cross-entropy, over all classes or, with a sigmoid, summed over one of each class and its
  absence.

The whole is convex and smooth: L-BFGS finds its one minimum, and chance has no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.distance import cdist, pdist
from scipy.special import expit, log_expit, log_softmax, softmax

from slidecam.classes import ClassSet
from slidecam.errors import DataSetError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.classes import Activation

    Array = NDArray[np.float64]

MOST_STEPS = 1000

ABSENT = -4.0
"""Logit that a new class of a sigmoid starts from everywhere: 2 %."""


@dataclass(frozen=True, eq=False)
class Head:
    """``logits = weight @ features + bias``: float64, (K, D) and (K,); without a bias, None."""

    weight: Array
    bias: Array | None

    def logits(self, features: NDArray[np.floating]) -> Array:
        """Return logits (N, K) of features (N, D)."""
        return np.asarray(
            features @ self.weight.T + (0.0 if self.bias is None else self.bias),
            np.float64,
        )

    def grown(self, more: int, activation: str) -> Head:
        """Return the head with so many new classes that it never calls.

        Of a softmax a new class's logit is the mean of the others', which is never the largest; of
        sigmoids it is `ABSENT`, whatever the tile.
        """
        if not more:
            return self
        if activation == "softmax":
            rows = self.weight.mean(axis=0)
        else:
            rows = np.zeros(self.weight.shape[1])
        weight = np.concatenate([self.weight, np.tile(rows, (more, 1))])
        if self.bias is None:
            return Head(weight, None)
        if activation == "softmax":
            start = self.bias.mean()
        else:
            start = ABSENT
        return Head(weight, np.concatenate([self.bias, np.full(more, start)]))


@dataclass(frozen=True)
class TuningSpec:
    """How a head is taught.

    Attributes
    ----------
    pull
        What a change of the head costs: half of this for each unit of squared change of a usual
        tile's logits.
    hold
        How much the tiles that hold weigh, all together, against all labels.
    doubt
        Number of labels that weigh half of what many would.
    balance
        Whether all labelled classes weigh the same, however many labels they have.
    """

    pull: float = 0.01
    hold: float = 1.0
    doubt: float = 10.0
    balance: bool = True

    def __post_init__(self) -> None:
        for name, value in (
            ("pull", self.pull),
            ("hold", self.hold),
            ("doubt", self.doubt),
        ):
            if not (np.isfinite(value) and value >= 0):
                raise UsageError(f"The {name} {value} is out of range.", "Pass a number from 0.")
        if self.pull == 0:
            raise UsageError(
                "A pull of 0 leaves nothing to hold the head by.",
                "Pass a small number, such as 0.001.",
            )


@dataclass(frozen=True, eq=False)
class LabelledEmbeddings:
    """What a head is taught.

    Attributes
    ----------
    features
        (N, D), of the labelled tiles.
    labels
        int64, (N,): places among the classes, the new ones behind; with one logit 1 for its class
        and 0 for its absence.
    rehearsed
        (M, D): features of the tiles that hold.
    activation, thresholds, biases
        The card's: what makes probabilities, and from where a class is called.
    new_classes
        How many of the last classes the old head did not know.

    Raises
    ------
    DataSetError
        If there is no label, or a feature is not finite.
    """

    features: Array
    labels: NDArray[np.int64]
    rehearsed: Array = field(default_factory=lambda: np.zeros((0, 0)))
    activation: Activation = "softmax"
    new_classes: int = 0
    thresholds: tuple[float, ...] = ()
    biases: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise DataSetError(
                "no tile has a label to learn from.",
                "Draw round some tissue, or correct some tiles.",
            )
        if not (np.isfinite(self.features).all() and np.isfinite(self.rehearsed).all()):
            raise DataSetError(
                "features of some tiles are not finite numbers.", "Check the bundle."
            )

    def part(self, rows: NDArray[np.intp]) -> LabelledEmbeddings:
        """Return the examples of some of the labels."""
        return LabelledEmbeddings(
            self.features[rows],
            self.labels[rows],
            self.rehearsed,
            self.activation,
            self.new_classes,
            self.thresholds,
            self.biases,
        )

    def called(self, logits: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the class of each tile, (N,); of one logit 1 if it is called, else 0.

        -1 where none of several is called.
        """
        names = tuple(map(str, range(logits.shape[1])))
        classes = ClassSet(names, self.activation, thresholds=self.thresholds)
        return classes.labels(classes.probabilities(logits))


def tune_head(old: Head, examples: LabelledEmbeddings, spec: TuningSpec | None = None) -> Head:
    """Return the head that labelled embeddings make of an old one.

    Parameters
    ----------
    old
        With rows for new classes (see `Head.grown`).
    examples
        Labels and what holds.
    spec
        None for the usual.
    """
    problem = _Problem.of(old, examples, spec or TuningSpec())
    if not problem.moves:
        return old
    found = minimize(
        problem.value,
        np.zeros(problem.size),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MOST_STEPS, "ftol": 1e-13},
    )
    return problem.head(found.x)


@dataclass(frozen=True, eq=False)
class _Problem:
    """What is made small, as a function of one long vector: V, then v."""

    old: Head
    x: Array
    base: Array
    targets: Array
    weights: Array
    center: Array
    scale: float
    activation: str
    pull: float
    moves: bool

    @classmethod
    def of(cls, old: Head, examples: LabelledEmbeddings, spec: TuningSpec) -> _Problem:
        usual = examples.features
        if len(examples.rehearsed) > 1:
            usual = examples.rehearsed
        # Without a bias there is nothing that a shift could go into.
        center = np.zeros(usual.shape[1])
        if old.bias is not None:
            center = usual.mean(axis=0)
        scale = float(np.sqrt(np.square(usual - center).sum(axis=1).mean())) or 1.0
        base, targets, wrong = _targets(old, examples)
        features, weights = examples.features, _label_weights(examples.labels, spec)
        if len(examples.rehearsed) and spec.hold:
            kept = _kept_probabilities(old, examples.rehearsed, examples)
            release = _release(examples.rehearsed, features[wrong])
            weights = np.concatenate([weights, spec.hold * release / len(examples.rehearsed)])
            features = np.concatenate([features, examples.rehearsed])
            base = np.concatenate([base, old.logits(examples.rehearsed)])
            targets = np.concatenate([targets, kept])
        x = (features - center) / scale
        return cls(
            old,
            x,
            base,
            targets,
            weights,
            center,
            scale,
            examples.activation,
            spec.pull,
            bool(wrong.any()),
        )

    @property
    def size(self) -> int:
        classes, length = self.old.weight.shape
        return int(classes * length + (0 if self.old.bias is None else classes))

    def value(self, vector: Array) -> tuple[float, Array]:
        """Return the value and its gradient."""
        slopes, shifts = self._split(vector)
        z = self.base + self.x @ slopes.T + shifts
        losses, errors = _cross_entropy(self.targets, z, self.activation)
        errors = errors * self.weights[:, None]
        gradient = [
            (errors.T @ self.x).ravel(),
            *([] if self.old.bias is None else [errors.sum(axis=0)]),
        ]
        value = float(self.weights @ losses) + self.pull / 2 * float(vector @ vector)
        return value, np.concatenate(gradient) + self.pull * vector

    def head(self, vector: Array) -> Head:
        """Return the head that a vector stands for."""
        slopes, shifts = self._split(vector)
        change = slopes / self.scale
        if self.old.bias is None:
            return Head(self.old.weight + change, None)
        return Head(self.old.weight + change, self.old.bias + shifts - change @ self.center)

    def _split(self, vector: Array) -> tuple[Array, Any]:
        classes, length = self.old.weight.shape
        slopes = vector[: classes * length].reshape(classes, length)
        return slopes, 0.0 if self.old.bias is None else vector[classes * length :]


def _targets(old: Head, examples: LabelledEmbeddings) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return old logits and targets of the labelled tiles, and which the old head calls wrong."""
    base = old.logits(examples.features)
    wrong = examples.called(base) != examples.labels
    single = base.shape[1] == 1
    if single:
        hard = examples.labels[:, None].astype(np.float64)
    else:
        hard = np.eye(base.shape[1])[examples.labels]
    kept = _kept_probabilities(old, examples.features, examples)
    return base, np.where(wrong[:, None], hard, kept), wrong


def _kept_probabilities(old: Head, features: Array, examples: LabelledEmbeddings) -> Array:
    """Return what the old head said before classes were added; new ones have a probability of 0."""
    logits = old.logits(features)
    known = logits.shape[1] - examples.new_classes
    kept = np.zeros_like(logits)
    if examples.activation == "softmax":
        kept[:, :known] = softmax(logits[:, :known], axis=1)
    else:
        kept[:, :known] = expit(logits[:, :known])
    return kept


def _cross_entropy(targets: Array, z: Array, activation: str) -> tuple[Array, Array]:
    """Return the loss of each tile, (N,), and its gradient with respect to the logits, (N, K)."""
    if activation == "softmax":
        log_p = log_softmax(z, axis=1)
        return -(targets * log_p).sum(axis=1), np.exp(log_p) - targets
    losses = -(targets * log_expit(z) + (1 - targets) * log_expit(-z)).sum(axis=1)
    return losses, expit(z) - targets


def _label_weights(labels: NDArray[np.int64], spec: TuningSpec) -> Array:
    """Return what each label weighs: together N / (N + doubt)."""
    weights = np.full(len(labels), 1 / len(labels))
    if spec.balance:
        counts = np.bincount(labels)
        weights = 1 / (counts[labels] * (counts > 0).sum())
    return np.asarray(weights * len(labels) / (len(labels) + spec.doubt))


def _release(rehearsed: Array, wrong: Array) -> Array:
    """Return how much each tile holds: less the more it looks like tiles that are called wrong."""
    if not len(wrong) or len(rehearsed) < 2:  # noqa: PLR2004  (two tiles have a distance)
        return np.ones(len(rehearsed))
    usual = float(np.median(pdist(rehearsed))) or 1.0
    likeness = np.exp(-np.square(cdist(rehearsed, wrong) / (usual / 2))).sum(axis=1)
    return np.asarray((1 + likeness) ** -2)
