"""What is written down of a training: before it, what is about to be done; after it, where a bundle comes from."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from slidecam.learning.folder import write_json, write_text
from slidecam.learning.pictures import write_picture_table
from slidecam.learning.recipe import recipe_text
from slidecam.learning.splitting import split_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.learning.folder import TrainingFolder
    from slidecam.learning.pictures import PictureSet
    from slidecam.learning.recipe import Recipe

PACKAGES = ("slidecam", "torch", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class Outcome:
    """What a training came to, for the provenance.

    Attributes
    ----------
    content
        Digest of the pictures' content.
    first_weights
        Where the network began.
    epochs, best_epoch
        How many there were, and which of them was kept, counted from 1.
    device
        Where it was trained.
    packages
        What was used beside `PACKAGES`.
    """

    content: str
    first_weights: Mapping[str, Any]
    epochs: int
    best_epoch: int
    device: torch.device
    packages: tuple[str, ...] = ()


def write_plan(folder: TrainingFolder, recipe: Recipe, pictures: PictureSet) -> None:
    """Write the recipe as it is run, and which picture is in which part."""
    write_text(folder.recipe, recipe_text(recipe.table))
    write_json(folder.split, split_record(pictures, recipe.data.parting))
    write_picture_table(pictures, folder.pictures)


def provenance_of(recipe: Recipe, pictures: PictureSet, outcome: Outcome) -> dict[str, Any]:
    """Return where a bundle comes from, as JSON values: recipe, data, weights, versions, time."""
    device = outcome.device
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    versions = {name: version(name) for name in (*PACKAGES, *outcome.packages)}
    return {
        "recipe": recipe_text(recipe.table),
        "data": {**split_record(pictures, recipe.data.parting), "content": outcome.content},
        "first_weights": dict(outcome.first_weights),
        "seed": recipe.phases[0].seed,
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "with": {**versions, "python": platform.python_version(), "device": place},
    }
