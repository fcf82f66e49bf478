"""What is written down of a training: before it, what is about to be done.

After it, where a bundle comes from.
"""

from __future__ import annotations

import platform
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from slidecam.errors import CheckpointError
from slidecam.learning.data.pictures import write_picture_table
from slidecam.learning.data.splitting import split_record
from slidecam.learning.recipes.fields import shown
from slidecam.learning.recipes.recipe import recipe_text
from slidecam.learning.training.folder import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.learning.data.pictures import PictureSet
    from slidecam.learning.recipes.tables import Recipe
    from slidecam.learning.training.folder import TrainingFolder

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


def check_recipe(folder: TrainingFolder, recipe: Recipe) -> None:
    """Refuse to go on with another recipe than the one that was run, naming the keys that differ.

    CheckpointError.
    """
    try:
        before = tomllib.loads(folder.recipe.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return  # it was removed or written over: the checkpoint knows the digest
    was, now = _keys(before), _keys(tomllib.loads(recipe_text(recipe.table)))
    changed = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    if changed:
        told = ", ".join(
            f"{key} (was {_shown(was, key)}, is {_shown(now, key)})" for key in changed
        )
        problem = f"{folder.path}: this training was begun with another recipe: {told}."
        raise CheckpointError(problem, "Call it as it was begun, or begin anew with --overwrite.")


def _keys(table: Mapping[str, Any]) -> dict[str, object]:
    """Return a recipe's values by key: ``train.lr``, ``phase.0.lr``."""
    found: dict[str, object] = {}
    for name, value in table.items():
        tables = (
            {f"{name}.{place}": each for place, each in enumerate(value)}
            if isinstance(value, list)
            else None
        )
        for where, each in ({name: value} if tables is None else tables).items():
            found |= (
                {f"{where}.{key}": one for key, one in each.items()}
                if isinstance(each, dict)
                else {where: each}
            )
    return found


def _shown(table: Mapping[str, object], key: str) -> str:
    return shown(table[key]) if key in table else "left out"


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
