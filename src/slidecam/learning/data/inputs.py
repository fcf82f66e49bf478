"""What a network in training is given.

Pictures that are decoded once, augmented anew each time, and normalised. Classes of different sizes
are evened out: by weights for the loss, or by the order in which an epoch draws pictures.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import torch

from slidecam.learning.data.augmentation import augment
from slidecam.learning.data.pictures import load_pictures, load_pixels
from slidecam.models.classifier import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.learning.data.augmentation import AugmentationSpec
    from slidecam.models.card import Card
    from slidecam.steps import Step


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return a weight for each class.

    As scikit-learn's ``balanced``, pictures / (classes * pictures of the class).

    Parameters
    ----------
    labels
        int64, (pictures,).
    classes
        How many classes there are; one without any picture has the weight 0, and is not counted
        among them.

    Returns
    -------
    Tensor
        float32, (classes,). The mean weight of a picture is 1.
    """
    counts = torch.bincount(labels, minlength=classes).float()
    present = (counts > 0).sum()
    return torch.where(counts > 0, len(labels) / (present * counts.clamp(min=1)), 0.0)


def oversampled(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows of one epoch in which every class comes as often as the largest.

    Each picture of a class comes equally often, or once more than another; which of them do, and
    the order, is drawn from ``generator`` alone, so that a training that is continued goes on as it
    would have.

    Parameters
    ----------
    labels
        int64, (pictures,).

    Returns
    -------
    Tensor
        int64, (classes present * pictures of the largest,), shuffled.
    """
    counts = torch.bincount(labels)
    most = int(counts.max())
    rows = torch.cat(
        [
            _repeated(torch.nonzero(labels == index)[:, 0], most, generator)
            for index in counts.nonzero()
        ]
    )
    return rows[torch.randperm(len(rows), generator=generator)]


def shuffled(count: int, generator: torch.Generator) -> Tensor:
    """Return the rows of one epoch in which every picture comes once, int64, (count,)."""
    return torch.randperm(count, generator=generator)


def _repeated(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    whole, rest = divmod(most, len(rows))
    some = rows[torch.randperm(len(rows), generator=generator)[:rest]]
    return torch.cat([rows.repeat(whole), some])


Given = TypeVar("Given")
Made = TypeVar("Made")

WORKERS = 4
"""Threads that decode."""


class Inputs(Protocol):
    """Pictures by their rows, as the network that is trained takes them."""

    def training(self, rows: NDArray[np.int64], epoch: int, generator: torch.Generator) -> Tensor:
        """Return augmented pictures, float32 (B, …), on the network's device.

        ``generator`` is the only source of chance; ``epoch`` counts from 0 over all phases.
        """

    def plain(self, rows: NDArray[np.int64]) -> Tensor:
        """Return pictures as inference sees them, float32 (B, …), on the network's device."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures at the network's size, by rows: from memory where they fit, else decoded each time.

    Attributes
    ----------
    paths
        One file each.
    edge, interpolation
        As on the card.
    held
        All of them, uint8 (N, edge, edge, 3), or None.
    """

    paths: tuple[Path, ...]
    edge: int
    interpolation: str
    held: Tensor | None = None

    def batch(self, rows: NDArray[np.int64]) -> Tensor:
        """Return uint8 (B, edge, edge, 3)."""
        if self.held is not None:
            return self.held[torch.from_numpy(rows)]
        load = partial(load_pixels, edge=self.edge, interpolation=self.interpolation)
        with ThreadPoolExecutor(WORKERS) as pool:
            return torch.from_numpy(
                np.stack(list(pool.map(load, [self.paths[row] for row in rows])))
            )


def hold_pictures(
    paths: Sequence[Path], card: Card, memory_mb: int
) -> Generator[Step, None, Pictures]:
    """Decode all pictures, if they fit into ``memory_mb`` at the card's size.

    Raises
    ------
    DataSetError
        Naming the first picture that cannot be read.
    """
    fits = len(paths) * card.input_px**2 * 3 <= memory_mb * 2**20
    held = None
    if fits:
        held = yield from load_pictures(paths, card.input_px, card.interpolation, WORKERS)
    return Pictures(tuple(paths), card.input_px, card.interpolation, held)


@dataclass(frozen=True, eq=False)
class PixelInputs:
    """`Inputs` of a network that sees pixels.

    Attributes
    ----------
    pictures
        Where they come from.
    card
        How they are normalised.
    augmentation
        What is done to them in training.
    device
        Where they are wanted.
    """

    pictures: Pictures
    card: Card
    augmentation: AugmentationSpec
    device: torch.device

    def training(self, rows: NDArray[np.int64], epoch: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002  (each epoch draws anew)
        """Return augmented pictures (B, 3, H, W); see `Inputs`."""
        pixels = self.pictures.batch(rows).to(self.device)
        return normalised(augment(pixels, self.augmentation, generator), self.card)

    def plain(self, rows: NDArray[np.int64]) -> Tensor:
        """Return pictures (B, 3, H, W); see `Inputs`."""
        return normalised(self.pictures.batch(rows).to(self.device), self.card)


def generator_of(*numbers: int) -> torch.Generator:
    """Return a generator that depends on these numbers alone: a seed, an epoch, a batch.

    Seeding every epoch anew, instead of carrying a state from one to the next, is what lets a
    training that was killed be resumed exactly.
    """
    state = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))


def made_ahead(
    make: Callable[[Given], Made], items: Iterable[Given], *, apart: bool
) -> Iterator[Made]:
    """Yield what ``make`` gives for each item, in order.

    With ``apart`` the next one is made meanwhile by a thread.
    """
    if not apart:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(1) as thread:
        waiting = []
        for item in items:
            waiting.append(thread.submit(make, item))
            if len(waiting) > 1:
                yield waiting.pop(0).result()
        for last in waiting:
            yield last.result()
