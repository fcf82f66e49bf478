"""Max-sensitivity: how far a map can move when the tile changes by less than an eye sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from slidecam.errors import UsageError
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Maps = NDArray[np.float32]

FULL_SCALE = 255


@dataclass(frozen=True)
class StabilitySpec:
    """Settings of max-sensitivity.

    Attributes
    ----------
    radius
        Largest change of a pixel's colour, as a share of the full scale: 0.02 is 5 of 255 grey
        levels.
    repeats
        Changed tiles of which the worst counts. Each is explained anew.
    tiles
        Tiles that a report measures so, the first ones: a dear method would take ten times as long
        as without.
    """

    radius: float = 0.02
    repeats: int = 10
    tiles: int = 8

    def __post_init__(self) -> None:
        if min(self.levels, self.repeats, self.tiles) < 1:
            problem = (
                f"{self.repeats} changes of {self.levels} grey levels on {self.tiles} tiles measure"
                " nothing."
            )
            raise UsageError(problem, "Use 1 or more of each; a radius of 0.004 is one grey level.")

    @property
    def levels(self) -> int:
        """The radius in grey levels."""
        return round(self.radius * FULL_SCALE)


def max_sensitivity(
    explain: Callable[[Tensor], Maps],
    pixels: Tensor,
    spec: StabilitySpec,
    rngs: Sequence[np.random.Generator],
    original: Maps | None = None,
) -> Generator[Step, None, NDArray[np.float64]]:
    """Measure step by step how far the maps of some tiles move.

    Parameters
    ----------
    explain
        Returns maps (B, h, w) of tiles (B, H, W, 3), uint8.
    pixels
        The tiles.
    spec
        How much to change them, and how often.
    rngs
        One for each tile draws its changes, so that a tile's figure does not hang on its
        neighbours.
    original
        Their maps, if they are there already.

    Returns
    -------
    NDArray
        (B,): 0 for a map that stays, 1 for one that moves by its own length; nan where a map is 0
        everywhere.

    Notes
    -----
    Yeh et al., *On the (In)fidelity and Sensitivity of Explanations*, NeurIPS 2019
    (arXiv:1901.09392), definition 2, estimated as captum does: the largest of some random
    ``|Phi(x + d) - Phi(x)| / |Phi(x)|`` with ``|d|∞ <= r`` and the Euclidean norm of maps.
    Explainers are given bytes, so ``d`` is whole grey levels, and a colour that would leave the
    scale stops at its end.
    """
    maps = explain(pixels) if original is None else original
    worst = np.zeros(len(pixels))
    for repeat in range(spec.repeats):
        changed = explain(disturbed(pixels, spec.levels, rngs))
        worst = np.maximum(worst, _moved(changed, maps))
        yield Step("max-sensitivity", repeat + 1, spec.repeats)
    return worst


def disturbed(pixels: Tensor, levels: int, rngs: Sequence[np.random.Generator]) -> Tensor:
    """Return tiles, uint8 (B, H, W, 3), every value changed by at most ``levels``, evenly drawn."""
    shape = pixels.shape[1:]
    noise = np.stack(
        [rng.integers(-levels, levels, shape, np.int16, endpoint=True) for rng in rngs]
    )
    changed = pixels.to(torch.int16) + torch.from_numpy(noise).to(pixels.device)
    return changed.clamp_(0, FULL_SCALE).to(torch.uint8)


def _moved(changed: Maps, maps: Maps) -> NDArray[np.float64]:
    length = np.sqrt(np.square(maps, dtype=np.float64).sum((1, 2)))
    distance = np.sqrt(np.square(changed.astype(np.float64) - maps).sum((1, 2)))
    moved = np.full(len(maps), np.nan)
    np.divide(distance, length, out=moved, where=length > 0)
    return moved
