"""Figures are scikit-learn's and imbalanced-learn's.

What cannot be computed is nothing, with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from imblearn.metrics import classification_report_imbalanced, geometric_mean_score
from sklearn import metrics as sk

from slidecam.errors import DataSetError
from slidecam.learning.metrics import CLASS_DEFINITIONS, DEFINITIONS, measure
from slidecam.learning.resampling import Resampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

TWO = ("benign", "malignant")


def simulated(seed: int, count: int, classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels and probabilities of a classifier that is often right.

    Classes are unevenly frequent.
    """
    rng = np.random.default_rng(seed)
    shares = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    labels = np.concatenate([np.arange(classes), rng.choice(classes, count - classes, p=shares)])
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), labels] += 1
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def hand_made() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return 40 true positives, 10 false negatives, 5 false positives and 45 true negatives."""
    labels = np.repeat([1, 1, 0, 0], [40, 10, 5, 45])
    called = np.repeat([1, 0, 1, 0], [40, 10, 5, 45])
    return labels, np.where(called[:, None] == np.arange(2), 0.9, 0.1)


def test_a_two_by_two_table_gives_the_figures_computed_by_hand() -> None:
    found = measure(*hand_made(), TWO)
    expected = {
        "accuracy": 0.85,
        "balanced accuracy": 0.85,
        "kappa": 0.7,
        "G-mean": 0.72**0.5,
        "IBA": (1.01 * 0.72 + 0.99 * 0.72) / 2,
        "macro F1": (2 * 40 / 95 + 2 * 45 / 105) / 2,
        "Brier": 0.85 * 2 * 0.1**2 + 0.15 * 2 * 0.9**2,
        "NLL": -0.85 * np.log(0.9) - 0.15 * np.log(0.1),
        "ECE": 0.05,
    }
    assert {name: found.figures[name] for name in expected} == pytest.approx(expected)
    assert found.per_class["malignant"] == pytest.approx(
        {"precision": 40 / 45, "sensitivity": 0.8, "specificity": 0.9, "F1": 80 / 95, "AUC": 0.85}
    )
    assert found.confusion.tolist() == [[45, 5], [10, 40]]
    assert found.support == {"benign": 50, "malignant": 50}
    assert not found.notes


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_every_figure_is_the_libraries_own(seed: int, classes: int) -> None:
    labels, probabilities = simulated(seed, 60, classes)
    called = probabilities.argmax(axis=1)
    names = [f"class {index}" for index in range(classes)]
    report = classification_report_imbalanced(
        labels, called, target_names=names, output_dict=True, zero_division=0
    )
    found = measure(labels, probabilities, names)
    scores = probabilities[:, 1] if classes == 2 else probabilities
    expected = {
        "accuracy": sk.accuracy_score(labels, called),
        "balanced accuracy": sk.balanced_accuracy_score(labels, called),
        "macro F1": sk.f1_score(labels, called, average="macro"),
        "weighted F1": sk.f1_score(labels, called, average="weighted"),
        "kappa": sk.cohen_kappa_score(labels, called),
        "macro AUC": sk.roc_auc_score(labels, scores, multi_class="ovr", average="macro"),
        "G-mean": geometric_mean_score(labels, called),
        "IBA": report["avg_iba"],
        "NLL": sk.log_loss(labels, probabilities),
        "Brier": np.mean(np.sum((probabilities - np.eye(classes)[labels]) ** 2, axis=1)),
    }
    assert {name: found.figures[name] for name in expected} == pytest.approx(expected)
    for name in names:
        expected = {"precision": "pre", "sensitivity": "rec", "specificity": "spe", "F1": "f1"}
        expected = {figure: report[name][key] for figure, key in expected.items()}
        assert {figure: found.per_class[name][figure] for figure in expected} == pytest.approx(
            expected
        )


def test_the_two_readings_of_iba_differ_and_ours_is_the_reports() -> None:
    labels, probabilities = simulated(1, 80, 3)
    called = probabilities.argmax(axis=1)
    mine = measure(labels, probabilities, "abc").figures["IBA"]
    g_mean = geometric_mean_score(labels, called)
    assert mine is not None
    assert abs(mine - g_mean**2) > 0.01
    assert "avg_iba" in DEFINITIONS["IBA"]


def test_a_missed_class_makes_the_g_mean_zero() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    probabilities = np.eye(3)[[0, 0, 1, 1, 1, 1]] * 0.8 + 0.2 / 3
    found = measure(labels, probabilities, "abc")
    assert found.figures["G-mean"] == 0
    assert found.per_class["c"]["precision"] is None
    assert found.notes["precision of c"] == "no picture was called so"


def test_a_class_without_pictures_is_left_out_of_the_means_and_a_note_says_so() -> None:
    labels, probabilities = simulated(2, 40, 2)
    with_third = np.concatenate([probabilities * 0.9, np.full((40, 1), 0.1)], axis=1)
    found = measure(labels, with_third, ("a", "b", "rare"))
    plain = measure(labels, probabilities, "ab")
    for name in (
        "accuracy",
        "balanced accuracy",
        "macro F1",
        "weighted F1",
        "kappa",
        "G-mean",
        "IBA",
    ):
        assert found.figures[name] == pytest.approx(plain.figures[name]), name
    assert "rare" in found.notes["macro AUC"]
    assert found.per_class["rare"] == dict.fromkeys(CLASS_DEFINITIONS) | {"specificity": 1.0}


def test_wrong_calls_of_a_class_without_pictures_count_against_the_others() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.eye(3)[[0, 2, 1, 1]]
    assert measure(labels, probabilities, "abc").figures["balanced accuracy"] == 0.75


def test_one_class_only_has_an_accuracy_and_no_figure_that_needs_two() -> None:
    labels = np.zeros(10, np.int64)
    probabilities = np.full((10, 2), [0.8, 0.2])
    found = measure(labels, probabilities, TWO)
    assert found.figures["accuracy"] == 1
    for name in ("kappa", "macro AUC", "IBA"):
        assert found.figures[name] is None
        assert found.notes[name] == "all pictures are of one class"
    assert found.per_class["benign"]["specificity"] is None
    assert found.per_class["malignant"]["sensitivity"] is None


def test_a_single_picture_has_figures() -> None:
    found = measure(np.array([1]), np.array([[0.3, 0.7]]), TWO)
    assert found.figures["accuracy"] == 1
    assert found.figures["ECE"] == pytest.approx(0.3)


def test_scores_that_are_no_probabilities_have_an_area_and_no_calibration() -> None:
    labels, probabilities = simulated(3, 50, 3)
    scores = 5 * np.log(probabilities)
    found, plain = measure(labels, scores, "abc"), measure(labels, probabilities, "abc")
    assert found.per_class["a"]["AUC"] == plain.per_class["a"]["AUC"]
    assert found.figures["accuracy"] == plain.figures["accuracy"]
    for name in ("ECE", "NLL", "Brier"):
        assert found.figures[name] is None
        assert "sum to one" in found.notes[name]


def test_certainty_that_is_wrong_has_a_large_and_finite_loss() -> None:
    nll = measure(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]), TWO).figures["NLL"]
    assert nll is not None
    assert 300 < nll < 400


def test_names_of_figures_are_those_that_are_defined() -> None:
    found = measure(*hand_made(), TWO)
    assert list(found.figures) == list(DEFINITIONS)
    assert all(list(figures) == list(CLASS_DEFINITIONS) for figures in found.per_class.values())


@pytest.mark.parametrize(
    ("labels", "probabilities", "names", "problem"),
    [
        ([], np.zeros((0, 2)), TWO, "no predictions"),
        ([0, 1], np.full((3, 2), 0.5), TWO, "do not fit"),
        ([0, 1], np.full((2, 1), 0.5), ("one",), "do not fit"),
        ([0, 2], np.full((2, 2), 0.5), TWO, "from 0 to 2"),
        ([0, -1], np.full((2, 2), 0.5), TWO, "from -1"),
        ([0, 1], np.full((2, 2), np.nan), TWO, "not a finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    labels: list[int], probabilities: NDArray[np.float64], names: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(DataSetError, match=problem):
        measure(np.array(labels, np.int64), probabilities, names)


def test_what_is_called_none_is_wrong_as_scikit_learn_counts_a_class_of_its_own() -> None:
    rng = np.random.default_rng(11)
    labels, values = rng.integers(0, 3, 61), rng.uniform(size=(61, 3))
    called = np.where(values.max(axis=1) < 0.62, -1, values.argmax(axis=1))
    assert (called < 0).sum() > 5
    found = measure(labels, values, "abc", called)
    assert found.figures["accuracy"] == pytest.approx((called == labels).mean())
    assert found.figures["kappa"] == pytest.approx(sk.cohen_kappa_score(labels, called))
    assert found.figures["balanced accuracy"] == pytest.approx(
        np.mean([(called[labels == index] == index).mean() for index in range(3)])
    )
    assert found.confusion.sum() == (called >= 0).sum()
    one = Resampler(labels, values, called).figures(np.ones((1, len(labels))))
    for name in ("accuracy", "balanced accuracy", "macro F1", "weighted F1", "kappa"):
        assert one.figures[name][0] == pytest.approx(found.figures[name]), name
    for name in ("precision", "sensitivity", "specificity", "F1"):
        mine = [found.per_class[each][name] for each in "abc"]
        assert one.per_class[name][0].tolist() == pytest.approx(mine), name
