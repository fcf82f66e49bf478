"""What a training is given beside its recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slidecam.learning.training.beginning import StartingWeights

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class TrainingCall:
    """What a training is given beside its recipe.

    Attributes
    ----------
    out
        Folder for what it makes.
    weights
        Where the network begins.
    existing
        Where a training was begun in ``out``: ``refuse``, ``resume`` or ``overwrite`` it.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    cache
        Folder where features are kept for other trainings on the same pictures; None keeps them
        while this one lasts.
    pages
        Whether measures get pages and figures beside their records.
    share
        Whether those trainings part the pictures otherwise, as folds do: all pictures have
        augmented copies then.
    """

    out: Path
    weights: StartingWeights = field(default_factory=StartingWeights)
    existing: str = "refuse"
    device: str = "auto"
    cache: Path | None = None
    pages: bool = True
    share: bool = False
