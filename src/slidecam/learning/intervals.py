"""How far figures may be off: 95 % intervals by resampling the pictures, or the patients.

The percentile bootstrap (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter
13). Pictures are drawn with replacement and not stratified: the classes' shares in the test set are
chance too. Where groups are known (patients, slides), whole groups are drawn, since pictures of one
patient are not independent and intervals that take them for that are too narrow (the cluster
bootstrap; Field and Welsh, JRSS B 69, 2007).

The expected calibration error has no interval: a resample repeats pictures, which inflates it, and
intervals by resampling missed the true value of a calibrated classifier in all of 200 simulated
test sets of 2,000 pictures. `calibration.ece_by_chance` tells instead what chance alone would show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest

from slidecam.learning.metrics import CLASS_DEFINITIONS, called_or_largest
from slidecam.learning.resampling import ResampledFigures, Resampler, resamples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.learning.metrics import Labels, Scores

    Cases = NDArray[np.bool_]

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
    predicted
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
    drawn = _drawn(Resampler(labels, probabilities, called), members, spec)
    ends = _Ends(members, {"ECE": NO_ECE})
    everyone = np.ones(len(labels), np.bool_)
    figures = {
        name: ends.of(name, drawn.figures[name], everyone if name == "accuracy" else None)
        for name in drawn.figures
    }
    per_class = {}
    for index, name in enumerate(class_names):
        shared = _shared(labels == index, called == index)
        per_class[name] = _known(
            {
                figure: ends.of(
                    f"{figure} of {name}", drawn.per_class[figure][:, index], shared.get(figure)
                )
                for figure in CLASS_DEFINITIONS
            }
        )
    return Intervals(_known(figures), per_class, _method(groups, members, spec), ends.notes)


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

    def of(self, name: str, values: NDArray[np.float64], shared: Cases | None) -> Interval | None:
        """Return the interval; ``shared`` are the pictures of which the figure is a share.

        None where the figure is no share.
        """
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
    chunks = list(
        map(resampler.figures, resamples(members, spec.resamples, spec.seed, resampler.width))
    )
    return ResampledFigures(
        {name: np.concatenate([one.figures[name] for one in chunks]) for name in chunks[0].figures},
        {
            name: np.concatenate([one.per_class[name] for one in chunks])
            for name in chunks[0].per_class
        },
    )


def _shared(true: Cases, called: Cases) -> dict[str, Cases]:
    """Return of each figure of a class that is a share what it is a share of."""
    return {"precision": called, "sensitivity": true, "specificity": ~true}


def _known(ends: Mapping[str, Interval | None]) -> dict[str, Interval]:
    return {name: one for name, one in ends.items() if one is not None}


def _members(groups: Sequence[str] | None, count: int) -> NDArray[np.intp]:
    if groups is None:
        return np.arange(count)
    _names, members = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    return members.astype(np.intp)


def _method(groups: Sequence[str] | None, members: NDArray[np.intp], spec: IntervalSpec) -> str:
    count = int(members.max()) + 1
    if groups is None:
        drawn = f"{count} pictures"
    else:
        drawn = f"{count} groups ({GROUPS}) with all their pictures"
    words = f"95 % percentile bootstrap, {spec.resamples} resamples of {drawn}, seed {spec.seed}"
    few = (
        f"; so few {'pictures' if groups is None else 'groups'} give intervals that are too narrow"
    )
    return words + (few if count < FEW_GROUPS else "")
