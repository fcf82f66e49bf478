"""How good a classifier is on labelled pictures.

Every figure with its interval, and every picture accounted for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import remedies_of
from slidecam.learning.calibration import ece_by_chance
from slidecam.learning.evaluation.figures import (
    ECE_BY_CHANCE,
    FIGURES,
    Figure,
    FoldSpread,
    records_of,
)
from slidecam.learning.intervals import Interval, IntervalSpec, bootstrap
from slidecam.learning.metrics import NO_DISTRIBUTIONS, measure
from slidecam.learning.predictions import (
    COMPARED,
    Predictions,
    UnreadPicture,
    group_count,
    pool_predictions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class EvaluationSpec:
    """How a classifier is measured.

    Attributes
    ----------
    batch
        Pictures computed at once.
    workers
        Threads that read pictures.
    mapping
        What the data call a class and what the classifier calls it, where they differ. Several of
        the data's classes may become one.
    intervals
        How intervals are made.
    bundle
        Digest of the bundle that the classifier comes from, for the record.
    """

    batch: int = 16
    workers: int = 4
    mapping: Mapping[str, str] = field(default_factory=dict)
    intervals: IntervalSpec = field(default_factory=IntervalSpec)
    bundle: str = ""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions and all that is to be said of them.

    Attributes
    ----------
    predictions
        Of every picture that could be read.
    figures
        By the names in `FIGURES`.
    per_class
        By class name, then by the names in `CLASS_DEFINITIONS`.
    support
        Pictures of each class.
    confusion
        Counts, (K, K): a row for each true class, a column for each predicted one.
    method
        How the intervals were made.
    failures
        Pictures that could not be classified; they are in no figure.
    data_digest
        SHA-256 of the pictures' contents and labels, in any order; nothing where it is not known.
    bundle
        Digest of the bundle, or nothing.
    folds
        Of a cross-validation: the figures fold by fold.
    measured
        Which pictures they are: ``test part``; nothing where it goes without saying.
    notes
        What a careful reader must know of the pictures, as sentences.
    left_out
        How many pictures were left out, as the classifier has learnt from them, and by what they
        were known.
    """

    predictions: Predictions
    figures: Mapping[str, Figure]
    per_class: Mapping[str, Mapping[str, Figure]]
    support: Mapping[str, int]
    confusion: NDArray[np.int64]
    method: str
    failures: tuple[UnreadPicture, ...] = ()
    data_digest: str = ""
    bundle: str = ""
    folds: Mapping[str, FoldSpread] = field(default_factory=dict)
    measured: str = ""
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def record(self) -> dict[str, object]:
        """Return what ``evaluation.json`` holds, as JSON values."""
        classes = {}
        for name, figures in self.per_class.items():
            classes[name] = {"support": self.support[name], **records_of(figures)}
        record: dict[str, object] = {
            **records_of(self.figures),
            "per class": classes,
            "confusion": {
                "classes": list(self.predictions.class_names),
                "rows": "true",
                "columns": "predicted",
                "counts": self.confusion.tolist(),
                **self._called_none(),
                **self._called_several(),
            },
            "intervals": self.method,
        }
        if self.folds:
            record["folds"] = records_of(self.folds)
        return {
            **record,
            "data": self._data(),
            "temperature": self.predictions.temperature,
            "class_biases": list(self.predictions.biases),
            "calibrated_on": self.predictions.calibrated_on or None,
            "bundle": self.bundle or None,
        }

    @property
    def is_whole(self) -> bool:
        """Whether every picture could be classified."""
        return not self.failures

    @property
    def remedy(self) -> str:
        """What to do about the pictures that could not be classified; or nothing."""
        return remedies_of(self.failures)

    @property
    def remarks(self) -> dict[str, str]:
        """What is to be said beside the figures: each picture without any, and what to do."""
        said = {}
        if self.predictions.several_words:
            said["called several classes"] = self.predictions.several_words
        for failure in self.failures:
            said[f"not read: {failure.name}"] = failure.reason
        if self.remedy:
            said["what to do"] = self.remedy
        return said

    @property
    def pictures(self) -> int:
        """How many there are, each once, even if repeated cross-validation predicts it often."""
        names = self.predictions.names
        if names:
            return len(set(names))
        return len(self.predictions.labels)

    @property
    def extent(self) -> dict[str, int | None]:
        """How many pictures the figures are of, of how many patients or slides (None: unknown)."""
        return {"pictures": self.pictures, "groups": group_count(self.predictions.groups)}

    def _called_none(self) -> dict[str, object]:
        """Return how many pictures of each class were called none, if any was."""
        missing = np.array(list(self.support.values())) - self.confusion.sum(axis=1)
        if missing.any():
            return {"called none": missing.tolist()}
        return {}

    def _called_several(self) -> dict[str, object]:
        """Return how many pictures were called several classes, where that can be."""
        count = self.predictions.called_several
        if count is None:
            return {}
        return {"called several": count, "compared": COMPARED}

    def _data(self) -> dict[str, object]:
        failures = [each.record() for each in self.failures]
        return {
            "measured": self.measured or None,
            "notes": list(self.notes),
            "left_out": dict(self.left_out) or None,
            **self.extent,
            "predictions": len(self.predictions.labels),
            "counts": dict(self.support),
            "failures": failures,
            "digest": self.data_digest or None,
        }


def evaluate_predictions(
    predictions: Predictions,
    spec: EvaluationSpec | None = None,
    *,
    failures: Sequence[UnreadPicture] = (),
    data_digest: str = "",
) -> Evaluation:
    """Return all figures of predictions that were made elsewhere.

    In training, on a slide's tiles, on a graph's nodes.

    Parameters
    ----------
    predictions
        With at least one picture.
    spec
        Of its fields ``intervals`` and ``bundle`` are heeded; None for the usual.
    failures
        Pictures that could not be classified.
    data_digest
        Of the data, if it is known.

    Raises
    ------
    DataSetError
        If there are no predictions, or one of them is not finite.
    """
    spec = spec or EvaluationSpec()
    names, probabilities = predictions.class_names, predictions.probabilities
    labels, called = predictions.labels, predictions.predicted
    summing = predictions.outputs.are_distributions
    found = measure(labels, probabilities, names, called, distributions=summing)
    ends = bootstrap(
        labels,
        probabilities,
        names,
        predictions.groups,
        spec.intervals,
        called,
        distributions=summing,
    )
    notes = {**ends.notes, **found.notes}
    figures = _with_intervals(found.figures, ends.figures, notes)
    figures[ECE_BY_CHANCE] = _by_chance(predictions, spec.intervals.seed)
    per_class = {}
    for name, values in found.per_class.items():
        per_class[name] = _with_intervals(values, ends.per_class[name], notes, f" of {name}")
    return Evaluation(
        predictions=predictions,
        figures={name: figures[name] for name in FIGURES},
        per_class=per_class,
        support=found.support,
        confusion=found.confusion,
        method=ends.method,
        failures=tuple(failures),
        data_digest=data_digest,
        bundle=spec.bundle,
    )


def _with_intervals(
    values: Mapping[str, float | None],
    intervals: Mapping[str, Interval],
    notes: Mapping[str, str],
    suffix: str = "",
) -> dict[str, Figure]:
    """Return figures with their intervals; ``suffix`` follows a figure's name in ``notes``."""
    figures = {}
    for name, value in values.items():
        interval = None
        if value is not None:
            interval = intervals.get(name)
        figures[name] = Figure(value, interval, notes.get(name + suffix, ""))
    return figures


def pool_folds(folds: Sequence[Evaluation], spec: EvaluationSpec | None = None) -> Evaluation:
    """Return one evaluation of a cross-validation's test folds, with each figure's spread.

    Every picture is predicted by a network that has not seen it. The folds' networks are different
    ones, so that ranks across folds (the area under the curve) are a little worse than in any fold;
    the spread tells. A picture that is tested more than once, in repeated cross-validation, is one
    case: all its predictions are drawn together.

    Parameters
    ----------
    folds
        Evaluations of the test folds, all of the same classes; each at its own temperature.
    spec
        See `evaluate_predictions`.

    Raises
    ------
    DataSetError
        If there is no fold, or the folds have different classes.
    """
    pooled = pool_predictions([fold.predictions for fold in folds])
    failures = tuple(dict.fromkeys(chain.from_iterable(fold.failures for fold in folds)))
    digest = ""
    if all(fold.data_digest for fold in folds):
        digest = digest_of_lines(fold.data_digest for fold in folds)
    evaluation = evaluate_predictions(pooled, spec, failures=failures, data_digest=digest)
    spreads = {}
    for name in folds[0].figures:
        spreads[name] = FoldSpread(tuple(fold.figures[name].value for fold in folds))
    return replace(evaluation, folds=spreads)


def _by_chance(predictions: Predictions, seed: int) -> Figure:
    if not predictions.outputs.are_distributions:
        return Figure(None, note=NO_DISTRIBUTIONS)
    mean, low, high = ece_by_chance(predictions.probabilities, seed)
    return Figure(mean, Interval(low, high, "draws of perfect calibration"))


def digest_of_lines(lines: Iterable[str]) -> str:
    """Return one digest of lines in any order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
