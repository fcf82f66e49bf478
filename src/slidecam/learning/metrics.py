"""Figures of a classifier on labelled pictures, as scikit-learn and imbalanced-learn define them.

`DEFINITIONS` says what a figure means; one that cannot be computed is None, and a note has the
reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slidecam.errors import DataSetError
from slidecam.extras import brought, need
from slidecam.learning.calibration import BINS, reliability_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imblearn import metrics as imbalanced
    from sklearn import metrics
else:
    # Two seconds to load, and who shows a card needs the figures' meanings alone.
    imbalanced = brought("imblearn.metrics", "train")
    metrics = brought("sklearn.metrics", "train")


Labels = NDArray[np.int64]
Scores = NDArray[np.floating]

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "share of pictures whose most probable class is the true one",
        "balanced accuracy": "mean sensitivity of the classes",
        "macro F1": "mean F1 of the classes",
        "weighted F1": "mean F1 of the classes, weighted by their number of pictures",
        "weighted precision": "mean precision of the classes, weighted by their pictures",
        "weighted recall": (
            "mean sensitivity of the classes, weighted by their pictures: the accuracy, where every"
            " picture is called something"
        ),
        "kappa": "Cohen's kappa: agreement beyond chance, unweighted",
        "macro AUC": "mean area under the classes' ROC curves, each against the rest",
        "G-mean": "geometric mean of the classes' sensitivities (imbalanced-learn, multiclass)",
        "IBA": (
            "index of balanced accuracy of each class's squared G-mean against the rest, alpha 0.1,"
            " weighted by the classes' number of pictures (imbalanced-learn's report: avg_iba)"
        ),
        "ECE": (
            f"expected calibration error of the most probable class, {BINS} bins of equal width;"
            " lower is better"
        ),
        "NLL": "negative log-likelihood, nats per picture; lower is better",
        "Brier": (
            "sum over classes of squared errors of the probabilities, 0 to 2, per picture; lower is"
            " better"
        ),
    }
)
"""Every figure by its name, which stays, and what it is."""

CLASS_DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "precision": "share of the pictures called so that are so",
        "sensitivity": "share of the pictures that are so that are called so; recall",
        "specificity": "share of the other pictures that are not called so",
        "F1": "harmonic mean of precision and sensitivity",
        "AUC": "area under the ROC curve, against the rest",
    }
)
"""Every figure of one class, and what it is."""

NO_DISTRIBUTIONS = "the outputs are no probabilities that sum to one"
"""Why there are no figures of calibration."""

IBA_ALPHA = 0.1
"""Weight of the dominance in the index of balanced accuracy.

Imbalanced-learn's, and García et al.'s (2012).
"""


@dataclass(frozen=True, eq=False)
class Metrics:
    """Figures of one set of predictions.

    Attributes
    ----------
    figures
        By the names in `DEFINITIONS`; None where there is no such figure.
    per_class
        By class name, then by the names in `CLASS_DEFINITIONS`.
    support
        Pictures of each class, by class name.
    confusion
        Counts, (K, K): a row for each true class, a column for each predicted one.
    notes
        Why a figure is None, or what it leaves out; by the figure's name, for one of a class ``"AUC
        of glioma"``.
    """

    figures: Mapping[str, float | None]
    per_class: Mapping[str, Mapping[str, float | None]]
    support: Mapping[str, int]
    confusion: NDArray[np.int64]
    notes: Mapping[str, str]


def measure(
    labels: Labels,
    probabilities: Scores,
    class_names: Sequence[str],
    predicted: NDArray[np.int64] | None = None,
    *,
    distributions: bool = True,
) -> Metrics:
    """Return all figures of predictions.

    Parameters
    ----------
    labels
        True classes, (N,), 0 to K - 1.
    probabilities
        (N, K), K at least 2. What does not sum to one (sigmoids, scores) has no calibration
        figures.
    class_names
        K names.
    predicted
        What each is called, (N,), -1 for none: wrong, and in no column of the confusion. None for
        the most probable class.
    distributions
        False for outputs that are no distributions over the classes (raw scores, several sigmoids),
        whatever their numbers happen to sum to: they have no calibration figures.

    Returns
    -------
    Metrics
        Means over classes leave out the classes without pictures, and a note says so.

    Raises
    ------
    DataSetError
        If there are no predictions or their shapes do not fit each other.
    """
    check_shapes(labels, probabilities, class_names)
    present = classes_present(labels, len(class_names))
    called = called_or_largest(probabilities, predicted)
    notes: dict[str, str] = {}
    per_class = _per_class((labels, called), probabilities, class_names, notes)
    figures = {
        **_decision_figures(labels, called, present, notes),
        "macro AUC": _macro_auc(per_class),
        **_probability_figures(labels, probabilities, notes, distributions=distributions),
    }
    _note_absent(class_names, present, figures, notes)
    counts = np.bincount(labels, minlength=len(class_names)).tolist()
    return Metrics(
        figures={name: figures[name] for name in DEFINITIONS},
        per_class=per_class,
        support=dict(zip(class_names, counts, strict=True)),
        confusion=metrics.confusion_matrix(labels, called, labels=range(len(class_names))),
        notes=notes,
    )


def check_measures() -> None:
    """Refuse to begin what ends with figures, where what computes them is not installed.

    UsageError then.
    """
    need("train", "scikit-learn", "imbalanced-learn")


def roc_points(
    is_class: NDArray[np.bool_], scores: Scores
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points of a class's ROC curve: rates of false and of true positives, (points,)."""
    false, true, _thresholds = metrics.roc_curve(is_class, scores)
    return false, true


def called_or_largest(
    probabilities: Scores,
    predicted: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """Return what each row of ``probabilities`` (N, K) is called, (N,): the largest if not said."""
    if predicted is None:
        predicted = probabilities.argmax(axis=1)
    return np.asarray(predicted, np.int64)


def check_shapes(
    labels: Labels,
    probabilities: Scores,
    class_names: Sequence[str],
) -> None:
    """Refuse what cannot be measured; DataSetError says why."""
    remedy = "Give labels (N,), probabilities (N, K) and K class names, K at least 2."
    if not len(labels):
        raise DataSetError(
            "there are no predictions to measure.",
            "Name a folder or a table with pictures.",
        )
    if probabilities.shape != (len(labels), len(class_names)) or len(class_names) < 2:  # noqa: PLR2004  (two classes)
        found = f"{labels.shape}, {probabilities.shape} and {len(class_names)} names"
        raise DataSetError(
            f"labels, probabilities and class names do not fit each other: {found}.",
            remedy,
        )
    if not np.isfinite(probabilities).all():
        raise DataSetError(
            "a probability is not a finite number.",
            "Leave such pictures out, and say so.",
        )
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise DataSetError(f"labels go from {labels.min()} to {labels.max()}.", remedy)


def classes_present(labels: Labels, classes: int) -> NDArray[np.intp]:
    """Return the classes of which there is a picture."""
    return np.flatnonzero(np.bincount(labels, minlength=classes))


def are_probabilities(values: Scores, tolerance: float = 1e-3) -> bool:
    """Whether each row of ``values`` (N, K) is a distribution over the classes."""
    return bool((values >= 0).all() and (np.abs(values.sum(axis=1) - 1) <= tolerance).all())


def log_likelihoods(labels: Labels, probabilities: Scores) -> NDArray[np.float64]:
    """Return the logarithm of each true class's probability, (N,).

    Of zero, that of the smallest number.
    """
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.log(np.maximum(true, np.finfo(np.float64).tiny))


def brier_terms(labels: Labels, probabilities: Scores) -> NDArray[np.float64]:
    """Return each picture's squared errors summed over classes, (N,) (Brier 1950, equation 2)."""
    errors = probabilities.astype(np.float64)
    errors[np.arange(len(labels)), labels] -= 1
    terms: NDArray[np.float64] = (errors**2).sum(axis=1)
    return terms


def _decision_figures(
    labels: Labels,
    predicted: Labels,
    present: NDArray[np.intp],
    notes: dict[str, str],
) -> dict[str, float | None]:
    of_classes = {"labels": present, "zero_division": 0.0}
    figures: dict[str, float | None] = {
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "balanced accuracy": float(
            metrics.recall_score(labels, predicted, average="macro", **of_classes)
        ),
        "macro F1": float(metrics.f1_score(labels, predicted, average="macro", **of_classes)),
        "weighted F1": float(metrics.f1_score(labels, predicted, average="weighted", **of_classes)),
        "weighted precision": float(
            metrics.precision_score(labels, predicted, average="weighted", **of_classes)
        ),
        "weighted recall": float(
            metrics.recall_score(labels, predicted, average="weighted", **of_classes)
        ),
        "G-mean": float(
            imbalanced.geometric_mean_score(labels, predicted, labels=present, average="multiclass")
        ),
        "IBA": None,
        "kappa": None,
    }
    if len(present) == 1:
        notes |= dict.fromkeys(("kappa", "IBA"), "all pictures are of one class")
        return figures
    return figures | {
        "kappa": float(metrics.cohen_kappa_score(labels, predicted)),
        "IBA": _iba(labels, predicted, present),
    }


def _iba(
    labels: Labels,
    predicted: Labels,
    present: NDArray[np.intp],
) -> float:
    balanced = imbalanced.make_index_balanced_accuracy(alpha=IBA_ALPHA, squared=True)
    score = balanced(imbalanced.geometric_mean_score)
    of_class = score(labels, predicted, labels=present, average=None)
    return float(np.average(of_class, weights=np.bincount(labels)[present]))


def _per_class(
    called: tuple[Labels, Labels],
    probabilities: Scores,
    class_names: Sequence[str],
    notes: dict[str, str],
) -> dict[str, dict[str, float | None]]:
    """Return each class's figures; what has nothing to be counted on is None, and noted."""
    (labels, predicted), every = called, range(probabilities.shape[1])
    shares = metrics.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0.0
    )
    tables = metrics.multilabel_confusion_matrix(labels, predicted, labels=every)
    found: dict[str, dict[str, float | None]] = {}
    for index, name in enumerate(class_names):
        (negative, wrongly), (_missed, positive) = tables[index]
        figures: dict[str, float | None] = {
            "precision": float(shares[0][index]),
            "sensitivity": float(shares[1][index]),
            "specificity": float(negative / max(1, negative + wrongly)),
            "F1": float(shares[2][index]),
            "AUC": None,
        }
        reasons = _reasons(labels == index, called=bool(wrongly + positive))
        if not reasons["AUC"]:
            figures["AUC"] = float(metrics.roc_auc_score(labels == index, probabilities[:, index]))
        for figure, reason in reasons.items():
            if reason:
                figures[figure] = None
                notes[f"{figure} of {name}"] = reason
        found[name] = figures
    return found


def _reasons(true: NDArray[np.bool_], *, called: bool) -> dict[str, str]:
    """Return of each figure of a class why there is none, or nothing."""
    no_called = no_true = no_other = ""
    if not called:
        no_called = "no picture was called so"
    if not true.any():
        no_true = "no picture is so"
    if true.all():
        no_other = "no picture is of another class"
    return {
        "precision": no_called,
        "sensitivity": no_true,
        "specificity": no_other,
        "F1": no_true,
        "AUC": no_true or no_other,
    }


def _probability_figures(
    labels: Labels,
    probabilities: Scores,
    notes: dict[str, str],
    *,
    distributions: bool,
) -> dict[str, float | None]:
    if not distributions or not are_probabilities(probabilities):
        notes |= dict.fromkeys(("ECE", "NLL", "Brier"), NO_DISTRIBUTIONS)
        return {"ECE": None, "NLL": None, "Brier": None}
    return {
        "ECE": reliability_of(probabilities, labels).error,
        "NLL": float(-log_likelihoods(labels, probabilities).mean()),
        "Brier": float(brier_terms(labels, probabilities).mean()),
    }


def _macro_auc(per_class: Mapping[str, Mapping[str, float | None]]) -> float | None:
    areas = (figures["AUC"] for figures in per_class.values())
    known = [area for area in areas if area is not None]
    if known:
        return float(np.mean(known))
    return None


def _note_absent(
    class_names: Sequence[str],
    present: NDArray[np.intp],
    figures: Mapping[str, float | None],
    notes: dict[str, str],
) -> None:
    absent = [name for index, name in enumerate(class_names) if index not in present]
    if figures["macro AUC"] is None:
        notes["macro AUC"] = "all pictures are of one class"
    if not absent:
        return
    for name in ("balanced accuracy", "macro F1", "macro AUC", "G-mean"):
        notes.setdefault(name, f"without {', '.join(absent)}, of which there is no picture")
