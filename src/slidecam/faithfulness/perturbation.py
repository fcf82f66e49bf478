"""What a classifier says of a tile whose pixels were changed: many pictures, few at a time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.models import Classifier

BATCH = 16
"""Pictures in one pass; the fastest size on a CPU."""

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class ClassScores:
    """What a classifier says of one class on N pictures.

    Attributes
    ----------
    logits, probabilities
        (N,); probabilities by the card's activation.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def __getitem__(self, some: slice) -> ClassScores:
        return ClassScores(self.logits[some], self.probabilities[some])


class Scorer(Protocol):
    """Scores pictures (C, H, W), normalised, that are made one by one as they are needed."""

    def __call__(self, pictures: Iterable[Tensor]) -> ClassScores:
        """Return the scores of the pictures, in their order."""


@dataclass(frozen=True)
class ClassScorer:
    """A classifier's scores of one class.

    Attributes
    ----------
    classifier
        On its device, where the pictures must be.
    index
        Of the logit.
    batch
        Pictures in one pass, and so in memory at one time.
    """

    classifier: Classifier
    index: int
    batch: int = BATCH

    def __call__(self, pictures: Iterable[Tensor]) -> ClassScores:
        """Return logits and probabilities of the class; see `Scorer`."""
        parts = [self._logits(torch.stack(some)) for some in _batches(pictures, self.batch)]
        if not parts:
            return ClassScores(np.zeros(0), np.zeros(0))

        logits = torch.cat(parts)
        probabilities = self.classifier.probabilities(logits)
        return ClassScores(_column(logits, self.index), _column(probabilities, self.index))

    def _logits(self, pictures: Tensor) -> Tensor:
        return self.classifier.run_normalised(pictures, gradients=False).logits.detach()


@dataclass(frozen=True, eq=False)
class Perturbation(Generic[Found]):
    """Changed pictures of one tile, and what is concluded from their scores.

    Attributes
    ----------
    pictures
        Made as they are needed.
    count
        How many there are.
    conclude
        Makes a finding of their scores.
    """

    pictures: Iterable[Tensor]
    count: int
    conclude: Callable[[ClassScores], Found]


def run_all(score: Scorer, perturbations: Sequence[Perturbation[Found]]) -> list[Found]:
    """Return the findings of several perturbations, whose pictures share batches."""
    scores = score(chain.from_iterable(one.pictures for one in perturbations))
    found = []
    start = 0
    for one in perturbations:
        found.append(one.conclude(scores[start : start + one.count]))
        start += one.count
    return found


def _batches(pictures: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    left = iter(pictures)
    while some := list(islice(left, size)):
        yield some


def _column(values: Tensor, index: int) -> NDArray[np.float64]:
    return values[:, index].cpu().numpy().astype(np.float64)
