"""A taught head is the minimum that the equations say, and what was right stays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize

from slidecam.errors import DataSetError, UsageError
from slidecam.teaching.head_tuning import Head, LabelledEmbeddings, TuningSpec, _Problem, tune_head
from tile_tables import called

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.classes import Activation

    Array = NDArray[np.float64]

RNG = np.random.default_rng


def some_head(classes: int, length: int, seed: int = 0, *, bias: bool = True) -> Head:
    rng = RNG(seed)
    return Head(rng.normal(size=(classes, length)), rng.normal(size=classes) if bias else None)


def some_examples(
    count: int, length: int, classes: int, activation: Activation, new: int = 0
) -> LabelledEmbeddings:
    rng = RNG(count)
    labels = rng.integers(0, max(classes, 2), count)
    return LabelledEmbeddings(
        rng.normal(size=(count, length)), labels, rng.normal(size=(7, length)) + 1, activation, new
    )


def activated(logits: list[float], activation: str) -> list[float]:
    if activation == "sigmoid":
        return [1 / (1 + math.exp(-z)) for z in logits]
    total = sum(math.exp(z) for z in logits)
    return [math.exp(z) / total for z in logits]


def loss(target: list[float], logits: list[float], activation: str) -> float:
    p = activated(logits, activation)
    if activation == "softmax":
        return -sum(t * math.log(q) for t, q in zip(target, p, strict=True))
    return -sum(t * math.log(q) + (1 - t) * math.log(1 - q) for t, q in zip(target, p, strict=True))


def slowly(old: Head, examples: LabelledEmbeddings, spec: TuningSpec) -> Head:
    """Follow the module's equations tile by tile.

    Another method finds the minimum, without a gradient.
    """
    classes, length = old.weight.shape
    mean = examples.rehearsed.mean(axis=0) if old.bias is not None else np.zeros(length)
    scale = math.sqrt(np.mean([((f - mean) ** 2).sum() for f in examples.rehearsed]))
    before = [row.tolist() for row in old.logits(examples.features)]
    known = classes - examples.new_classes

    def held(logits: list[float]) -> list[float]:
        return activated(logits[:known], examples.activation) + [0.0] * examples.new_classes

    def right(logits: list[float], label: int) -> bool:
        return (logits[0] >= 0) == bool(label) if classes == 1 else max(logits) == logits[label]

    hard = [
        [float(label)] if classes == 1 else [float(k == label) for k in range(classes)]
        for label in examples.labels
    ]
    good = [right(z, int(label)) for z, label in zip(before, examples.labels, strict=True)]
    targets = [held(z) if ok else t for z, ok, t in zip(before, good, hard, strict=True)]
    counts = {
        label: int((examples.labels == label).sum()) for label in set(examples.labels.tolist())
    }
    trust = len(good) / (len(good) + spec.doubt)
    weights = [trust / (counts[label] * len(counts)) for label in examples.labels.tolist()]
    pairs = [
        np.linalg.norm(a - b)
        for i, a in enumerate(examples.rehearsed)
        for b in examples.rehearsed[:i]
    ]
    bad = [f for f, ok in zip(examples.features, good, strict=True) if not ok]

    def value(vector: Array) -> float:
        slopes = vector[: classes * length].reshape(classes, length)
        shifts = vector[classes * length :] if old.bias is not None else np.zeros(classes)
        total = 0.0
        for features, target, weight in zip(examples.features, targets, weights, strict=True):
            z = old.logits(features[None])[0] + slopes @ ((features - mean) / scale) + shifts
            total += weight * loss(target, z.tolist(), examples.activation)
        for features in examples.rehearsed:
            z = old.logits(features[None])[0] + slopes @ ((features - mean) / scale) + shifts
            alike = [
                math.exp(-((np.linalg.norm(features - f) / (np.median(pairs) / 2)) ** 2))
                for f in bad
            ]
            release = 1 / (1 + sum(alike)) ** 2
            target = held(old.logits(features[None])[0].tolist())
            total += (
                spec.hold
                * release
                * loss(target, z.tolist(), examples.activation)
                / len(examples.rehearsed)
            )
        return total + spec.pull / 2 * float((vector**2).sum())

    size = classes * length + (classes if old.bias is not None else 0)
    found = minimize(value, np.zeros(size), method="BFGS", options={"gtol": 1e-6}).x
    slopes = found[: classes * length].reshape(classes, length) / scale
    if old.bias is None:
        return Head(old.weight + slopes, None)
    return Head(old.weight + slopes, old.bias + found[classes * length :] - slopes @ mean)


CASES = [
    (3, "softmax", 0, True),
    (3, "softmax", 1, True),
    (1, "sigmoid", 0, True),
    (2, "sigmoid", 1, True),
]


@pytest.mark.parametrize(
    ("classes", "activation", "new", "bias"), [*CASES, (2, "softmax", 0, False)]
)
def test_the_head_is_the_minimum_of_the_equations(
    classes: int,
    activation: Activation,
    new: int,
    bias: bool,  # noqa: FBT001
) -> None:
    old = some_head(classes - new, 2, bias=bias).grown(new, activation)
    examples, spec = (
        some_examples(9, 2, classes, activation, new),
        TuningSpec(pull=0.05, hold=0.7, doubt=4),
    )
    expected, found = slowly(old, examples, spec), tune_head(old, examples, spec)
    np.testing.assert_allclose(found.weight, expected.weight, atol=2e-3)
    if bias:
        assert found.bias is not None
        assert expected.bias is not None
        np.testing.assert_allclose(found.bias, expected.bias, atol=2e-3)


@pytest.mark.parametrize(("classes", "activation", "new", "bias"), CASES)
def test_the_gradient_is_that_of_the_value(
    classes: int,
    activation: Activation,
    new: int,
    bias: bool,  # noqa: FBT001
) -> None:
    old = some_head(classes - new, 4, bias=bias).grown(new, activation)
    problem = _Problem.of(old, some_examples(12, 4, classes, activation, new), TuningSpec())
    for seed in range(3):
        vector = RNG(seed).normal(size=problem.size)
        assert (
            check_grad(lambda v: problem.value(v)[0], lambda v: problem.value(v)[1], vector) < 1e-5
        )


def test_labels_that_the_head_gets_right_change_nothing() -> None:
    old = some_head(3, 5)
    features = RNG(1).normal(size=(30, 5))
    examples = LabelledEmbeddings(features, called(old.logits(features)), features + 1)
    assert tune_head(old, examples) is old


def clustered() -> tuple[Head, Array, NDArray[np.int64]]:
    """Return a head that is blind for class 2, features of three classes, and the truth."""
    rng = RNG(0)
    centers = 4 * np.eye(3, 6)
    truth = rng.integers(0, 3, 300)
    features = centers[truth] + rng.normal(size=(300, 6)) / 2
    return Head(centers.copy(), np.array([0.0, 0.0, -18.0])), features, truth


def test_what_is_wrong_is_mended_and_the_rest_is_held() -> None:
    old, features, truth = clustered()
    before = called(old.logits(features))
    wrong = np.flatnonzero((before != truth) & (truth == 2))[:10]
    examples = LabelledEmbeddings(features[wrong], truth[wrong], features[200:])
    after = called(tune_head(old, examples).logits(features))
    assert (before == truth).mean() < 0.85
    assert (after == truth).mean() > 0.9


def test_one_slip_of_the_hand_does_not_turn_the_rest_over() -> None:
    _blind, features, truth = clustered()
    old = Head(4 * np.eye(3, 6), np.zeros(3))
    examples = LabelledEmbeddings(features[:1], (truth[:1] + 1) % 3, features[200:])
    after = called(tune_head(old, examples).logits(features))
    assert (after == truth).mean() > 0.9


def test_a_harder_pull_moves_less() -> None:
    old, examples = some_head(3, 4), some_examples(20, 4, 3, "softmax")
    moved = [
        float(np.abs(tune_head(old, examples, TuningSpec(pull=pull)).weight - old.weight).max())
        for pull in (0.001, 0.1, 10)
    ]
    assert moved[0] > 2 * moved[1] > 4 * moved[2] > 0


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_new_class_is_called_nowhere_before_it_is_taught(activation: str) -> None:
    old = some_head(3, 5)
    features = RNG(2).normal(size=(500, 5))
    grown = old.grown(2, activation)
    np.testing.assert_array_equal(grown.logits(features)[:, :3], old.logits(features))
    if activation == "softmax":
        assert called(grown.logits(features)).max() == 2
    else:
        assert (grown.logits(features)[:, 3:] < -3).all()


def test_balanced_classes_weigh_the_same_however_many_labels_they_have() -> None:
    old = Head(np.zeros((2, 1)), np.array([0.0, 1.0]))
    features = np.array([[0.0]] * 9 + [[0.0]])
    examples = LabelledEmbeddings(features, np.array([0] * 9 + [1]), np.array([[0.0], [1.0]]))
    even, uneven = (
        tune_head(old, examples, TuningSpec(hold=0, balance=balance)) for balance in (True, False)
    )
    assert uneven.logits(features)[0] @ [1, -1] > even.logits(features)[0] @ [1, -1]


def test_nothing_to_learn_and_what_is_not_finite_are_refused() -> None:
    with pytest.raises(DataSetError, match="No tile has a label"):
        LabelledEmbeddings(np.zeros((0, 2)), np.zeros(0, np.int64))
    with pytest.raises(DataSetError, match="not finite"):
        LabelledEmbeddings(np.array([[np.nan]]), np.array([0]))
    with pytest.raises(UsageError, match="pull of 0"):
        TuningSpec(pull=0)
    with pytest.raises(UsageError, match="out of range"):
        TuningSpec(hold=float("nan"))
