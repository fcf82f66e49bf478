"""What a classifier says of a tile that was tampered with: many pictures, few at a time."""

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
Told = TypeVar("Told")


@dataclass(frozen=True, eq=False)
class Answers:
    """What was said of N pictures.

    Attributes
    ----------
    logits, probabilities
        (N,), of the class in question; probabilities by the card's activation.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def __getitem__(self, some: slice) -> Answers:
        return Answers(self.logits[some], self.probabilities[some])


class Ask(Protocol):
    """Whoever answers on pictures (3, H, W), normalised, made one by one as they are needed."""

    def __call__(self, pictures: Iterable[Tensor]) -> Answers:
        """Return what there is to say of the pictures, in their order."""


@dataclass(frozen=True)
class Witness:
    """A classifier that is asked about one class.

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

    def __call__(self, pictures: Iterable[Tensor]) -> Answers:
        """Return logits and probabilities of the class; see `Ask`."""
        said = [self._logits(torch.stack(some)) for some in _batches(pictures, self.batch)]
        if not said:
            return Answers(np.zeros(0), np.zeros(0))
        logits = torch.cat(said)
        probabilities = self.classifier.probabilities(logits)
        return Answers(*(_column(values, self.index) for values in (logits, probabilities)))

    def _logits(self, pictures: Tensor) -> Tensor:
        return self.classifier.run_normalised(pictures, gradients=False).logits.detach()


@dataclass(frozen=True, eq=False)
class Query(Generic[Found]):
    """Pictures to ask about, and what is to be made of the answers.

    Attributes
    ----------
    pictures
        Made as they are needed.
    count
        How many there are.
    conclude
        Makes a finding of their answers.
    """

    pictures: Iterable[Tensor]
    count: int
    conclude: Callable[[Answers], Found]

    def then(self, tell: Callable[[Found], Told]) -> Query[Told]:
        """Return the same question, of whose finding something else is made."""
        return Query(self.pictures, self.count, lambda answers: tell(self.conclude(answers)))


def answered(ask: Ask, queries: Sequence[Query[Found]]) -> list[Found]:
    """Return the findings of several queries, whose pictures share batches."""
    answers = ask(chain.from_iterable(query.pictures for query in queries))
    ends = np.cumsum([query.count for query in queries]).tolist()
    return [
        query.conclude(answers[end - query.count : end])
        for query, end in zip(queries, ends, strict=True)
    ]


def _batches(pictures: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    left = iter(pictures)
    while some := list(islice(left, size)):
        yield some


def _column(values: Tensor, index: int) -> NDArray[np.float64]:
    return values[:, index].cpu().numpy().astype(np.float64)
