"""One tile: everything that is measured of its maps, methods' and references' alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.explain.baselines import BASELINES
from slidecam.faithfulness.correlation import (
    Drops,
    cell_drops,
    cell_sums,
    dice,
    energy,
    pointing,
    value_drops,
    value_parts,
)
from slidecam.faithfulness.mapping import enlarged
from slidecam.faithfulness.removal import Curve, Perturbation, Scorer, curves, road, run_all
from slidecam.faithfulness.spec import PIXEL_CORRELATION, FaithfulnessSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Map = NDArray[np.float32]
    Key = tuple[str, str]
    """A method, and a measure."""

SUBSETS, PIXELS, NOISE, MAPS, CHANGES = range(1, 6)
"""What chance is for; each draws from a stream of its own. Not from 0.

To NumPy, seeds (1, 2) and (1, 2, 0) are one.
"""


@dataclass(frozen=True, eq=False)
class MeasuredTile:
    """A tile, and the scores of its class.

    Attributes
    ----------
    picture
        (C, H, W), normalised.
    score
        Of the class in question, on any pictures.
    number
        The tile's place among all, on which random draws depend.
    mask
        (H, W), where the class is, or None if nobody drew it.
    spec
        What to measure.
    """

    picture: Tensor
    score: Scorer
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


def measure_tile(tile: MeasuredTile, maps: Mapping[str, Sequence[Map]]) -> TileFindings:
    """Return what is found of maps on one tile.

    Parameters
    ----------
    tile
        What is lost with subsets of it is computed once for all maps.
    maps
        By method: one map (h, w), or one for each seed.
    """
    found = TileFindings()
    lost = _losses_of_subsets(tile)
    for method, grids in maps.items():
        full = [enlarged(grid, tile.size) for grid in grids]
        for measure, value in _correlations(full, lost, tile):
            found.add(method, measure, value)
        for measure, result in _in_order(full, tile):
            found.add(method, measure, result)
        for values in full:
            for measure, value in _localised(values, tile):
                found.add(method, measure, value)
    return found


def _losses_of_subsets(tile: MeasuredTile) -> dict[str, list[Drops]]:
    """Return by measure what is lost with random subsets, for each seed."""
    names: list[str] = []
    perturbations: list[Perturbation[Drops]] = []
    for seed in tile.spec.seeds:
        for name, perturbation in _subsets(tile, seed):
            names.append(name)
            perturbations.append(perturbation)

    found: dict[str, list[Drops]] = {}
    for name, drops in zip(names, run_all(tile.score, perturbations), strict=True):
        found.setdefault(name, []).append(drops)
    return found


def _subsets(tile: MeasuredTile, seed: int) -> Iterator[tuple[str, Perturbation[Drops]]]:
    """Yield each measure's perturbation by random subsets under a seed."""
    spec, wants = tile.spec.correlation, tile.spec.wants
    baseline, rng = tile.baselines[spec.baseline], tile.rng(seed, SUBSETS)
    sizes = {}
    if wants("correlation"):
        sizes["correlation"] = (spec.size, spec.runs)
    if wants("sensitivity-n"):
        for size in spec.sizes:
            sizes[f"sensitivity-n:{size}"] = (size, spec.sensitivity_runs)

    for name, (size, runs) in sizes.items():
        yield name, cell_drops(tile.picture, spec, baseline, size, runs, rng)
    if wants(PIXEL_CORRELATION) and (spec.quantus_compat or PIXEL_CORRELATION in tile.spec.named):
        yield (
            PIXEL_CORRELATION,
            value_drops(tile.picture, spec.runs, tile.rng(seed, PIXELS)),
        )


def _correlations(
    full: Sequence[Map],
    lost: Mapping[str, Sequence[Drops]],
    tile: MeasuredTile,
) -> Iterator[tuple[str, float]]:
    """Yield correlations by measure for each seed, for sensitivity-n also their mean over sizes."""
    sizes: list[list[float]] = []
    for name, drops in lost.items():
        parts = [cell_sums(values, tile.spec.correlation.cells) for values in full]
        if name == PIXEL_CORRELATION:
            parts = [value_parts(values, len(tile.picture)) for values in full]
        # A method has one map for all seeds, the random map has one for each.
        if len(parts) == 1:
            parts *= len(drops)

        values = [one.correlation(part) for one, part in zip(drops, parts, strict=True)]
        if name.startswith("sensitivity-n"):
            sizes.append(values)
        for value in values:
            yield name, value

    if sizes:
        for mean in np.mean(sizes, 0):
            yield "sensitivity-n", float(mean)


def _in_order(full: Sequence[Map], tile: MeasuredTile) -> Iterator[tuple[str, float | Curve]]:
    """Yield what is found in the order of maps: curves on each baseline, and ROAD."""
    measures: list[tuple[str, ...]] = []
    perturbations: list[Perturbation[Any]] = []
    spec = tile.spec
    for values in full:
        if spec.wants("deletion", "insertion"):
            for name in spec.curves.baselines:
                baseline = tile.baselines[name]
                measures.append((f"deletion:{name}", f"insertion:{name}"))
                perturbations.append(curves(tile.picture, baseline, values, spec.curves.steps))
        if spec.wants("road"):
            rng = tile.rng(spec.seeds[0], NOISE)
            measures.append(("road",))
            perturbations.append(road(tile.picture, values, spec.road, rng))

    for names, found in zip(measures, run_all(tile.score, perturbations), strict=True):
        # The curves' finding is a pair, ROAD's a figure.
        results = found if len(names) > 1 else [found]
        for name, result in zip(names, results, strict=True):
            if spec.wants(name.partition(":")[0]):
                yield name, result


def _localised(values: Map, tile: MeasuredTile) -> Iterator[tuple[str, float]]:
    """Yield how a map lies to the mask, where there is one."""
    if tile.mask is None:
        return
    spec = tile.spec.localisation
    if tile.spec.wants("pointing"):
        yield "pointing", pointing(values, tile.mask, spec.tolerance)
    if tile.spec.wants("energy"):
        yield "energy", energy(values, tile.mask)
    if tile.spec.wants("dice"):
        yield "dice", dice(values, tile.mask, spec.threshold)
