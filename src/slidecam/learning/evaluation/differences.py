"""Whether classifiers differ on the same pictures: paired intervals and McNemar's test.

Differences have intervals by a paired bootstrap, in which each resample is of the same pictures
(patients) for both; McNemar's test looks at the pictures that one of two calls rightly and the
other does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from slidecam.learning.intervals import LEVEL, Interval, IntervalSpec, joined
from slidecam.learning.resampling import Resampler, resamples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.predictions import Predictions

    _Tables = dict[str, Mapping[str, NDArray[np.float64]]]

COMPARED = ("accuracy", "balanced accuracy", "weighted F1", "macro F1", "macro AUC", "NLL")
"""Figures whose differences are looked at."""

PAIRED = "paired bootstrap"
MCNEMAR = (
    "McNemar's exact test: of the pictures that one of two calls rightly and the other does not,"
    " whether as many are one's as the other's. It takes pictures to be independent and is not"
    " adjusted for the number of pairs."
)


@dataclass(frozen=True)
class PairedDifference:
    """How two bundles differ on the same pictures.

    Attributes
    ----------
    first, second
        Their names.
    figures
        By name: the second's figure less the first's, and its 95 % interval; None where one has no
        such figure.
    only_first, only_second
        Pictures that one alone calls rightly.
    p
        McNemar's, exact and two-sided.
    """

    first: str
    second: str
    figures: Mapping[str, tuple[float, Interval | None] | None]
    only_first: int
    only_second: int
    p: float

    def row(self) -> dict[str, str]:
        """Return it as a row of a table."""
        row = {"pair": f"{self.second} less {self.first}"}
        for name, found in self.figures.items():
            row[name] = "none"
            if found is not None:
                value, interval = found
                row[name] = f"{value:+.3f}"
                if interval is not None:
                    row[name] += f" ({interval.low:+.3f} to {interval.high:+.3f})"
        row["right alone"] = f"{self.only_second} against {self.only_first}"
        row["McNemar p"] = f"{self.p:.3g}"
        return row

    def record(self) -> dict[str, object]:
        """Return it as JSON values."""
        figures: dict[str, object] = {}
        for name, found in self.figures.items():
            figures[name] = None
            if found is not None:
                value, interval = found
                ends = None if interval is None else [interval.low, interval.high]
                figures[name] = {"value": value, "ci95": ends, "by": PAIRED}
        counts = {"only first right": self.only_first, "only second right": self.only_second}
        return {
            "first": self.first,
            "second": self.second,
            "second less first": figures,
            "McNemar": {**counts, "p": self.p},
        }


def differences_of(
    evaluations: Mapping[str, Evaluation], spec: IntervalSpec | None = None
) -> tuple[PairedDifference, ...]:
    """Return how every two of some evaluations of the same pictures differ."""
    predictions = _of_common_pictures(evaluations)
    first = next(iter(predictions.values()))
    members = np.arange(len(first.labels))
    if first.groups is not None:
        _names, members = np.unique(np.array(first.groups), return_inverse=True)
    wholes, drawn = _resampled(predictions, members, spec or IntervalSpec())
    units = int(members.max()) + 1
    found: list[PairedDifference] = []
    for one, other in combinations(predictions, 2):
        figures: dict[str, tuple[float, Interval | None] | None] = {}
        for name in COMPARED:
            value = float(wholes[other][name][0] - wholes[one][name][0])
            figures[name] = None
            if math.isfinite(value):
                spread = drawn[other][name] - drawn[one][name]
                figures[name] = (value, _paired_interval(value, spread, units))
        mine = predictions[one].predicted == predictions[one].labels
        theirs = predictions[other].predicted == predictions[other].labels
        alone = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
        found.append(PairedDifference(one, other, figures, *alone, mcnemar(*alone)))
    return tuple(found)


def _of_common_pictures(evaluations: Mapping[str, Evaluation]) -> dict[str, Predictions]:
    """Return predictions of the pictures that all of them have, in one order."""
    common: set[str] | None = None
    for evaluation in evaluations.values():
        names = set(evaluation.predictions.names)
        common = names if common is None else common & names
    chosen: dict[str, Predictions] = {}
    for name, evaluation in evaluations.items():
        each = evaluation.predictions
        places = dict(zip(each.names, range(len(each.names)), strict=True))
        rows = list(map(places.__getitem__, sorted(common or ())))
        groups = each.groups
        if groups is not None:
            groups = tuple(map(groups.__getitem__, rows))
        chosen[name] = replace(
            each,
            labels=each.labels[rows],
            logits=each.logits[rows],
            names=tuple(map(each.names.__getitem__, rows)),
            groups=groups,
            paths=(),
        )
    return chosen


def _resampled(
    predictions: Mapping[str, Predictions], members: NDArray[np.intp], spec: IntervalSpec
) -> tuple[_Tables, _Tables]:
    """Return each one's figures, and those of the same resamples for all, (R,) by name."""
    wholes: _Tables = {}
    resamplers: dict[str, Resampler] = {}
    chunks: dict[str, list[Mapping[str, NDArray[np.float64]]]] = {}
    every, width = np.ones((1, len(members))), 0
    for name, each in predictions.items():
        resampler = Resampler(
            each.labels,
            each.probabilities,
            each.predicted,
            distributions=each.outputs.are_distributions,
        )
        resamplers[name], chunks[name] = resampler, []
        wholes[name] = resampler.figures(every).figures
        width = max(width, resampler.width)
    for weights in resamples(members, spec.resamples, spec.seed, width):
        for name, resampler in resamplers.items():
            chunks[name].append(resampler.figures(weights).figures)
    drawn: _Tables = {}
    for name, parts in chunks.items():
        drawn[name] = joined(parts)
    return wholes, drawn


def _paired_interval(value: float, resampled: NDArray[np.float64], units: int) -> Interval | None:
    """Return a difference's 95 % interval by the spread of resamples of G units.

    They show (G - 1) / G of the variance, with G - 1 degrees of freedom.
    """
    known = resampled[np.isfinite(resampled)]
    if units < 2 or len(known) < 2:  # noqa: PLR2004  (one alone has no spread)
        return None
    free = units - 1
    reach = student.ppf((1 + LEVEL) / 2, free) * known.std(ddof=1) * (1 + 1 / free) ** 0.5
    return Interval(float(value - reach), float(value + reach), PAIRED)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (Psychometrika 12, 1947).

    Twice the chance that of so many pictures, each of which falls to one side as to the other, the
    fewer side gets no more than it has; 1 at most.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    tail = 0
    for count in range(fewer + 1):
        tail += math.comb(total, count)
    return min(1.0, float(2 * tail / 2**total))
