"""How far figures may be off: 95 % intervals that hold the truth in 95 of 100 test sets.

Shares of pictures that are independent (accuracy, sensitivity, specificity, precision) have
Wilson's interval (JASA 22, 1927). All other figures, and shares where pictures come in groups
(patients, slides), have one from the spread of resamples: pictures, or whole groups with all their
pictures, are drawn with replacement and not stratified, since the classes' shares in the test set
are chance too (the cluster bootstrap; Field and Welsh, JRSS B 69, 2007). The spread is taken to a
scale without ends, the logit of a figure from 0 to 1 and the logarithm of one from 0, with
Student's t for the number of groups: near 1 resamples know nothing of what lies below the worst of
them, and of eight patients they show less than two thirds of the true variance. The percentiles of
resamples, which were used before, held the truth in 73 to 93 of 100 sets.

The expected calibration error has no interval: a resample repeats pictures, which inflates it, and
intervals by resampling missed the true value of a calibrated classifier in all of 200 simulated
test sets of 2,000 pictures. `calibration.ece_by_chance` tells instead what chance alone would show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit
from scipy.stats import norm
from scipy.stats import t as student

from slidecam.learning.metrics import (
    CLASS_DEFINITIONS,
    Labels,
    Scores,
    called_or_largest,
    classes_present,
)
from slidecam.learning.resampling import ResampledFigures, Resampler, resamples
from slidecam.settings import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Cases = NDArray[np.bool_]
    Floats = NDArray[np.float64]

LEVEL = 0.95
WILSON, LOGIT, LOG = "Wilson", "logit bootstrap", "log bootstrap"
USABLE = 0.5
"""Share of resamples that must have a figure for it to have an interval."""

NO_ECE = "no interval: resampling inflates it; compare it with ECE by chance"
OF_ALL = ("accuracy", "weighted F1", "weighted precision", "weighted recall")
"""Figures in which every picture counts alike."""

GROUPS = "patients, slides, or pictures predicted more than once"

FEW_GROUPS = 5
"""Groups below which their spread says next to nothing of others; the report then says so."""

SHARES = frozenset({"accuracy", "precision", "sensitivity", "specificity"})
MEANS = ("balanced accuracy", "macro F1", "macro AUC", "G-mean")
"""Figures that are shares of pictures, and those that are means over classes."""

SHARE = (0.0, 1.0)
OTHER_ENDS = {"kappa": (-1.0, 1.0), "NLL": (0.0, float("inf")), "Brier": (0.0, 2.0)}
"""Between which figures lie that are not from 0 to 1."""

_Z = float(norm.ppf((1 + LEVEL) / 2))
_ROUNDING = 1e-12
_MOST = 700.0
"""What the exponential function can be taken of."""


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
    method: str = LOGIT

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
        Resamples that have no such figure, since a class is missing, are left out of its spread. A
        figure that is 0 or 1, of which all resamples say the same, gets Wilson's interval on the
        number of pictures (groups) of the shares that it is a mean of.
    """
    spec = spec or IntervalSpec()
    members = _members(groups, len(labels))
    called = called_or_largest(probabilities, predicted)
    resampler = Resampler(labels, probabilities, called, distributions=distributions)
    whole = resampler.figures(np.ones((1, len(labels))))
    drawn = _drawn(resampler, members, spec)
    ends = _Ends(members, {"ECE": NO_ECE})
    every = np.ones(len(labels), np.bool_)
    of_classes = [labels == index for index in classes_present(labels, len(class_names))]
    cases = dict.fromkeys(OF_ALL, (every,)) | dict.fromkeys(MEANS, of_classes)
    per_class = {}
    figures = ends.of_all(whole.figures, drawn.figures, cases)
    for index, name in enumerate(class_names):
        values = {figure: whole.per_class[figure][:, index] for figure in CLASS_DEFINITIONS}
        resampled = {figure: drawn.per_class[figure][:, index] for figure in CLASS_DEFINITIONS}
        shares = _shares(labels == index, called == index)
        per_class[name] = ends.of_all(values, resampled, shares, f" of {name}")
    return Intervals(figures, per_class, _method(groups, members, spec), ends.notes)


def wilson(right: float, total: float) -> Interval:
    """Return Wilson's score interval of a share (JASA 22, 1927).

    Honest where all or none of them are right. The counts may be no whole numbers.
    """
    share = right / total
    middle, spread = share + _Z**2 / (2 * total), share * (1 - share) + _Z**2 / (4 * total)
    reach, width = _Z * (spread / total) ** 0.5, 1 + _Z**2 / total
    low, high = (middle - reach) / width, (middle + reach) / width
    if not right:  # rounding must not leave an end beyond what was seen
        low = 0.0
    if right == total:
        high = 1.0
    return Interval(low, high, WILSON)


@dataclass(frozen=True, eq=False)
class _Figure:
    """What an interval is made of.

    Attributes
    ----------
    value
        Of the test set itself.
    spread
        Standard deviation over resamples.
    ends
        Between which such a figure lies.
    cases
        The pictures of each share that it is a mean of; one if it is a share itself.
    """

    value: float
    spread: float
    ends: tuple[float, float]
    cases: Sequence[Cases]


@dataclass(frozen=True, eq=False)
class _Ends:
    """Makes intervals of figures, and notes why there is none."""

    members: NDArray[np.intp]
    notes: dict[str, str]

    def of_all(
        self,
        values: Mapping[str, Floats],
        resampled: Mapping[str, Floats],
        cases: Mapping[str, Sequence[Cases]],
        suffix: str = "",
    ) -> dict[str, Interval]:
        """Return the intervals of those figures that have one.

        Parameters
        ----------
        values, resampled
            Of the test set itself, (1,), and of resamples, (R,), NaN where they have none.
        cases
            The pictures of each share that a figure is a mean of.
        suffix
            What follows a figure's name in notes.
        """
        found = {}
        for name, (value,) in values.items():
            known = resampled[name][~np.isnan(resampled[name])]
            if np.isnan(value) or len(known) < max(2, USABLE * len(resampled[name])):
                self.notes[name + suffix] = "no interval: most resamples have no such figure"
                continue
            spread, ends = float(np.std(known)), OTHER_ENDS.get(name, SHARE)
            figure = _Figure(float(value), spread, ends, cases.get(name, ()))
            interval = self._of(figure, is_share=name in SHARES)
            if interval is None:
                self.notes[name + suffix] = "no interval: all resamples have the same figure"
            else:
                found[name] = interval
        return found

    @property
    def _groups(self) -> int:
        return int(self.members.max()) + 1

    def _of(self, figure: _Figure, *, is_share: bool) -> Interval | None:
        if is_share and self._groups == len(self.members):
            pictures = int(figure.cases[0].sum())
            return wilson(round(figure.value * pictures), pictures)
        low, high = figure.ends
        # Equal figures of resamples are equal to within rounding.
        if self._groups > 1 and low < figure.value < high and figure.spread > _ROUNDING:
            return self._by_spread(figure)
        if not figure.cases or figure.value not in SHARE:
            return None
        counts = [len(np.unique(self.members[cases])) for cases in figure.cases]
        total = min(self._groups, len(counts) ** 2 / sum(1 / count for count in counts))
        return wilson(figure.value * total, total)

    def _by_spread(self, figure: _Figure) -> Interval:
        """Return the interval on a scale without ends, by the delta method.

        Resamples of G groups show (G - 1) / G of the variance, with G - 1 degrees of freedom.
        """
        free = self._groups - 1
        reach = student.ppf((1 + LEVEL) / 2, free) * figure.spread * (1 + 1 / free) ** 0.5
        low, high = figure.ends
        below, above = figure.value - low, high - figure.value
        if np.isinf(high):
            factor = np.exp(min(_MOST, reach / below))
            return Interval(float(low + below / factor), float(low + below * factor), LOG)
        odds, steps = np.log(below / above), reach * (1 / below + 1 / above)
        first, last = expit([odds - steps, odds + steps]) * (high - low) + low
        return Interval(float(first), float(last), LOGIT)


def _drawn(resampler: Resampler, members: NDArray[np.intp], spec: IntervalSpec) -> ResampledFigures:
    weights = resamples(members, spec.resamples, spec.seed, resampler.width)
    chunks = list(map(resampler.figures, weights))
    return ResampledFigures(
        joined([chunk.figures for chunk in chunks]), joined([chunk.per_class for chunk in chunks])
    )


def joined(tables: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """Return the figures of all chunks, (R, …) by name."""
    joined = {}
    for name in tables[0]:
        joined[name] = np.concatenate([table[name] for table in tables])
    return joined


def _shares(true: Cases, called: Cases) -> dict[str, Sequence[Cases]]:
    """Return of each figure of a class what it is a share of, or counted on where it is 0 or 1."""
    fewer = true if true.sum() <= (~true).sum() else ~true
    cases = {"precision": called, "sensitivity": true, "specificity": ~true, "F1": true}
    return {name: [each] for name, each in {**cases, "AUC": fewer}.items()}


def _members(groups: Sequence[str] | None, count: int) -> NDArray[np.intp]:
    if groups is None:
        return np.arange(count)
    _names, members = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    return members.astype(np.intp)


def _method(groups: Sequence[str] | None, members: NDArray[np.intp], spec: IntervalSpec) -> str:
    count = int(members.max()) + 1
    unit, more, first = "group", f" ({GROUPS}) with all their pictures", ""
    if groups is None:
        unit, more, first = "picture", "", f"{WILSON}'s for shares of pictures; else "
    held = counted(count, unit)
    words = (
        f"95 %: {first}bootstrap, the spread of {spec.resamples} resamples of {held}{more}"
        f" on the logit scale (NLL: log), Student's t of {count - 1}, seed {spec.seed}"
    )
    if count < FEW_GROUPS:
        words += f"; so few {unit}s say little of others"
    return words
