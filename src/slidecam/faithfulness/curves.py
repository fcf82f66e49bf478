"""Deletion and insertion.

How a class's probability falls and rises as pixels go and come in a map's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from slidecam.errors import UsageError
from slidecam.explain.baselines import check_baselines
from slidecam.faithfulness.mapping import ranks
from slidecam.faithfulness.perturbation import Perturbation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.faithfulness.perturbation import ClassScores


@dataclass(frozen=True)
class CurveSpec:
    """Settings of deletion and insertion.

    Attributes
    ----------
    steps
        Steps from the whole tile to none of it. 28 moved an area by at most 0.0007 against RISE's
        own 224 on tiles of 224 px, at an eighth of the cost. ``rise`` takes as many as the tile has
        rows, so that each step changes as many pixels as a row has.
    baselines
        What takes the place of pixels; each gives a curve of its own, because it decides much of
        the area.
    """

    steps: int | Literal["rise"] = 28
    baselines: tuple[str, ...] = ("zero", "blur")

    def __post_init__(self) -> None:
        check_baselines(self.baselines)
        if self.steps != "rise" and self.steps < 1:
            raise UsageError(
                f"curves of {self.steps} steps cannot be drawn.", "Use 1 or more, for example 28."
            )


@dataclass(frozen=True, eq=False)
class Curve:
    """What became of a class's probability.

    Attributes
    ----------
    fractions
        (steps + 1,): share of the tile's pixels that were changed, 0 to 1.
    values
        (steps + 1,): the class's probability then.
    """

    fractions: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def auc(self) -> float:
        """Area under the curve by the trapezoid rule, 0 to 1 as probabilities are."""
        return float(np.trapezoid(self.values, self.fractions))


def curves(
    picture: Tensor,
    baseline: Tensor,
    values: NDArray[np.float32],
    steps: int | Literal["rise"] = 28,
) -> Perturbation[tuple[Curve, Curve]]:
    """Return the question whose finding is (deletion, insertion) of a map on one tile.

    Parameters
    ----------
    picture, baseline
        (3, H, W), normalised: the tile, and what takes its pixels' place.
    values
        (H, W): the map, on the tile's pixels. Ties go row by row from the top left (`ranks`).
    steps
        As in `CurveSpec`.

    Notes
    -----
    Petsiuk et al., *RISE*, BMVC 2018 (arXiv:1806.07421), section 4.1. Deletion replaces pixels by
    the baseline, the most important first, all three colours at once: a small area is good.
    Insertion starts from the baseline and puts the tile's pixels back in the same order: a large
    area is good. RISE's code deletes to zero and inserts into a blur; here each baseline is used
    for both.
    """
    places = torch.from_numpy(ranks(values)).to(picture.device)
    total = values.size
    if steps == "rise":
        parts = values.shape[0]
    else:
        parts = min(steps, total)
    counts = [round(step * total / parts) for step in range(parts + 1)]
    fractions = np.asarray(counts) / total

    def pictures() -> Iterator[Tensor]:
        yield from (torch.where(places < count, baseline, picture) for count in counts)
        # Where insertion begins, deletion has ended, and the other way round.
        yield from (torch.where(places < count, picture, baseline) for count in counts[1:-1])

    def conclude(scores: ClassScores) -> tuple[Curve, Curve]:
        deleted, inserted = scores.probabilities[: parts + 1], scores.probabilities[parts + 1 :]
        restored = np.concatenate([deleted[-1:], inserted, deleted[:1]])
        return Curve(fractions, deleted), Curve(fractions, restored)

    return Perturbation(pictures(), 2 * parts, conclude)
