"""A training that was stopped, killed or resumed gives the weights of one that was not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import safetensors.torch
import torch

from slidecam.errors import CheckpointError
from slidecam.learning.recipes.recipe import read_recipe
from slidecam.learning.training.folder import CHECKPOINT_FILE
from slidecam.learning.training.loop import Progress
from slidecam.learning.training.setup import TrainingCall
from slidecam.learning.training.trainer import (
    Checkpoint,
    check_same,
    read_checkpoint,
    write_checkpoint,
)
from slidecam.learning.training.training import train
from slidecam.steps import result_of
from stopping import stopped_process

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.learning.recipes.tables import Recipe


# Everything that holds a state is in it: dropout, batch norms, averages, momenta, mixing, two
# phases, a schedule.
RECIPE = """
[model]
architecture = "test_efficientnet"
architecture_args = { drop_rate = 0.3, drop_path_rate = 0.1 }

[data]
input_px = 32

[augment]
rotation = 10
hflip = 0.5

[train]
epochs = 6
batch = 8
optimizer = "adam"
lr = 0.003
schedule = "cosine"
warmup = 1.5
mixup = 0.2
ema = 0.9
balance = "oversample"
monitor = "accuracy"
seed = 11

[[phase]]

[[phase]]
optimizer = "sgd"
epochs = 4
lr = 0.001
trainable = 12
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Return the recipe in a file, for this process and for others."""
    path = tmp_path_factory.mktemp("recipe") / "all.toml"
    path.write_text(RECIPE)
    return read_recipe(path)


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a finished training's bundle."""
    tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(
        folder / "bundle" / "model.safetensors"
    )
    return tensors


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def unbroken(recipe: Recipe, colors: Path, tmp_path: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a training that nothing stopped."""
    result_of(train(recipe, colors, TrainingCall(tmp_path / "unbroken", pages=False)))
    return weights_in(tmp_path / "unbroken")


ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Fresh processes on one thread add numbers in the same order, old ones may not."""


def training(recipe: Recipe, data: Path, out: Path, *options: str) -> list[str]:
    """Return the command line of a training."""
    return ["train", str(recipe.path), "--data", str(data), "--out", str(out), *options]


def train_apart(recipe: Recipe, data: Path, out: Path, *options: str) -> None:
    """Train in a process of its own to the end."""
    subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-m", "slidecam", *training(recipe, data, out, *options)],
        env=ONE_THREAD,
        capture_output=True,
        check=True,
    )


@pytest.fixture(scope="module")
def unbroken_process(
    recipe: Recipe, colors: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, torch.Tensor]:
    """Return the weights of a training that nothing stopped, in a process of its own."""
    out = tmp_path_factory.mktemp("unbroken")
    train_apart(recipe, colors, out)
    return weights_in(out)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [2, 7])
def test_a_killed_training_that_is_resumed_gives_the_same_weights_bit_by_bit(
    epochs: int,
    recipe: Recipe,
    colors: Path,
    tmp_path: Path,
    unbroken_process: dict[str, torch.Tensor],
) -> None:
    out = tmp_path / "killed"
    next_epoch = ("slidecam.learning.training.trainer:train_epoch", epochs + 1)
    in_the_midst = ("slidecam.learning.training.loop:train_step", 2)
    with stopped_process(
        training(recipe, colors, out), next_epoch, in_the_midst, environment=ONE_THREAD
    ) as process:
        process.kill()
    assert not (out / "bundle").exists()
    assert read_checkpoint(out / CHECKPOINT_FILE).progress.overall == epochs
    train_apart(recipe, colors, out, "--resume")
    assert same(weights_in(out), unbroken_process)


@pytest.mark.slow
def test_a_training_closed_in_the_midst_of_any_epoch_goes_on_as_if_nothing_had_been(
    recipe: Recipe, colors: Path, tmp_path: Path, unbroken: dict[str, torch.Tensor]
) -> None:
    out, existing = tmp_path / "closed", "refuse"
    for _stop in range(10):
        work = train(recipe, colors, TrainingCall(out, existing=existing, pages=False))
        for step in work:
            if step.phase == "epoch":
                break
        next(work)  # into the next epoch
        work.close()
        existing = "resume"
    trained = result_of(train(recipe, colors, TrainingCall(out, existing=existing, pages=False)))
    assert [row["epoch"] for row in trained.history] == list(range(1, 11))
    assert [row["phase"] for row in trained.history] == [0] * 6 + [1] * 4
    assert same(weights_in(out), unbroken)


def small() -> Checkpoint:
    tied = torch.arange(6.0).reshape(2, 3)
    return Checkpoint(
        progress=Progress(1, 2, 5, 0.25, 4, 1, [{"epoch": 1, "val_loss": 0.1 + 0.2}]),
        facts={"recipe": "abc", "class_names": ["a", "b"]},
        network={"a": tied, "b": tied, "count": torch.tensor(3)},
        best={"a": torch.rand(2, 2).half()},
        average={"a": torch.rand(2, 2)},
        average_steps=17,
        optimizer={
            0: {"step": torch.tensor(5.0), "exp_avg": torch.rand(3)},
            2: {"momentum_buffer": None},
        },
        scaler={"scale": 65536.0, "_growth_tracker": 3},
    )


def test_all_of_it_is_read_back(tmp_path: Path) -> None:
    path, written = tmp_path / CHECKPOINT_FILE, small()
    write_checkpoint(path, written)
    read = read_checkpoint(path)
    assert read.progress == written.progress
    assert (read.facts, read.average_steps, read.scaler) == (written.facts, 17, written.scaler)
    for kind in ("network", "best", "average"):
        assert same(getattr(read, kind), getattr(written, kind))
    assert torch.equal(read.optimizer[0]["exp_avg"], written.optimizer[0]["exp_avg"])
    assert read.optimizer[2] == {"momentum_buffer": None}


def test_nothing_is_pickled(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / CHECKPOINT_FILE, small())
    tensors = safetensors.torch.load_file(tmp_path / CHECKPOINT_FILE)
    assert "network/a" in tensors


@pytest.mark.parametrize("damage", ["cut", "gone", "other", "version"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / CHECKPOINT_FILE
    write_checkpoint(path, small())
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    elif damage == "gone":
        path.unlink()
    else:
        told = (
            {"slidecam": '{"format": "slidecam-training", "version": 99}'}
            if damage == "version"
            else None
        )
        path.write_bytes(safetensors.torch.save({"a": torch.zeros(1)}, told))
    with pytest.raises(CheckpointError, match=CHECKPOINT_FILE) as caught:
        read_checkpoint(path)
    assert "--overwrite" in caught.value.remedy


def test_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    checkpoint = small()
    check_same(checkpoint, {"recipe": "abc", "class_names": ("a", "b")}, tmp_path)
    with pytest.raises(CheckpointError, match="other class names and recipe"):
        check_same(checkpoint, {"recipe": "xyz", "class_names": ["a"]}, tmp_path)
    with pytest.raises(CheckpointError, match="other pictures"):
        check_same(replace(checkpoint, facts={}), {"pictures": "abc"}, tmp_path)
