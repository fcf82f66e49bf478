"""What a measurement found: figures with their errors, each beside those of the references."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from slidecam.faithfulness.randomisation import Likeness

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
        What the randomisation check found, if it was made; `with_randomisation` adds it.
    settings
        The spec, as JSON values.
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

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that there are figures of, in the order in which they were measured."""
        return tuple(dict.fromkeys(finding.measure for finding in self.findings))

    def finding(self, method: str, measure: str) -> Finding | None:
        """Return a method's finding by a measure, or None if there is none."""
        found = (one for one in self.findings if (one.method, one.measure) == (method, measure))
        return next(found, None)
