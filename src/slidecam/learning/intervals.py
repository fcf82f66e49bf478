"""How far figures may be off: 95 % intervals by resampling the pictures, or the patients.

The percentile bootstrap (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter
13). Pictures are drawn with replacement and not stratified: the classes' shares in the test set are
chance too. Where groups are known (patients, slides), whole groups are drawn, since pictures of one
patient are not independent and intervals that take them for that are too narrow (the cluster
bootstrap; Field and Welsh, JRSS B 69, 2007).

The expected calibration error has no interval: a resample repeats pictures, which inflates it, and
intervals by resampling missed the true value of a calibrated classifier in all of 200 simulated
test sets of 2,000 pictures. `calibration.ece_by_chance` tells instead what chance alone would show.

A resample is a vector of weights: how often each picture was drawn. Every figure is a formula in
sums of weights, so that all resamples are a few matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import binomtest

from slidecam.learning.metrics import (
    CLASS_DEFINITIONS,
    IBA_ALPHA,
    Labels,
    Scores,
    are_probabilities,
    brier_terms,
    called_or_largest,
    classes_present,
    log_likelihoods,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Cases = NDArray[np.bool_]
    Floats = NDArray[np.float64]

LEVEL = 0.95
BOOTSTRAP, WILSON = "bootstrap", "Wilson"
USABLE = 0.5
"""Share of resamples that must have a figure for it to have an interval."""

NO_ECE = "no interval: resampling inflates it; compare it with ECE by chance"
GROUPS = "patients, slides, or pictures predicted more than once"

FEW_GROUPS = 20
"""Groups below which resampling gives intervals that are too narrow; the report then says so."""


@dataclass(frozen=True)
class IntervalSpec:
    """How intervals are made.

    Attributes
    ----------
    resamples
        How many. With two thousand the ends of an interval differ between seeds by some hundredths
        of its width.
    seed
        The same seed gives the same intervals.
    """

    resamples: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high``, and how it was made."""

    low: float
    high: float
    method: str = BOOTSTRAP

    def __str__(self) -> str:
        return f"{self.low:.3f} to {self.high:.3f}"


@dataclass(frozen=True)
class Intervals:
    """Intervals of all figures that have one, and why the others do not.

    Attributes
    ----------
    figures
        By the names in `DEFINITIONS`.
    per_class
        By class name, then by the names in `CLASS_DEFINITIONS`.
    method
        How they were made, in words.
    notes
        By a figure's name; for one of a class ``"AUC of glioma"``.
    """

    figures: Mapping[str, Interval]
    per_class: Mapping[str, Mapping[str, Interval]]
    method: str
    notes: Mapping[str, str]


def bootstrap(
    labels: Labels,
    probabilities: Scores,
    class_names: Sequence[str],
    groups: Sequence[str] | None = None,
    spec: IntervalSpec | None = None,
    predicted: NDArray[np.int64] | None = None,
    *,
    distributions: bool = True,
) -> Intervals:
    """Return 95 % intervals of the figures that `measure` returns.

    Parameters
    ----------
    labels, probabilities, class_names
        As for `measure`.
    groups
        Patient or slide of each picture; None where every picture is its own.
    spec
        None for the usual.
    predicted, distributions
        As for `measure`.

    Returns
    -------
    Intervals
        Resamples that have no such figure, since a class is missing, are left out of its interval.
        A share of 0 or 1, of which all resamples say the same, gets Wilson's interval on the number
        of groups instead.
    """
    spec = spec or IntervalSpec()
    members = _members(groups, len(labels))
    called = called_or_largest(probabilities, predicted)
    resampler = Resampler(labels, probabilities, called, distributions=distributions)
    drawn = _drawn(resampler, members, spec)
    ends = _Ends(members, {"ECE": NO_ECE})
    figures = ends.of(drawn.figures, {"accuracy": np.ones(len(labels), np.bool_)})
    per_class = {}
    for index, name in enumerate(class_names):
        resampled = {figure: drawn.per_class[figure][:, index] for figure in CLASS_DEFINITIONS}
        shares = _shares(labels == index, called == index)
        per_class[name] = ends.of(resampled, shares, f" of {name}")
    return Intervals(figures, per_class, _method(groups, members, spec), ends.notes)


def wilson(right: int, total: int) -> Interval:
    """Return Wilson's score interval of a share (JASA 22, 1927).

    Honest where all or none of them are right.
    """
    found = binomtest(right, total).proportion_ci(LEVEL, "wilson")
    return Interval(float(found.low), float(found.high), WILSON)


@dataclass(frozen=True, eq=False)
class _Ends:
    """Makes intervals of resampled figures, and notes why there is none."""

    members: NDArray[np.intp]
    notes: dict[str, str]

    def of(
        self, resampled: Mapping[str, Floats], shares: Mapping[str, Cases], suffix: str = ""
    ) -> dict[str, Interval]:
        """Return the intervals of those resampled figures, (R,) each, that have one.

        ``shares`` are the pictures of which a figure is a share; ``suffix`` follows its name in
        notes.
        """
        found = {}
        for name, values in resampled.items():
            interval = self._interval(name + suffix, values, shares.get(name))
            if interval is not None:
                found[name] = interval
        return found

    def _interval(self, name: str, values: Floats, shared: Cases | None) -> Interval | None:
        known = values[~np.isnan(values)]
        if len(known) < max(2, USABLE * len(values)):
            self.notes[name] = "no interval: most resamples have no such figure"
            return None
        low, high = map(float, np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        if high - low > np.finfo(np.float64).eps:
            return Interval(low, high)
        if shared is not None and low in {0.0, 1.0}:
            count = len(np.unique(self.members[shared]))
            return wilson(round(low) * count, count)
        self.notes[name] = "no interval: all resamples have the same figure"
        return None


def _drawn(resampler: Resampler, members: NDArray[np.intp], spec: IntervalSpec) -> ResampledFigures:
    weights = resamples(members, spec.resamples, spec.seed, resampler.width)
    chunks = list(map(resampler.figures, weights))
    return ResampledFigures(
        _joined([chunk.figures for chunk in chunks]), _joined([chunk.per_class for chunk in chunks])
    )


def _joined(tables: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """Return the figures of all chunks, (R, …) by name."""
    joined = {}
    for name in tables[0]:
        joined[name] = np.concatenate([table[name] for table in tables])
    return joined


def _shares(true: Cases, called: Cases) -> dict[str, Cases]:
    """Return of each figure of a class that is a share what it is a share of."""
    return {"precision": called, "sensitivity": true, "specificity": ~true}


def _members(groups: Sequence[str] | None, count: int) -> NDArray[np.intp]:
    if groups is None:
        return np.arange(count)
    _names, members = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    return members.astype(np.intp)


def _method(groups: Sequence[str] | None, members: NDArray[np.intp], spec: IntervalSpec) -> str:
    count = int(members.max()) + 1
    unit, more = "groups", f" ({GROUPS}) with all their pictures"
    if groups is None:
        unit, more = "pictures", ""
    words = (
        f"95 % percentile bootstrap, {spec.resamples} resamples of {count} {unit}{more},"
        f" seed {spec.seed}"
    )
    if count < FEW_GROUPS:
        words += f"; so few {unit} give intervals that are too narrow"
    return words


CHUNK = 500_000
"""Numbers per array while resampling: 4 MB, which caches hold, however large the test set."""


@dataclass(frozen=True, eq=False)
class ResampledFigures:
    """Figures of R resamples.

    NaN where a resample has no such figure, as one without a class has no mean of all.

    Attributes
    ----------
    figures
        (R,), by the names in `DEFINITIONS`, without the calibration error.
    per_class
        (R, K), by the names in `CLASS_DEFINITIONS`.
    """

    figures: dict[str, Floats]
    per_class: dict[str, Floats]


class Resampler:
    """Predictions, laid out so that the figures of many resamples are quick; as for `measure`."""

    def __init__(
        self,
        labels: Labels,
        probabilities: Scores,
        predicted: Labels | None = None,
        *,
        distributions: bool = True,
    ) -> None:
        count, self._classes = probabilities.shape
        called = called_or_largest(probabilities, predicted)
        # What is called none has a column of its own behind the classes'.
        self._columns = self._classes + int((called < 0).any())
        cells = labels * self._columns + np.where(called < 0, self._classes, called)
        self._present = classes_present(labels, self._classes)
        self._cells = csr_array(
            (np.ones(count), (np.arange(count), cells)),
            shape=(count, self._classes * self._columns),
        )
        self._ranked = []
        for index in range(self._classes):
            self._ranked.append(_Ranked(labels == index, probabilities[:, index]))
        self._terms = np.full((count, 2), np.nan)
        if distributions and are_probabilities(probabilities):
            self._terms = np.stack(
                [-log_likelihoods(labels, probabilities), brier_terms(labels, probabilities)], 1
            )
        self.width = max(count, self._classes * self._columns)

    def figures(self, weights: Floats) -> ResampledFigures:
        """Return the figures of resamples, each a row of ``weights`` (R, N)."""
        confusion = (weights @ self._cells).reshape(len(weights), self._classes, self._columns)
        per_class = _class_figures(confusion)
        per_class["AUC"] = np.stack([ranked.auc(weights) for ranked in self._ranked], axis=1)
        figures = _decision_figures(confusion, per_class, self._present)
        nll, brier = (weights @ self._terms / weights.sum(axis=1, keepdims=True)).T
        return ResampledFigures(figures | {"NLL": nll, "Brier": brier}, per_class)


class _Ranked:
    """One class's scores in rising order, with where ties end."""

    def __init__(self, positive: NDArray[np.bool_], scores: Scores) -> None:
        self._order = np.argsort(scores, kind="stable")
        self._positive = positive[self._order].astype(np.float32)
        ranked = scores[self._order]
        self._starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])

    def auc(self, weights: Floats) -> Floats:
        """Return areas (R,): the share of pairs ranked right, ties as half (Mann and Whitney).

        In float32, four times as fast: it counts pictures without rounding up to sixteen million.
        """
        drawn = np.take(weights.astype(np.float32), self._order, axis=1)
        positive = drawn * self._positive
        negative = drawn - positive
        if len(self._starts) < drawn.shape[1]:
            positive = np.add.reduceat(positive, self._starts, axis=1)
            negative = np.add.reduceat(negative, self._starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1, dtype=np.float64) * negative.sum(axis=1, dtype=np.float64)
        return _share(np.einsum("rn,rn->r", positive, below, dtype=np.float64), pairs)


def resamples(members: NDArray[np.intp], count: int, seed: int, width: int) -> Iterator[Floats]:
    """Yield weights (R, N) of resamples, as many as keep a chunk of ``width`` columns small.

    Parameters
    ----------
    members
        Group of each picture, (N,), 0 to G - 1: G groups are drawn with replacement, each with all
        its pictures.
    count, seed
        How many resamples, and what they hang on.
    width
        Numbers that one resample needs.
    """
    rng = np.random.default_rng(seed)
    groups = int(members.max()) + 1
    step = max(1, CHUNK // max(width, groups))
    for start in range(0, count, step):
        rows = min(step, count - start)
        drawn = rng.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups)
        yield times[:, members].astype(np.float64)


def _class_figures(confusion: Floats) -> dict[str, Floats]:
    """Return (R, K) of confusion matrices (R, K, K or, with a column for none, K + 1)."""
    right, support, called = _sums(confusion)
    others = support.sum(axis=1, keepdims=True) - support
    f1 = _share(2 * right, support + called)
    return {
        "precision": _share(right, called),
        "sensitivity": _share(right, support),
        "specificity": _share(others - (called - right), others),
        "F1": np.where(support > 0, f1, np.nan),
    }


def _sums(confusion: Floats) -> tuple[Floats, Floats, Floats]:
    """Return how many of each class are right, are so, and are called so, (R, K) each."""
    of_classes = confusion[:, :, : confusion.shape[1]]
    return np.einsum("rkk->rk", of_classes), confusion.sum(axis=2), of_classes.sum(axis=1)


def _decision_figures(
    confusion: Floats, per_class: dict[str, Floats], present: NDArray[np.intp]
) -> dict[str, Floats]:
    right, support, called = _sums(confusion)
    total = support.sum(axis=1)
    shares = support / total[:, None]
    several = (support > 0).sum(axis=1) > 1
    chance = (shares * called).sum(axis=1) / total
    sensitivity, specificity = per_class["sensitivity"], per_class["specificity"]
    iba = (1 + IBA_ALPHA * (sensitivity - specificity)) * sensitivity * specificity
    # A class that is missed has a logarithm of minus infinity, and a mean of 0.
    with np.errstate(divide="ignore"):
        g_mean = np.exp(np.log(sensitivity[:, present]).mean(axis=1))
    return {
        "accuracy": right.sum(axis=1) / total,
        "balanced accuracy": sensitivity[:, present].mean(axis=1),
        "macro F1": per_class["F1"][:, present].mean(axis=1),
        "weighted F1": (shares * np.nan_to_num(per_class["F1"])).sum(axis=1),
        "kappa": np.where(several, _share(right.sum(axis=1) / total - chance, 1 - chance), np.nan),
        "macro AUC": per_class["AUC"][:, present].mean(axis=1),
        "G-mean": g_mean,
        "IBA": np.where(several, (shares * np.nan_to_num(iba)).sum(axis=1), np.nan),
    }


def _share(part: Floats, whole: Floats) -> Floats:
    """Return ``part / whole``, NaN where there is nothing to share."""
    shares: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return shares
