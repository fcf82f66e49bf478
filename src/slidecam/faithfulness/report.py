"""What a measurement found: figures with their errors, each beside those of the references.

`Ledger` takes each tile's figures and makes means, errors and comparisons of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.stats import t

from slidecam.faithfulness.correlation import mean_of_known
from slidecam.faithfulness.spec import MEASURES, measure_called

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from slidecam.faithfulness.stability import Likeness
    from slidecam.faithfulness.tile_measure import Key, TileFindings

    Values = NDArray[np.float64]


Verdict = Literal["better", "no better", "worse", "unknown"]

CENTRE, RANDOM = "centre prior", "random map"
"""What the report calls the references."""


def random_title(grid: tuple[int, int]) -> str:
    """Return what the report calls a random map of so many rows and columns."""
    return f"{RANDOM}, {grid[0]} x {grid[1]}"


@dataclass(frozen=True)
class Difference:
    """How far a method is from a reference, tile by tile.

    Attributes
    ----------
    reference
        Its name in the report.
    mean, se
        Of the tiles' differences, method minus reference, and its standard error.
    verdict
        ``better`` or ``worse`` if 0 is outside the 95 % interval of Student's t, else ``no
        better``; ``unknown`` on fewer than two tiles.
    """

    reference: str
    mean: float
    se: float
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class Finding:
    """One method by one measure.

    Attributes
    ----------
    method, measure
        Names; see `measure_called` for what a measure means.
    values
        (N,): each tile's figure, the mean over seeds; nan where there is none (a flat map, an empty
        mask).
    mean
        Of the tiles that have one.
    se_tiles
        Standard error of the mean over tiles: other tiles like these would move it so far.
    se_seeds
        Standard error over seeds: other random draws on the same tiles would move it so far. nan
        where chance has no part, or one seed.
    differences
        From the random map on the method's grid and from the centre prior; none for references.
    """

    method: str
    measure: str
    values: NDArray[np.float64]
    mean: float
    se_tiles: float
    se_seeds: float
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, eq=False)
class MeanCurve:
    """The mean of all tiles' curves.

    Attributes
    ----------
    method, measure
        As in `Finding`: the measure is the area under it.
    fractions, mean, se
        (steps + 1,): share of pixels changed, mean probability, and its standard error over tiles.
    """

    method: str
    measure: str
    fractions: NDArray[np.float64]
    mean: NDArray[np.float64]
    se: NDArray[np.float64]


@dataclass(frozen=True)
class MethodFacts:
    """A method, or a reference, as it was measured.

    Attributes
    ----------
    name
        As the report calls it.
    reference
        Whether it knows nothing of the classifier.
    grid
        Rows and columns of the random map that it is compared with: its own map's, unless the spec
        says otherwise.
    passes, facts
        As in `Explanation`; of the first tiles.
    """

    name: str
    reference: bool
    grid: tuple[int, int] = (1, 1)
    passes: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def random(self) -> str:
        """What the report calls that random map."""
        return random_title(self.grid)


@dataclass(frozen=True, eq=False)
class FaithfulnessReport:
    """Everything that was found.

    Attributes
    ----------
    classifier, output
        Its name, and what the curves are of: ``softmax probability``, ``sigmoid probability``,
        ``logit``.
    explained
        What the tiles were explained for, in words: ``class tumour``, ``the predicted class``.
    tiles
        How many.
    mask_share
        Mean share of a tile inside its mask, of tiles with one; nan without masks.
    methods
        The methods in the order given, then the references.
    findings, curves
        Every method by every measure.
    likenesses
        What the randomisation check found, if it was made; `randomisation`.
    settings
        The spec, as JSON values.
    notes
        What was chosen of the slide's file, as sentences.
    runs_by
        What ran the network, and how it came to that: `Classifier.backend` and its notes.
    """

    classifier: str
    output: str
    explained: str
    tiles: int
    mask_share: float
    methods: tuple[MethodFacts, ...]
    findings: tuple[Finding, ...]
    curves: tuple[MeanCurve, ...]
    likenesses: tuple[Likeness, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    runs_by: tuple[str, ...] = ()

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that there are figures of, in the order in which they were measured."""
        return tuple(dict.fromkeys(finding.measure for finding in self.findings))

    @property
    def shown_measures(self) -> list[str]:
        """Those that pages show: single sizes of sensitivity-n are in the CSV alone."""
        return [name for name in self.measures if not name.startswith("sensitivity-n:")]

    def finding(self, method: str, measure: str) -> Finding | None:
        """Return a method's finding by a measure, or None if there is none."""
        for finding in self.findings:
            if (finding.method, finding.measure) == (method, measure):
                return finding
        return None

    def verdicts(self, method: str) -> list[Verdict]:
        """Return how a method compares with its random map, by each measure that judges it."""
        random = {one.name: one.random for one in self.methods}[method]
        verdicts: list[Verdict] = []
        for one in self.findings:
            if one.method == method and measure_called(one.measure).judged:
                verdicts += [
                    apart.verdict for apart in one.differences if apart.reference == random
                ]
        return verdicts

    def likenesses_of(self, method: str) -> dict[str, tuple[float, float]]:
        """Return a method's mean rank correlation and its standard error, by stage."""
        found = {}
        for one in self.likenesses:
            if one.method == method:
                found[one.stage] = mean_and_error(one.correlation)
        return found


CONFIDENCE = 0.95
AT_LEAST = 2
"""Tiles without which nothing can be said of a difference."""


@dataclass(frozen=True, eq=False)
class Ledger:
    """Every tile's figures, as they come in.

    Attributes
    ----------
    values
        By method and measure, for each tile: one value for each seed.
    curves
        By method and measure, for each tile: the curve's values, mean over a method's maps.
    fractions
        By measure: the shares at which its curves have values.
    """

    values: dict[Key, list[Values]] = field(default_factory=dict)
    curves: dict[Key, list[Values]] = field(default_factory=dict)
    fractions: dict[str, Values] = field(default_factory=dict)

    def add(self, found: TileFindings) -> None:
        """Note one tile's findings."""
        for key, values in found.values.items():
            self.values.setdefault(key, []).append(np.asarray(values))
        for key, drawn in found.curves.items():
            self.fractions[key[1]] = drawn[0].fractions
            self.curves.setdefault(key, []).append(np.mean([curve.values for curve in drawn], 0))

    def note(self, method: str, measure: str, value: float) -> None:
        """Note one tile's figure that chance has no part in."""
        self.values.setdefault((method, measure), []).append(np.asarray([value]))

    def findings(self, randoms: Mapping[str, str]) -> tuple[Finding, ...]:
        """Return all findings, by method and then in the order of `MEASURES`.

        Parameters
        ----------
        randoms
            For each method, the random map it is compared with; references are not in it.
        """
        tables = {key: np.stack(values) for key, values in self.values.items()}
        methods = list(dict.fromkeys(method for method, _measure in tables))
        measures = list(MEASURES)

        def place(key: Key) -> tuple[int, int]:
            method, measure = key
            return methods.index(method), measures.index(measure.partition(":")[0])

        keys = sorted(tables, key=place)
        return tuple(_finding(key, tables, randoms.get(key[0])) for key in keys)

    def mean_curves(self) -> tuple[MeanCurve, ...]:
        """Return the mean curve of every method and measure that has curves."""
        means = []
        for (method, measure), drawn in self.curves.items():
            values = np.stack(drawn)
            mean, error = np.mean(values, 0), _error_of_mean(values)
            means.append(MeanCurve(method, measure, self.fractions[measure], mean, error))
        return tuple(means)


def mean_and_error(values: Values) -> tuple[float, float]:
    """Return the mean and its standard error of the values (N,) that are numbers.

    Nan for what is unknown.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan"), float("nan")
    return float(known.mean()), float(_error_of_mean(known))


def compared(method: Values, reference: Values, name: str, *, high_is_good: bool) -> Difference:
    """Return a method's difference from a reference on the same tiles.

    Parameters
    ----------
    method, reference
        (N,): each tile's figures; tiles where either is nan are left out.
    name
        The reference's.
    high_is_good
        Whether a positive difference is for the better.
    """
    apart = method - reference
    tiles = int(np.isfinite(apart).sum())
    mean, error = mean_and_error(apart)
    gain = mean
    if not high_is_good:
        gain = -mean
    return Difference(name, mean, error, _verdict(gain, error, tiles))


def share_of_masks(masks: NDArray[np.bool_]) -> float:
    """Return the mean share of a tile inside its mask, of masks (N, H, W) that are not empty.

    Nan without one.
    """
    shares = masks.mean((1, 2))
    if masks.any():
        return float(shares[shares > 0].mean())
    return float("nan")


def _finding(key: Key, tables: Mapping[Key, Values], random: str | None) -> Finding:
    method, measure = key
    values = mean_of_known(tables[key], 1)
    mean, se_tiles = mean_and_error(values)
    _mean, se_seeds = mean_and_error(mean_of_known(tables[key].T, 1))
    high = measure_called(measure).good == "high"

    differences = []
    if random is not None:
        for name in (random, CENTRE):
            if (name, measure) in tables:
                reference = mean_of_known(tables[name, measure], 1)
                differences.append(compared(values, reference, name, high_is_good=high))
    return Finding(method, measure, values, mean, se_tiles, se_seeds, tuple(differences))


def _verdict(gain: float, error: float, tiles: int) -> Verdict:
    if tiles < AT_LEAST:
        return "unknown"
    reach = float(t.ppf((1 + CONFIDENCE) / 2, tiles - 1)) * error
    if gain > reach:
        return "better"
    if gain < -reach:
        return "worse"
    return "no better"


def _error_of_mean(values: Values) -> Values:
    """Return the standard error of the mean over the first axis; nan for a single value."""
    if len(values) < AT_LEAST:
        return np.full(values.shape[1:], np.nan)
    error: Values = values.std(0, ddof=1) / np.sqrt(len(values))
    return error
