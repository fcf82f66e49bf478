"""Every recipe in training/ is found and says how it is called.

Each trains two steps to a bundle that classifies.
"""

from __future__ import annotations

import shlex
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import torch

from slidecam.learning.recipes.recipe import read_recipe
from slidecam.learning.training.optimisation import unfreeze
from slidecam.learning.training.setup import StartingWeights, TrainingCall, network_for
from slidecam.learning.training.training import train
from slidecam.models import open_bundle
from slidecam.steps import result_of

if TYPE_CHECKING:
    from slidecam.learning.recipes.tables import Recipe

TRAINING = Path(__file__).parents[3] / "training"
RECIPES = sorted(TRAINING.rglob("*.toml"))
NAMES = [path.stem for path in RECIPES]

COUNT = 16

HEAVY = ("busi-resnet101", "breast-dala-resnet50", "mri-efficientnet-b4", "lymphoma-resnet50")
"""Recipes whose two steps take 6 to 14 seconds of a processor, the others 1 to 4."""

WEIGHED = [
    pytest.param(path, marks=pytest.mark.slow if path.stem in HEAVY else ()) for path in RECIPES
]

SMALL = [
    "model.weights=none",
    "data.input_px=64",
    "data.train=0.5",
    "data.val=0.25",
    "data.test=0.25",
    *(f"data.{name}_pattern=" for name in ("group", "label", "only")),
]
TWO_STEPS = ["train.steps=2", "train.epochs=1", "train.batch=2"]


class MakePictures(Protocol):
    def __call__(
        self, folder: Path, classes: Any = ..., count: int = ..., edge: int = ...
    ) -> Path: ...


def settings_of(table: dict[str, Any]) -> list[str]:
    """Return what makes a recipe small enough for a test.

    Its network, unfreezing and loss stay as they are.
    """
    settings = [*SMALL, "train.seed=1"]
    if "graph" in table:
        return [*settings, "graph.neighbours=3", "graph.epochs=2"]
    settings += [
        *TWO_STEPS,
        *(f"phase.{number}.epochs=1" for number in range(len(table.get("phase", [])))),
    ]
    if "classes" in table.get("augment", {}):
        settings.append('augment.classes=["red"]')
    if "features" in table:
        settings.append("features.copies=1")
    if table["model"]["architecture"] == "slidecam/simple_cnn":
        settings.append("model.architecture_args={input_px = 64}")
    return settings


def command_of(path: Path) -> list[str]:
    """Return the first command in a recipe's header, without its ``#``."""
    lines = (
        line.removeprefix("#").strip() for line in path.read_text(encoding="utf-8").splitlines()
    )
    return shlex.split(next(line for line in lines if line.startswith("slidecam ")))


def test_all_recipes_are_found() -> None:
    assert len(RECIPES) == COUNT, NAMES


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_the_header_is_the_command(path: Path) -> None:
    command = command_of(path)
    assert command[:2] == ["slidecam", "train"]
    assert Path(command[2]) == Path("training") / path.relative_to(TRAINING)
    assert {"--data", "--out"} <= set(command)
    pairs = [command[place + 1] for place, word in enumerate(command) if word == "--set"]
    recipe = read_recipe(path, pairs)
    assert ("--weights" in command) == (recipe.model.weights == "file")
    assert path.read_text(encoding="utf-8").startswith("#")


@pytest.mark.parametrize("path", WEIGHED, ids=NAMES)
def test_it_trains_two_steps_to_a_bundle_that_classifies_and_explains(
    path: Path, tmp_path: Path, make_pictures: MakePictures
) -> None:
    if "graph" in tomllib.loads(path.read_text(encoding="utf-8")):
        pytest.importorskip("torch_geometric")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    names = table.get("data", {}).get("classes", ["blue", "green", "red"])
    recipe = read_recipe(path, settings_of(table))
    data = make_pictures(tmp_path / "data", names, count=8, edge=64)
    done = result_of(train(recipe, data, TrainingCall(tmp_path / "out", device="cpu", pages=False)))
    _check(recipe, tmp_path / "out", names, done.history)
    shutil.rmtree(tmp_path / "out")  # some are of 200 MB


def _check(recipe: Recipe, out: Path, names: list[str], history: list[dict[str, Any]]) -> None:
    bundle = open_bundle(out / "bundle")
    assert bundle.card.class_names == tuple(names)
    classifier = bundle.classifier()
    passed = classifier.run(torch.full((2, 64, 64, 3), 90, dtype=torch.uint8), gradients=True)
    assert passed.logits.shape == (2, len(names))
    assert passed.logits.isfinite().all()
    assert passed.activation is not None
    (gradient,) = torch.autograd.grad(passed.logits[:, 0].sum(), passed.activation)
    assert gradient.isfinite().all()
    assert len(history) == (len(recipe.phases) if recipe.graph is None else 2)
    assert (out / "evaluation" / "test" / "evaluation.json").is_file()


STUDIES = ("busi-simple-cnn", "busi-mobilenet", "busi-resnet101", "mri-efficientnet-b4")


@pytest.mark.parametrize("name", STUDIES)
def test_no_study_turns_pictures_upside_down(name: str) -> None:
    augment = read_recipe(TRAINING / f"{name}.toml").augment
    assert augment.vflip == 0
    assert not augment.quarter_turns
    assert augment.hflip > 0


def test_the_ultrasound_study_changes_rare_classes_alone_and_begins_at_random() -> None:
    recipe = read_recipe(TRAINING / "busi-mobilenet.toml")
    assert recipe.augment.classes == ("malignant", "normal")
    assert (recipe.model.architecture, recipe.model.weights) == ("mobilenetv1_100", "none")


def test_the_cell_study_parts_four_to_one_and_not_by_patient() -> None:
    study = read_recipe(TRAINING / "cells-resnet18-gcn-study.toml")
    ours = read_recipe(TRAINING / "cells-resnet18-gcn.toml")
    assert (study.data.train, study.data.val, study.data.test) == (0.8, 0, 0.2)
    assert study.data.reading.group_pattern == ""
    assert study.graph is not None
    assert ours.graph is not None
    assert study.graph.transductive
    assert (study.model, study.graph) == (ours.model, replace(ours.graph, keep="last"))


def test_the_brain_study_trains_the_last_thirty_layers_that_keras_counts() -> None:
    recipe = read_recipe(TRAINING / "mri-efficientnet-b4.toml", ["model.weights=none"])
    assert [phase.batch for phase in recipe.phases] == [16, 16]
    network = network_for(recipe, 4, StartingWeights())
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    head = unfreeze(network, recipe.phases[0].trainable)
    assert sum(map(sizes.__getitem__, head)) == 460_036
    last = unfreeze(network, recipe.phases[1].trainable)
    assert sum(sizes[name] for name in last if not name.startswith("head.")) == 4_829_236
    assert set(head) < set(last)
    buffers = sum(
        buffer.numel() for name, buffer in network.named_buffers() if "num_batches" not in name
    )
    assert sum(sizes.values()) + buffers + 7 == 18_133_859  # Keras' own normalisation has seven
