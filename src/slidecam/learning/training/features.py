"""Features of a network's frozen beginning, computed once for all epochs.

Of every picture, and of augmented copies.

Training on them costs what the end of the network costs: for MobileNetV2 cut before ``blocks.5`` a
tenth of the whole. The price is that augmentation comes from a fixed number of copies, and that
features are rounded to float16.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from slidecam.errors import RecipeError
from slidecam.files import replacing
from slidecam.learning.data.augmentation import augment
from slidecam.learning.data.inputs import generator_of
from slidecam.models.classifier import normalised
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.learning.data.augmentation import AugmentationSpec
    from slidecam.learning.data.inputs import Pictures
    from slidecam.learning.recipes.tables import FeatureSpec
    from slidecam.models.card import Card

_AT_ONCE = 16
"""Pictures per pass; more overflow a CPU's caches."""


@dataclass(frozen=True, eq=False)
class FeaturePlan:
    """What features are to be computed.

    Attributes
    ----------
    pictures, card
        Of what, and how it is normalised.
    trained
        Rows of the pictures whose augmented copies are wanted.
    augmentation, seed
        How copies are made.
    spec
        How many, and how they are kept.
    """

    pictures: Pictures
    card: Card
    trained: NDArray[np.int64]
    augmentation: AugmentationSpec
    seed: int
    spec: FeatureSpec

    def digest(self, source: str) -> str:
        """Return what features of these pictures are known by.

        ``source`` tells the pictures' and network's content.
        """
        facts = [source, len(self.pictures.paths), self.card.input_px, self.card.interpolation]
        facts += [
            self.card.mean,
            self.card.std,
            self.trained.tolist(),
            asdict(self.augmentation),
            self.seed,
        ]
        facts += [self.spec.copies, self.spec.dtype]
        return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class FeatureInputs:
    """`Inputs` of the end of a network, from cached features.

    Attributes
    ----------
    array
        (N + copies * T, …), float16 or float32: every picture plain, then copy after copy of the T
        trained ones.
    places
        (N,): which of the T a picture is, or -1.
    count, copies
        N, and how many copies there are.
    device
        Where features are wanted.
    """

    array: NDArray[Any]
    places: NDArray[np.int64]
    copies: int
    device: torch.device

    def training(self, rows: NDArray[np.int64], epoch: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002  (chance was drawn before)
        """Return one copy of each picture, another every epoch until all have come."""
        if not self.copies:
            return self.plain(rows)
        places = self.places[rows]
        trained = int(self.places.max()) + 1
        copies = (epoch + places * 7) % self.copies
        return self._taken(len(self.places) + copies * trained + places)

    def plain(self, rows: NDArray[np.int64]) -> Tensor:
        """Return features of pictures as inference sees them."""
        return self._taken(rows)

    def _taken(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.array[rows].astype(np.float32, copy=False)).to(self.device)


def cached_features(
    beginning: Callable[[Tensor], Tensor],
    plan: FeaturePlan,
    device: torch.device,
    source: str,
    folder: Path,
) -> Generator[Step, None, FeatureInputs]:
    """Return the features of a plan.

    Those kept in ``folder``, if they are of the same content, else computed.

    Parameters
    ----------
    beginning
        Normalised pixels (B, 3, H, W) to features (B, …).
    plan
        What is wanted.
    device
        Where to compute, and where features are wanted later.
    source
        Digest of the pictures' content and of the beginning's weights.
    folder
        Where features that are too large for memory are kept, and found again.

    Raises
    ------
    RecipeError
        If features do not fit into float16.
    """
    kept = folder / f"features-{plan.digest(source)[:32]}.npy"
    rows = len(plan.pictures.paths) + plan.spec.copies * len(plan.trained)
    places = np.full(len(plan.pictures.paths), -1, np.int64)
    places[plan.trained] = np.arange(len(plan.trained))
    if kept.is_file():
        return FeatureInputs(np.load(kept, mmap_mode="r"), places, plan.spec.copies, device)
    shape = (rows, *beginning(_first(plan, device)).shape[1:])
    if np.prod(shape) * np.dtype(plan.spec.dtype).itemsize <= plan.spec.memory_mb * 2**20:
        array = np.empty(shape, plan.spec.dtype)
        yield from _fill(array, beginning, plan, device)
        return FeatureInputs(array, places, plan.spec.copies, device)
    with replacing(kept) as fresh:
        mapped = np.lib.format.open_memmap(fresh, "w+", plan.spec.dtype, shape)
        yield from _fill(mapped, beginning, plan, device)
        mapped.flush()
        del mapped  # Windows moves no file that is mapped
    return FeatureInputs(np.load(kept, mmap_mode="r"), places, plan.spec.copies, device)


def _first(plan: FeaturePlan, device: torch.device) -> Tensor:
    return normalised(plan.pictures.batch(np.arange(1)).to(device), plan.card)


def _fill(
    array: NDArray[Any],
    beginning: Callable[[Tensor], Tensor],
    plan: FeaturePlan,
    device: torch.device,
) -> Iterator[Step]:
    """Compute features into ``array``; a copy's chance depends only on its number and its place."""
    largest = float(np.finfo(array.dtype).max)
    done = 0
    for copy, rows in _passes(plan):
        pixels = plan.pictures.batch(rows).to(device)
        if copy:
            pixels = augment(pixels, plan.augmentation, generator_of(plan.seed, copy, done))
        features = beginning(normalised(pixels, plan.card))
        if not bool(features.abs().max() <= largest):
            problem = (
                f"features before {plan.spec.cut} are not finite or too large for"
                f" {plan.spec.dtype}."
            )
            raise RecipeError(problem, 'Set features.dtype to "float32", or cut elsewhere.')
        array[done : done + len(rows)] = features.cpu().numpy()
        done += len(rows)
        yield Step("features", done, len(array))


def _passes(plan: FeaturePlan) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield batches of rows in the array's order; copy 0 is the plain picture."""
    everything = np.arange(len(plan.pictures.paths))
    for copy in range(plan.spec.copies + 1):
        rows = plan.trained if copy else everything
        for start in range(0, len(rows), _AT_ONCE):
            yield copy, rows[start : start + _AT_ONCE]
