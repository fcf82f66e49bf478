"""Two maps that know nothing of the classifier: chance, and the middle of the picture.

A method that is no better than these explains nothing.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from slidecam.errors import UsageError
from slidecam.explain.catalogue import Method
from slidecam.explain.explainer import Explainer, Explanation, check_classes
from slidecam.faithfulness.perturbation import BATCH
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.models import Classifier

CENTRE_SPREAD = 0.25
"""Standard deviation of the centre prior as a share of each edge."""


def random_map(seed: int | Sequence[int], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return a map (h, w) of independent values, uniform in 0-1; equal seeds give equal maps."""
    return np.random.default_rng(seed).random(shape, np.float32)


def centre_prior(shape: tuple[int, int], spread: float = CENTRE_SPREAD) -> NDArray[np.float32]:
    """Return a map (h, w) that is 1 in the middle and falls to its borders as a Gaussian.

    Parameters
    ----------
    shape
        Rows and columns.
    spread
        Standard deviation as a share of each edge.
    """
    rows, columns = (((np.arange(edge) + 0.5) / edge - 0.5) / spread for edge in shape)
    fall: NDArray[np.float32] = np.exp(
        -(np.square(rows)[:, None] + np.square(columns)[None, :]) / 2
    )
    return fall.astype(np.float32)


@dataclass(frozen=True)
class RandomMapSpec:
    """Settings of the random map.

    Attributes
    ----------
    seed
        Another one gives other maps. The tile's own bytes are drawn on too, so that tiles have maps
        of their own, the same whatever stands beside them in a batch.
    rows, columns
        Of the map; 7 by 7 is the grid of most networks on 224 px.
    """

    seed: int = 0
    rows: int = 7
    columns: int = 7

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"{self.seed} is no seed.", "Use 0 or more.")


@dataclass(frozen=True)
class CentrePriorSpec:
    """Settings of the centre prior; see `centre_prior`."""

    rows: int = 28
    columns: int = 28
    spread: float = CENTRE_SPREAD


class RandomMap(Explainer):
    """Draws a map for every tile and class, by chance."""

    def __init__(self, classifier: Classifier, spec: RandomMapSpec) -> None:
        super().__init__(classifier)
        self.spec = spec

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain nothing; see `Explainer.steps`."""
        check_classes(self.classifier, classes)
        logits = _logits(self.classifier, pixels)
        maps = [[self._map(tile, index) for index in classes] for tile in pixels.cpu().numpy()]
        yield Step("random map", len(maps), len(maps))
        facts = {"seed": self.spec.seed}
        return Explanation(
            "random-map", logits, torch.from_numpy(np.asarray(maps)).to(pixels.device), 1, facts
        )

    def _map(self, tile: NDArray[np.uint8], index: int) -> NDArray[np.float32]:
        seed = (self.spec.seed, zlib.crc32(tile.tobytes()), index)
        return random_map(seed, (self.spec.rows, self.spec.columns))


class CentrePrior(Explainer):
    """Gives every tile and class the same map: the middle."""

    def __init__(self, classifier: Classifier, spec: CentrePriorSpec) -> None:
        super().__init__(classifier)
        self.spec = spec

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain nothing; see `Explainer.steps`."""
        check_classes(self.classifier, classes)
        logits = _logits(self.classifier, pixels)
        prior = torch.from_numpy(
            centre_prior((self.spec.rows, self.spec.columns), self.spec.spread)
        )
        yield Step("centre prior", len(pixels), len(pixels))
        maps = prior.to(pixels.device).repeat(len(pixels), len(classes), 1, 1)
        return Explanation("centre-prior", logits, maps, 1, {"spread": self.spec.spread})


def _logits(classifier: Classifier, pixels: Tensor) -> Tensor:
    starts = range(0, len(pixels), BATCH)
    return torch.cat(
        [classifier.run(pixels[at : at + BATCH], gradients=False).logits for at in starts]
    )


METHODS: tuple[Method, ...] = (
    Method("random-map", "Random map", RandomMapSpec, RandomMap, needs_map=False, costly=False),
    Method(
        "centre-prior", "Centre prior", CentrePriorSpec, CentrePrior, needs_map=False, costly=False
    ),
)
"""The references as methods, for panels; faithfulness measures them in any case."""
