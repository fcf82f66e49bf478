"""Pictures that are quickly learnt, and recipes that are quickly run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest
from PIL import Image

from slidecam.learning.recipes.recipe import read_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slidecam.learning.recipes.tables import Recipe

COLORS = {"blue": (50, 60, 160), "green": (60, 150, 70), "red": (170, 60, 50)}

RECIPE = """
# slidecam train quick.toml --data colors --out out
[model]
architecture = "slidecam/pocket_resnet"
architecture_args = { widths = [8, 12] }
licence = "CC0-1.0"

[data]
input_px = 32
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]

[train]
epochs = 2
batch = 8
optimizer = "adam"
lr = 0.01
seed = 3
"""


class MakePictures(Protocol):
    """What the fixture `make_pictures` is."""

    def __call__(
        self, folder: Path, classes: Sequence[str] = ..., count: int = ..., edge: int = ...
    ) -> Path: ...


@pytest.fixture(scope="session")
def make_pictures() -> MakePictures:
    """Return a maker of class folders.

    Classes differ in colour, and pictures of one class by noise and shading.
    """

    def make(
        folder: Path, classes: Sequence[str] = tuple(COLORS), count: int = 8, edge: int = 32
    ) -> Path:
        for name in classes:
            (folder / name).mkdir(parents=True)
            rng = np.random.default_rng(list(f"{folder.name}/{name}".encode()))
            color = COLORS.get(name, tuple(rng.integers(40, 200, 3)))
            for number in range(count):
                shade = rng.integers(-40, 40, (4, 4, 1)).repeat(edge // 4, 0).repeat(edge // 4, 1)
                pixels = np.clip(color + shade + rng.integers(-20, 20, (edge, edge, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
        return folder

    return make


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory, make_pictures: MakePictures) -> Path:
    """Return a folder of three classes of 8 to train, 4 to validate and 4 to test."""
    folder = tmp_path_factory.mktemp("pictures") / "colors"
    for part, count in (("train", 8), ("val", 4), ("test", 4)):
        make_pictures(folder / part, count=count)
    return folder


class MakeRecipe(Protocol):
    """What the fixture `quick` is."""

    def __call__(self, folder: Path, *overrides: str) -> Recipe: ...


@pytest.fixture(scope="session")
def quick() -> MakeRecipe:
    """Return a maker of recipes for a pocket ResNet of 32 px, in a file in ``folder``.

    The overrides are set over it.
    """

    def make(folder: Path, *overrides: str) -> Recipe:
        path = folder / "quick.toml"
        path.write_text(RECIPE)
        return read_recipe(path, overrides)

    return make
