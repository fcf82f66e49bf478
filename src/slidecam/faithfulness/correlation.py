"""Faithfulness correlation and sensitivity-n, and how well a map lies on a mask.

Whether what a map gives to pixels is what the logit loses with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from slidecam.errors import UsageError
from slidecam.explain.baselines import black, check_baselines
from slidecam.faithfulness.removal import ClassScores, Perturbation
from slidecam.thresholds import Threshold, threshold_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

Output = Literal["logit", "probability"]

QUANTUS_SUBSET = 224
"""Values Quantus replaces at a time, of all pixels' three colours: 0.15 % of a tile of 224 px."""


@dataclass(frozen=True)
class CorrelationSpec:
    """Settings of faithfulness correlation and sensitivity-n.

    Attributes
    ----------
    cells
        The tile is cut into ``cells`` x ``cells``, and whole cells are taken away, all three
        colours together. Where they do not divide the tile, its border stays: cells are equally
        large (`cell_numbers`).
    size
        Cells in a subset of faithfulness correlation.
    runs
        Subsets of faithfulness correlation, of each tile and seed.
    baseline
        What takes their place. Under ``zero`` the figure moves with the seed.
    output
        What is to fall: the logit, of which a linear model is exactly the sum, or the probability.
    sizes
        Cells in a subset of sensitivity-n, one size after the other, up to 80 % of all as in the
        paper.
    sensitivity_runs
        Subsets of each size. Fewer than ``runs``, since there are many sizes.
    quantus_compat
        Whether Quantus' pixel version is measured as well. It takes so little away that it is noise
        on most maps.
    """

    cells: int = 14
    size: int = 20
    runs: int = 100
    baseline: str = "blur"
    output: Output = "logit"
    sizes: tuple[int, ...] = (5, 20, 80, 157)
    sensitivity_runs: int = 30
    quantus_compat: bool = False

    def __post_init__(self) -> None:
        check_baselines([self.baseline])
        for size in (self.size, *self.sizes):
            if not 1 <= size < self.cells**2:
                remedy = f"Use 1 to {self.cells**2 - 1}, of {self.cells} x {self.cells} cells."
                raise UsageError(f"a subset of {size} cells cannot be drawn.", remedy)


@dataclass(frozen=True, eq=False)
class Drops:
    """What a classifier lost with some parts of a tile.

    Attributes
    ----------
    subsets
        (runs, size): the numbers of the parts that were taken away.
    drops
        (runs,): by how much the output was higher before.
    """

    subsets: NDArray[np.int64]
    drops: NDArray[np.float64]

    def correlation(self, parts: NDArray[np.float64]) -> float:
        """Return Pearson's correlation with the sums of what a map gives to the parts.

        Nan if either never varies.

        Parameters
        ----------
        parts
            (P,): the map's value of every part.
        """
        return pearson(parts[self.subsets].sum(1), self.drops)


def cell_drops(
    picture: Tensor,
    spec: CorrelationSpec,
    baseline: Tensor,
    size: int,
    runs: int,
    rng: np.random.Generator,
) -> Perturbation[Drops]:
    """Return the question what is lost with random subsets of cells.

    One answer serves every map of the tile.

    Parameters
    ----------
    picture, baseline
        (C, H, W), normalised: the tile, and what takes its pixels' place.
    spec
        Says how the tile is cut and which output is meant.
    size, runs
        Cells in a subset, and subsets.
    rng
        Draws the subsets, each without repetition.

    Raises
    ------
    UsageError
        If the tile has fewer pixels than ``spec.cells`` along an edge.

    Notes
    -----
    Bhatt et al., *Evaluating and Aggregating Feature-based Model Explanations*, IJCAI 2020
    (arXiv:2005.00631), definition 3: the correlation, over random S of one size, of the sum of the
    attributions in S with ``f(x) - f(x[S := baseline])``. Ancona et al., *Towards better
    understanding of gradient-based attribution methods*, ICLR 2018 (arXiv:1711.06104), section 3.3,
    asks the same for every size n: sensitivity-n.
    """
    _colours, height, width = picture.shape
    cells, device = spec.cells, picture.device
    if min(height, width) < cells:
        problem = f"tiles of {width} x {height} px cannot be cut into {cells} x {cells}."
        raise UsageError(problem, "Use fewer cells.")
    subsets = _subsets(rng, cells**2, size, runs)
    numbers = torch.from_numpy(cell_numbers((height, width), cells)).to(device)

    def pictures() -> Iterator[Tensor]:
        yield picture
        for subset in subsets:
            gone = torch.zeros(cells**2 + 1, dtype=torch.bool, device=device)
            gone[torch.from_numpy(subset).to(device)] = True
            yield torch.where(gone[numbers], baseline, picture)

    return _drops_query(pictures(), subsets, spec.output)


def value_drops(
    picture: Tensor,
    runs: int,
    rng: np.random.Generator,
    size: int = QUANTUS_SUBSET,
) -> Perturbation[Drops]:
    """Return the question what is lost with random values of the tile, as Quantus' defaults ask it.

    Parameters
    ----------
    picture
        (C, H, W), normalised. Single values are taken, of any colour, and set to the smallest of
        the picture.
    runs, size
        Subsets, and values in each.
    rng
        Draws them.

    Notes
    -----
    Quantus 0.6 ``FaithfulnessCorrelation`` with its defaults: 100 runs of 224 values,
    ``perturb_baseline="black"``, logits, the map repeated for each colour. Its normalisation of the
    map by the largest value does not change a correlation.
    """
    subsets = _subsets(rng, picture.numel(), size, runs)
    lowest = black(picture).flatten()

    def pictures() -> Iterator[Tensor]:
        yield picture
        for subset in subsets:
            places = torch.from_numpy(subset).to(picture.device)
            changed = picture.flatten().clone()
            changed[places] = lowest[places]
            yield changed.view(picture.shape)

    return _drops_query(pictures(), subsets, "logit")


def cell_numbers(size: tuple[int, ...], cells: int) -> NDArray[np.int64]:
    """Return for every pixel (H, W) the number of its cell, of ``cells`` x ``cells``, row by row.

    All cells are equally large: a larger one would matter more to any classifier, and get more from
    any map, so that even a random map would seem to know something. What is left at the tile's
    border, less than a cell's share, is numbered ``cells * cells``.
    """
    row, column = _cells_along(size[0], cells)[:, None], _cells_along(size[1], cells)
    return np.where((row < cells) & (column < cells), row * cells + column, cells * cells)


def cell_sums(values: NDArray[np.float32], cells: int) -> NDArray[np.float64]:
    """Return the sum of a map (H, W) over each of its cells, for `Drops.correlation`.

    (cells * cells,), after `cell_drops`. The border left over is in none. Sums, and not means, add
    up to what a whole subset of cells is given.
    """
    numbers = cell_numbers(values.shape, cells).ravel()
    sums = np.bincount(numbers, values.ravel(), cells * cells)
    return sums[: cells * cells].astype(np.float64)


def _cells_along(edge: int, cells: int) -> NDArray[np.int64]:
    """Return the number of each pixel's cell along an edge.

    ``cells`` for those at either end that are in none.
    """
    pixels = edge // cells
    places = np.arange(edge) - (edge - pixels * cells) // 2
    return np.where((places >= 0) & (places < pixels * cells), places // pixels, cells)


def value_parts(values: NDArray[np.float32], channels: int) -> NDArray[np.float64]:
    """Return what a map (H, W) gives to every value of a tile of so many channels.

    It is for `Drops.correlation` after `value_drops`.
    """
    return np.tile(values.ravel().astype(np.float64), channels)


def pearson(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return Pearson's correlation of two equally long series; nan if either never varies."""
    a, b = one - one.mean(), other - other.mean()
    for rest, values in ((a, one), (b, other)):
        # A series of equal numbers leaves rounding behind, which correlates with anything.
        if np.abs(rest).max() <= np.finfo(np.float64).eps * np.abs(values).max():
            return float("nan")
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def mean_of_known(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the mean along an axis of the values that are numbers; nan where none is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis)
    means = np.full(total.shape, np.nan)
    np.divide(total, known.sum(axis), out=means, where=known.any(axis))
    return means


def _subsets(rng: np.random.Generator, parts: int, size: int, runs: int) -> NDArray[np.int64]:
    return np.stack([rng.choice(parts, size, replace=False) for _ in range(runs)])


def _drops_query(
    pictures: Iterator[Tensor],
    subsets: NDArray[np.int64],
    output: Output,
) -> Perturbation[Drops]:
    def conclude(scores: ClassScores) -> Drops:
        values = scores.probabilities
        if output == "logit":
            values = scores.logits
        return Drops(subsets, values[0] - values[1:])

    return Perturbation(pictures, len(subsets) + 1, conclude)


@dataclass(frozen=True)
class LocalisationSpec:
    """Settings of the measures that need a mask.

    Attributes
    ----------
    threshold
        Where a map begins to count, for its overlap with the mask.
    tolerance
        Pixels by which the pointing game may miss the mask; Zhang et al. allowed 15.
    """

    threshold: Threshold = field(default_factory=Threshold)
    tolerance: float = 0.0


def pointing(values: NDArray[np.float32], mask: NDArray[np.bool_], tolerance: float = 0.0) -> float:
    """Return 1 if the highest value of a map lies in the mask, else 0; nan if the mask is empty.

    Of several highest pixels, the share that lies inside: a flat map points where it hits by
    chance.

    Parameters
    ----------
    values, mask
        (H, W), on the tile's pixels.
    tolerance
        Pixels by which it may miss.

    Notes
    -----
    Zhang et al., *Top-down Neural Attention by Excitation Backprop*, ECCV 2016 (arXiv:1608.00507),
    section 4.1.
    """
    if not mask.any():
        return float("nan")
    near = mask
    if tolerance:
        near = distance_transform_edt(~mask) <= tolerance
    return float(near[values == values.max()].mean())


def energy(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Return the share of a map's positive values that lies in the mask, 0 to 1.

    To be read beside the mask's share of the tile, which is what a flat map scores. nan if the mask
    is empty or no value is positive.

    Parameters
    ----------
    values, mask
        (H, W), on the tile's pixels.

    Notes
    -----
    Wang et al., *Score-CAM*, CVPR Workshops 2020 (arXiv:1910.01279), section 4.3: the energy-based
    pointing game.
    """
    positive = np.maximum(values, 0).astype(np.float64)
    if not mask.any() or positive.max() <= 0:
        return float("nan")
    return float(positive[mask].sum() / positive.sum())


def dice(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    threshold: Threshold | None = None,
) -> float:
    """Return Dice's ``2 |A ∩ B| / (|A| + |B|)`` of a mask and where a map reaches a threshold.

    Parameters
    ----------
    values, mask
        (H, W), on the tile's pixels.
    threshold
        None for Otsu's. A flat map has no such place, and scores 0.
    """
    if not mask.any():
        return float("nan")
    if values.max() <= values.min():
        return 0.0
    found = values >= threshold_of(values, threshold or Threshold())
    return float(2 * (found & mask).sum() / (found.sum() + mask.sum()))
