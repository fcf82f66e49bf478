"""ROAD: what is lost with the pixels that a map finds important.

The pixels are filled in, so that nothing betrays that they are gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu

from slidecam.errors import UsageError
from slidecam.faithfulness.mapping import ranks
from slidecam.faithfulness.perturbation import Perturbation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.faithfulness.perturbation import ClassScores

NEIGHBOURS = (
    ((0, 1), 1 / 6), ((0, -1), 1 / 6), ((1, 0), 1 / 6), ((-1, 0), 1 / 6),
    ((1, 1), 1 / 12), ((1, -1), 1 / 12), ((-1, 1), 1 / 12), ((-1, -1), 1 / 12),
)  # fmt: skip
"""The eight pixels round a pixel (rows, columns), and what each weighs."""


@dataclass(frozen=True)
class RoadSpec:
    """Settings of ROAD.

    Attributes
    ----------
    shares
        Shares of the tile's pixels that are taken away, each once from the top of the map and once
        from its bottom.
    noise
        Standard deviation, in the network's units, of what is added to imputed pixels; it hides
        their smoothness.
    """

    shares: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    noise: float = 0.01

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share < 1 for share in self.shares):
            raise UsageError(
                f"shares {self.shares} of a tile cannot be taken away.",
                "Use numbers between 0 and 1.",
            )


def road(
    picture: Tensor, values: NDArray[np.float32], spec: RoadSpec, rng: np.random.Generator
) -> Perturbation[float]:
    """Return the question whose finding is ROAD's combined score of a map on one tile.

    Large is good.

    Parameters
    ----------
    picture
        (3, H, W), normalised.
    values
        (H, W): the map, on the tile's pixels. Ties go row by row from the top left (`ranks`).
    spec
        What to take away.
    rng
        Draws the noise.

    Notes
    -----
    Rong et al., *A Consistent and Efficient Evaluation Strategy for Attribution Methods*, ICML 2022
    (arXiv:2202.00449). The least relevant pixels are removed and imputed, then the most relevant:
    the score is half the mean difference of the class's probability, ``(LeRF - MoRF) / 2``, as
    pytorch-grad-cam's ``ROADCombined`` has it. Not by that library, because its noise comes from
    torch's global random state, and because it takes away all pixels of equal value together: of a
    map that is 0 on two thirds of the tile, two thirds where a fifth was wanted.
    """
    places, total = ranks(values), values.size
    counts = [round(share * total) for share in spec.shares]
    removed = [places >= total - count for count in counts] + [places < count for count in counts]

    def pictures() -> Iterator[Tensor]:
        return (imputed(picture, mask, spec.noise, rng) for mask in removed)

    def conclude(scores: ClassScores) -> float:
        least, most = np.split(scores.probabilities, 2)
        return float((least - most).mean() / 2)

    return Perturbation(pictures(), len(removed), conclude)


def imputed(
    picture: Tensor, removed: NDArray[np.bool_], noise: float, rng: np.random.Generator
) -> Tensor:
    """Return a picture (3, H, W), its removed pixels (H, W) filled in by noisy linear imputation.

    Notes
    -----
    Each removed pixel is the weighted mean of its eight neighbours (`NEIGHBOURS`), removed ones
    included: one sparse linear system for the whole tile, symmetric and positive, with the three
    colours as right-hand sides.
    """
    if removed.all() or not removed.any():
        if removed.all():
            return torch.zeros_like(picture)
        return picture
    colours = picture.cpu().numpy().astype(np.float64)
    matrix, right = _system(removed, colours)
    # Orders for symmetric matrices and no pivoting: half the time, or less, of the solver's
    # defaults.
    factors = splu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    found = factors.solve(right).T
    colours[:, removed] = found + noise * rng.standard_normal(found.shape)
    return torch.from_numpy(colours.astype(np.float32)).to(picture.device)


def _system(
    removed: NDArray[np.bool_], colours: NDArray[np.float64]
) -> tuple[sparse.csc_array, NDArray[np.float64]]:
    """Return the matrix (N, N) and the right-hand sides (N, 3) of the N removed pixels."""
    numbers = np.cumsum(removed).reshape(removed.shape) - 1
    weights, known = np.zeros(removed.shape), np.zeros(colours.shape)
    entries: list[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]] = []
    for offset, weight in NEIGHBOURS:
        here, there = _shifted(removed.shape, offset)
        weights[here] += weight
        known[:, *here] += weight * colours[:, *there] * ~removed[there]
        both = removed[here] & removed[there]
        entries.append((np.full(both.sum(), -weight), numbers[here][both], numbers[there][both]))
    diagonal = np.arange(removed.sum())
    entries.append((weights[removed], diagonal, diagonal))
    values, rows, columns = map(np.concatenate, zip(*entries, strict=True))
    return (
        sparse.csc_array((values, (rows, columns)), shape=(len(diagonal),) * 2),
        known[:, removed].T.copy(),
    )


def _shifted(
    shape: tuple[int, ...], offset: tuple[int, int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a pixel and its neighbour at ``offset`` are both inside."""
    here = tuple(
        slice(max(0, -step), edge - max(0, step)) for step, edge in zip(offset, shape, strict=True)
    )
    there = tuple(
        slice(max(0, step), edge - max(0, -step)) for step, edge in zip(offset, shape, strict=True)
    )
    return here, there
