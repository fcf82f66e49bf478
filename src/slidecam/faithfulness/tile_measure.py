"""One tile: everything that is measured of its maps, methods' and references' alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from slidecam.explain.baselines import BASELINES
from slidecam.faithfulness.correlation import (
    cell_drops,
    parts_of_cells,
    parts_of_values,
    value_drops,
)
from slidecam.faithfulness.curves import Curve, curves
from slidecam.faithfulness.localisation import dice, energy, pointing
from slidecam.faithfulness.mapping import enlarged
from slidecam.faithfulness.perturbation import Query, answered
from slidecam.faithfulness.road import road
from slidecam.faithfulness.spec import PIXEL_CORRELATION, FaithfulnessSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.faithfulness.correlation import Drops
    from slidecam.faithfulness.perturbation import Ask

    Map = NDArray[np.float32]
    Key = tuple[str, str]
    """A method, and a measure."""

SUBSETS, PIXELS, NOISE, MAPS, CHANGES = range(1, 6)
"""What chance is for; each draws from a stream of its own. Not from 0.

To NumPy, seeds (1, 2) and (1, 2, 0) are one.
"""


@dataclass(frozen=True, eq=False)
class Trial:
    """A tile, and who is asked about it.

    Attributes
    ----------
    picture
        (3, H, W), normalised.
    ask
        The classifier, about the class in question.
    number
        The tile's place among all, which random draws hang on.
    mask
        (H, W), where the class is, or None if nobody drew it.
    spec
        What to measure.
    """

    picture: Tensor
    ask: Ask
    number: int
    mask: NDArray[np.bool_] | None
    spec: FaithfulnessSpec

    @cached_property
    def baselines(self) -> Mapping[str, Tensor]:
        """The pictures that stand where pixels are taken away, made once for all maps."""
        names = {self.spec.correlation.baseline, *self.spec.curves.baselines}
        return {name: BASELINES[name](self.picture) for name in names}

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the tile."""
        return self.picture.shape[1], self.picture.shape[2]

    def rng(self, seed: int, purpose: int) -> np.random.Generator:
        """Return the stream of chance of this tile under a seed."""
        return np.random.default_rng((seed, self.number, purpose))


@dataclass(frozen=True, eq=False)
class TileFindings:
    """What was found on one tile.

    Attributes
    ----------
    values
        By method and measure: one value for each seed, or one where chance has no part.
    curves
        By method and measure: the curves whose areas some of the values are.
    """

    values: dict[Key, list[float]] = field(default_factory=dict)
    curves: dict[Key, list[Curve]] = field(default_factory=dict)

    def add(self, method: str, measure: str, result: float | Curve) -> None:
        """Note a result."""
        if isinstance(result, Curve):
            self.curves.setdefault((method, measure), []).append(result)
            result = result.auc
        self.values.setdefault((method, measure), []).append(result)


def tried(trial: Trial, maps: Mapping[str, Sequence[Map]]) -> TileFindings:
    """Return what is found of maps on one tile.

    Parameters
    ----------
    trial
        The tile. What is lost with subsets of it is asked once for all maps.
    maps
        By method: one map (h, w), or one for each seed.
    """
    found, lost = TileFindings(), _lost(trial)
    for method, grids in maps.items():
        full = [enlarged(grid, trial.size) for grid in grids]
        queries = [query for values in full for query in _ordered_queries(values, trial)]
        results = [
            *_correlations(full, lost, trial.spec.correlation.cells),
            *(pair for told in answered(trial.ask, queries) for pair in told.items()),
            *(pair for values in full for pair in _localised(values, trial).items()),
        ]
        for measure, result in results:
            found.add(method, measure, result)
    return found


def _lost(trial: Trial) -> dict[str, list[Drops]]:
    """Return by measure what is lost with random subsets, for each seed."""
    asked = [pair for seed in trial.spec.seeds for pair in _subset_queries(trial, seed)]
    found: dict[str, list[Drops]] = {}
    for (name, _query), drops in zip(
        asked, answered(trial.ask, [query for _name, query in asked]), strict=True
    ):
        found.setdefault(name, []).append(drops)
    return found


def _subset_queries(trial: Trial, seed: int) -> list[tuple[str, Query[Drops]]]:
    spec, wants = trial.spec.correlation, trial.spec.wants
    baseline, rng = trial.baselines[spec.baseline], trial.rng(seed, SUBSETS)
    if wants("correlation"):
        asked = [("correlation", spec.size, spec.runs)]
    else:
        asked = []
    if wants("sensitivity-n"):
        asked += [(f"sensitivity-n:{size}", size, spec.sensitivity_runs) for size in spec.sizes]
    queries = [
        (name, cell_drops(trial.picture, spec, baseline, size, runs, rng))
        for name, size, runs in asked
    ]
    if wants(PIXEL_CORRELATION) and (spec.quantus_compat or PIXEL_CORRELATION in trial.spec.named):
        queries.append(
            (PIXEL_CORRELATION, value_drops(trial.picture, spec.runs, trial.rng(seed, PIXELS)))
        )
    return queries


def _correlations(
    full: Sequence[Map], lost: Mapping[str, Sequence[Drops]], cells: int
) -> Iterator[tuple[str, float]]:
    """Yield correlations by measure for each seed, for sensitivity-n also their mean over sizes."""
    sizes: list[list[float]] = []
    for name, drops in lost.items():
        parts = [
            parts_of_values(values) if name == PIXEL_CORRELATION else parts_of_cells(values, cells)
            for values in full
        ]
        # A method has one map for all seeds, the random map has one for each.
        several = parts if len(parts) > 1 else parts * len(drops)
        values = [one.correlation(part) for one, part in zip(drops, several, strict=True)]
        sizes += [values] if name.startswith("sensitivity-n") else []
        yield from ((name, value) for value in values)
    yield from (("sensitivity-n", float(value)) for value in (np.mean(sizes, 0) if sizes else ()))


def _ordered_queries(values: Map, trial: Trial) -> Iterator[Query[dict[str, float | Curve]]]:
    """Yield what is asked in the order of a map: curves on each baseline, and ROAD."""
    spec = trial.spec
    for name in spec.curves.baselines if spec.wants("deletion", "insertion") else ():
        yield curves(trial.picture, trial.baselines[name], values, spec.curves.steps).then(
            partial(_both, name, spec)
        )
    if spec.wants("road"):
        rng = trial.rng(spec.seeds[0], NOISE)
        yield road(trial.picture, values, spec.road, rng).then(lambda score: {"road": score})


def _both(
    baseline: str, spec: FaithfulnessSpec, found: tuple[Curve, Curve]
) -> dict[str, float | Curve]:
    pairs = zip(("deletion", "insertion"), found, strict=True)
    return {f"{name}:{baseline}": curve for name, curve in pairs if spec.wants(name)}


def _localised(values: Map, trial: Trial) -> dict[str, float]:
    if trial.mask is None:
        return {}
    mask, spec = trial.mask, trial.spec.localisation
    found = {
        "pointing": pointing(values, mask, spec.tolerance),
        "energy": energy(values, mask),
        "dice": dice(values, mask, spec.threshold),
    }
    return {name: value for name, value in found.items() if trial.spec.wants(name)}
