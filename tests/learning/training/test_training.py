"""From a recipe and pictures to a bundle.

What is learnt, what is left in the folder, what is refused.
"""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from filelock import FileLock
from PIL import Image

from slidecam.errors import (
    CheckpointError,
    DataSetError,
    RecipeError,
    RunExistsError,
    SlidecamError,
    UntrustedCodeError,
    UsageError,
    WeightsError,
)
from slidecam.explain.facts import usual_methods
from slidecam.faithfulness.measure import FEWEST
from slidecam.learning.data.augmentation import AugmentationSpec
from slidecam.learning.data.pixels import Pictures
from slidecam.learning.recipes.recipe import read_recipe
from slidecam.learning.training.folder import TrainingFolder, check_usable
from slidecam.learning.training.folds import FoldSpec, cross_validate
from slidecam.learning.training.setup import (
    PixelInputs,
    StartingWeights,
    TrainingCall,
    card_for,
    network_for,
)
from slidecam.learning.training.trainer import read_checkpoint
from slidecam.learning.training.training import Trained, train
from slidecam.locks import LOCK_FILE
from slidecam.models import BundleSpec, make_bundle, open_bundle
from slidecam.models.card_parts import VolumeCard
from slidecam.steps import Step, result_of
from slidecam.viewing import AS_THE_FILE_SAYS

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.learning.recipes.tables import Recipe


class MakeRecipe(Protocol):
    def __call__(self, folder: Path, *overrides: str) -> Recipe: ...


class MakePictures(Protocol):
    def __call__(
        self, folder: Path, classes: Any = ..., count: int = ..., edge: int = ...
    ) -> Path: ...


GREY = (
    "model.architecture_args={ widths = [8, 12], in_chans = 1 }",
    "data.mean=[0.5]",
    "data.std=[0.25]",
)


def run(recipe: Recipe, data: Path, out: Path, **call: Any) -> Trained:
    return result_of(train(recipe, data, TrainingCall(out, pages=False, **call)))


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, colors: Path, quick: MakeRecipe
) -> tuple[Trained, Path]:
    """Return a training of some epochs, and its folder."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = quick(
        folder,
        "train.epochs=8",
        "train.monitor=accuracy",
        "augment.hflip=0.5",
        "model.name=colours",
        "volume.caveat=No volume was seen.",
    )
    return result_of(train(recipe, colors, TrainingCall(folder / "out"))), folder / "out"


def test_colours_are_learnt_and_the_bundle_tells_them_apart(
    trained: tuple[Trained, Path], colors: Path
) -> None:
    done, out = trained
    classifier = open_bundle(out / "bundle").classifier()
    for index, name in enumerate(("blue", "green", "red")):
        pixels = np.stack(
            [np.asarray(Image.open(path)) for path in sorted((colors / "test" / name).iterdir())]
        )
        logits = classifier.run(torch.from_numpy(pixels), gradients=False).logits
        assert logits.argmax(1).tolist() == [index] * 4
    assert done.evaluations["test"].figures["accuracy"].value == 1


def test_the_card_says_what_inference_needs_and_where_it_comes_from(
    trained: tuple[Trained, Path],
) -> None:
    card = open_bundle(trained[1] / "bundle").card
    assert (card.name, card.class_names, card.licence) == (
        "colours",
        ("blue", "green", "red"),
        "CC0-1.0",
    )
    assert (card.spacing, card.input_px, card.mean, card.std) == (None, 32, (0.5,) * 3, (0.25,) * 3)
    assert card.temperature > 0
    assert card.volume == VolumeCard(caveat="No volume was seen.")
    told = json.loads(json.dumps(dict(card.provenance)))
    assert told["data"]["counts"]["train"] == {"blue": 8, "green": 8, "red": 8}
    assert len(told["data"]["content"]) == len(told["data"]["digest"]) == 64
    assert told["first_weights"] == {"from": "random"}
    assert "epochs = 8" in told["recipe"]
    assert (told["seed"], told["epochs"]) == (3, 8)
    assert {"slidecam", "torch", "timm"} <= set(told["with"])
    assert told["measured"]["test"]["accuracy"]["value"] == 1
    assert told["measured_on"]["test"]["pictures"] == sum(told["data"]["counts"]["test"].values())
    assert len(told["measured"]["val"]["accuracy"]["ci95"]) == 2


def test_a_card_keeps_how_faithful_its_heatmaps_are_on_validation_pictures(
    trained: tuple[Trained, Path],
) -> None:
    bundle = open_bundle(trained[1] / "bundle")
    told = json.loads(json.dumps(dict(bundle.card.provenance)))
    pictures = told["data"]["counts"]["val"]
    evidence = bundle.card.heatmap_evidence
    if sum(pictures.values()) < FEWEST:
        assert evidence is None
        return
    assert evidence is not None
    assert evidence.on == f"{sum(pictures.values())} validation pictures"
    assert evidence.explained == "each tile's own class"
    usual = usual_methods(bundle.card, linear=bundle.classifier().linear_head is not None)
    assert set(evidence.methods) == set(usual)
    assert {found.measures for found in evidence.methods.values()} == {6}


def test_a_fold_measures_its_heatmaps_on_the_fewest_pictures(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    made = run(quick(tmp_path, "train.epochs=1"), colors, tmp_path / "out", share=True)
    evidence = made.bundle.card.heatmap_evidence
    assert evidence is not None
    assert evidence.on == f"{FEWEST} validation pictures"


def test_the_folder_holds_all_there_is_to_know(trained: tuple[Trained, Path]) -> None:
    done, out = trained
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    expected = {
        "recipe.toml",
        "split.json",
        "pictures.csv",
        "history.csv",
        "checkpoint.safetensors",
        "duplicates.json",
    }
    expected |= {"bundle/card.json", "bundle/model.safetensors"}
    expected |= {
        f"evaluation/{part}/evaluation.{end}"
        for part in ("val", "test")
        for end in ("json", "html")
    }
    assert expected <= left
    assert not [name for name in left if name.endswith((".lock", ".partial", ".npy"))]
    with (out / "history.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 9))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert len(done.history) == 8
    record = json.loads((out / "evaluation" / "test" / "evaluation.json").read_text())
    assert record["bundle"] == open_bundle(out / "bundle").digest


def test_a_checkpoint_serves_as_weights_for_a_bundle(
    trained: tuple[Trained, Path], tmp_path: Path
) -> None:
    done, out = trained
    spec = BundleSpec(
        architecture="slidecam/pocket_resnet",
        architecture_args={"widths": [8, 12]},
        weights=out / "checkpoint.safetensors",
        class_names=("blue", "green", "red"),
        spacing=None,
        tile_px=32,
    )
    made = make_bundle(spec, tmp_path / "bundle")
    assert made.card.weights_sha256 == done.bundle.card.weights_sha256


def test_the_best_epoch_is_kept(trained: tuple[Trained, Path]) -> None:
    done, out = trained
    figures = [row["val_accuracy"] for row in done.history]
    assert done.best_epoch == figures.index(max(figures)) + 1
    best = read_checkpoint(out / "checkpoint.safetensors").best
    kept = safetensors.torch.load_file(out / "bundle" / "model.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in best.items())


def test_steps_tell_batches_and_epochs_with_figures(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    steps = list(
        train(
            quick(tmp_path, "train.epochs=2"), colors, TrainingCall(tmp_path / "out", pages=False)
        )
    )
    epochs = [step for step in steps if step.phase == "epoch"]
    assert [(step.done, step.total) for step in epochs] == [(1, 2), (2, 2)]
    assert {"train_loss", "val_loss", "val_accuracy"} <= set(epochs[0].figures)
    assert [step.done for step in steps if step.phase == "batch"] == [1, 2, 3] * 2


def test_training_stops_early_and_says_which_epoch_was_best(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    settings = [
        "train.epochs=50",
        "train.patience=2",
        "train.min_epochs=5",
        "train.lr=1e-9",
        "train.monitor=accuracy",
    ]
    done = run(quick(tmp_path, *settings), colors, tmp_path / "out")
    assert len(done.history) == 5
    assert done.best_epoch == 1


def test_a_network_of_another_size_than_its_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[model]\narchitecture = "slidecam/simple_cnn"\n[data]\ninput_px = 40\n')
    alike = "model.architecture_args.input_px=40"
    with pytest.raises(RecipeError, match=rf"made for pictures of 224 px.*--set {alike}"):
        network_for(read_recipe(path), 2, StartingWeights())
    network = network_for(read_recipe(path, [alike]), 2, StartingWeights())
    assert network(torch.zeros(1, 3, 40, 40)).shape == (1, 2)


def test_phases_train_other_parts_one_after_another(tmp_path: Path, colors: Path) -> None:
    path = tmp_path / "phases.toml"
    path.write_text("""
[model]
architecture = "slidecam/dense_head"
architecture_args = { backbone = "test_efficientnet", hidden = 8 }
[data]
input_px = 32
[train]
batch = 8
lr = 0.01
epochs = 2
trainable = "head"
[[phase]]
[[phase]]
epochs = 1
lr = 0.001
trainable = ["backbone.conv_head", "head"]
""")
    recipe = read_recipe(path)
    first = network_for(recipe, 3, StartingWeights()).state_dict()
    done = run(recipe, colors, tmp_path / "out")
    last = read_checkpoint(tmp_path / "out" / "checkpoint.safetensors").network
    moved = {name.rpartition(".")[0] for name in first if not torch.equal(first[name], last[name])}
    assert moved == {"backbone.conv_head", "head.0", "head.3"}
    assert [row["phase"] for row in done.history] == [0, 0, 1]


def test_the_end_alone_is_trained_on_cached_features_and_the_bundle_is_whole(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    settings = [
        "model.architecture_args={widths = [8, 12, 16]}",
        "features.cut=stages.2",
        "features.copies=2",
    ]
    recipe = quick(
        tmp_path, *settings, "augment.hflip=0.5", "train.epochs=6", "train.batch_norm=eval"
    )
    first = network_for(recipe, 3, StartingWeights()).state_dict()
    done = run(recipe, colors, tmp_path / "out")
    last = safetensors.torch.load_file(tmp_path / "out" / "bundle" / "model.safetensors")
    moved = {name for name in first if not torch.equal(first[name], last[name])}
    assert moved
    assert all(name.startswith(("stages.2", "fc")) for name in moved)
    assert (
        done.evaluations["val"].figures["accuracy"].value
        == done.history[done.best_epoch - 1]["val_accuracy"]
    )
    assert not (tmp_path / "out" / "features").exists()


def test_cached_features_and_pixels_train_alike(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    common = [
        "model.architecture_args={widths = [8, 12, 16]}",
        "train.batch_norm=eval",
        "train.optimizer=sgd",
    ]
    frozen = "train.trainable=['stages.2', 'fc']"
    cached = quick(
        tmp_path,
        *common,
        frozen,
        "features.cut=stages.2",
        "features.copies=0",
        "features.dtype=float32",
    )
    first = run(cached, colors, tmp_path / "cached")
    second = run(quick(tmp_path, *common, frozen), colors, tmp_path / "pixels")
    losses = [[row["train_loss"] for row in done.history] for done in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_cache_serves_the_next_training(tmp_path: Path, colors: Path, quick: MakeRecipe) -> None:
    recipe = quick(tmp_path, "features.cut=stages.1", "features.copies=1")
    run(recipe, colors, tmp_path / "one", cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    before = kept.stat().st_mtime_ns
    steps = list(
        train(recipe, colors, TrainingCall(tmp_path / "two", cache=tmp_path / "cache", pages=False))
    )
    assert not [step for step in steps if step.phase == "features"]
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["features.cut=stages.9"], "stages.9"),
        (["features.cut=stages.1", "train.trainable=['stem']"], "lies before features.cut"),
        (["train.trainable=['layer9']"], "layer9"),
        (["model.architecture_args={widths = 3}"], "architecture_args"),
    ],
)
def test_a_recipe_that_does_not_fit_its_network_is_refused_and_nothing_is_left(
    tmp_path: Path, colors: Path, quick: MakeRecipe, settings: list[str], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        run(quick(tmp_path, *settings), colors, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_training_that_runs_away_is_told_and_leaves_no_bundle(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    with pytest.raises(RecipeError, match="run away"):
        run(quick(tmp_path, "train.lr=1e30", "train.optimizer=sgd"), colors, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_training_stopped_within_its_first_epoch_can_be_repeated_as_it_was_called(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path, "train.epochs=1")
    work = train(recipe, colors, TrainingCall(tmp_path / "out", pages=False))
    while next(work).phase != "batch":
        pass
    work.close()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("existing", ["refuse", "resume"])
def test_a_training_killed_within_its_first_epoch_is_begun_anew(
    tmp_path: Path, colors: Path, quick: MakeRecipe, existing: str
) -> None:
    recipe, killed = quick(tmp_path, "train.epochs=1"), tmp_path / "killed"
    work = train(recipe, colors, TrainingCall(tmp_path / "out", pages=False))
    while next(work).phase != "batch":
        pass
    shutil.copytree(tmp_path / "out", killed)  # as a kill leaves it
    work.close()
    assert len(run(recipe, colors, killed, existing=existing).history) == 1


def test_a_bundle_without_a_checkpoint_is_not_resumed_and_the_way_out_is_told(
    tmp_path: Path,
) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(CheckpointError, match="--overwrite"):
        check_usable(TrainingFolder(tmp_path), "resume")


def test_an_empty_class_folder_is_named(
    tmp_path: Path, quick: MakeRecipe, make_pictures: MakePictures
) -> None:
    data = make_pictures(tmp_path / "data", count=6)
    (data / "void").mkdir()
    with pytest.raises(DataSetError, match="void"):
        run(quick(tmp_path), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["header", "pixels"])
def test_a_corrupt_picture_is_named(
    tmp_path: Path, quick: MakeRecipe, make_pictures: MakePictures, damage: str
) -> None:
    data = make_pictures(tmp_path / "data", count=6)
    broken = data / "green" / "3.png"
    broken.write_bytes(b"no picture" if damage == "header" else broken.read_bytes()[:400])
    with pytest.raises(DataSetError, match=r"3\.png"):
        run(quick(tmp_path), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("duplicates", ["group", "ignore"])
@pytest.mark.parametrize("headers", [0, 1])
def test_all_pictures_of_any_damage_are_named_at_once(
    tmp_path: Path, quick: MakeRecipe, make_pictures: MakePictures, duplicates: str, headers: int
) -> None:
    data = make_pictures(tmp_path / "data", count=6)
    truncated = [data / "green" / "3.png", data / "red" / "1.png"]
    for path in truncated:
        path.write_bytes(path.read_bytes()[:400])
    headless = [data / "red" / "4.png"][:headers]
    for path in headless:
        path.write_bytes(b"no picture")
    recipe = quick(tmp_path, f"data.duplicates={duplicates}")
    with pytest.raises(DataSetError, match=rf"^{2 + headers} of 18 pictures cannot be") as refused:
        run(recipe, data, tmp_path / "out")
    for path in (*truncated, *headless):
        assert str(path) in str(refused.value)


def test_one_class_only_is_refused(
    tmp_path: Path, quick: MakeRecipe, make_pictures: MakePictures
) -> None:
    with pytest.raises(DataSetError, match="one class only, 'red'"):
        run(quick(tmp_path), make_pictures(tmp_path / "data", ["red"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_folder_of_data_is_named(tmp_path: Path, quick: MakeRecipe) -> None:
    with pytest.raises(DataSetError, match="nowhere"):
        run(quick(tmp_path), tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_training_or_with_anything_else_is_not_touched(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path, "train.epochs=1")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RunExistsError, match="something else"):
        run(recipe, colors, tmp_path / "other")
    with pytest.raises(RunExistsError, match="something else"):
        run(recipe, colors, tmp_path / "other", existing="resume")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]
    run(recipe, colors, tmp_path / "out")
    with pytest.raises(RunExistsError, match="--resume"):
        run(recipe, colors, tmp_path / "out")


def test_a_training_is_replaced_where_that_is_asked_for_and_other_files_stay(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    out = tmp_path / "out"
    run(quick(tmp_path, "train.epochs=3"), colors, out)
    (out / "notes.txt").write_text("mine")
    run(
        quick(tmp_path, "train.epochs=1", "data.duplicates=ignore"),
        colors,
        out,
        existing="overwrite",
    )
    assert (out / "notes.txt").read_text() == "mine"
    assert len((out / "history.csv").read_text().splitlines()) == 2
    assert not (out / "duplicates.json").exists()


def test_two_trainings_do_not_share_a_folder(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / LOCK_FILE), pytest.raises(RunExistsError, match="Another slidecam"):
        run(quick(tmp_path), colors, out)


@pytest.mark.parametrize("change", ["recipe", "pictures", "split"])
def test_only_the_same_training_is_resumed(
    tmp_path: Path, quick: MakeRecipe, make_pictures: MakePictures, change: str
) -> None:
    data = make_pictures(tmp_path / "data", count=10)
    run(quick(tmp_path, "train.epochs=1"), data, tmp_path / "out")
    settings = ["train.epochs=1"]
    if change == "recipe":
        settings.append("train.lr=0.5")
    elif change == "pictures":
        shutil.copy(data / "red" / "1.png", data / "red" / "2.png")
    else:
        (data / "red" / "9.png").unlink()
    with pytest.raises(CheckpointError, match=change):
        run(quick(tmp_path, *settings), data, tmp_path / "out", existing="resume")


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look at a picture."""

    def looked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("slidecam.learning.data.dataset.look_at_pictures", looked)


@pytest.mark.usefixtures("unseen")
def test_another_recipe_is_refused_by_the_keys_that_differ_before_a_picture_is_looked_at(
    trained: tuple[Trained, Path], tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    settings = [
        "train.epochs=8",
        "train.monitor=accuracy",
        "augment.hflip=0.25",
        "model.name=colours",
    ]
    with pytest.raises(
        CheckpointError, match=r"another recipe: augment\.hflip \(was 0\.5, is 0\.25\)"
    ):
        run(quick(tmp_path, *settings), colors, trained[1], existing="resume")


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("name", ["none.safetensors", "w.docx", "w.pth"])
def test_weights_that_may_not_be_opened_are_refused_before_a_picture_is_looked_at(
    tmp_path: Path, colors: Path, quick: MakeRecipe, name: str
) -> None:
    (tmp_path / "w.pth").touch()
    with pytest.raises((WeightsError, UntrustedCodeError), match=name.replace(".", r"\.")):
        run(
            quick(tmp_path, "model.weights=file"),
            colors,
            tmp_path / "out",
            weights=StartingWeights(tmp_path / name),
        )


@pytest.mark.usefixtures("unseen")
def test_a_folder_that_cannot_be_made_is_refused_before_a_picture_is_looked_at(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path)
    with pytest.raises(UsageError, match=r"--out .* cannot be made"):
        run(recipe, colors, recipe.path / "x")


@pytest.mark.usefixtures("unseen")
def test_a_folder_where_another_trains_is_refused_before_a_picture_is_looked_at(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    (tmp_path / "out").mkdir()
    with (
        FileLock(tmp_path / "out" / LOCK_FILE),
        pytest.raises(RunExistsError, match="Another slidecam"),
    ):
        run(quick(tmp_path), colors, tmp_path / "out")


@pytest.mark.usefixtures("unseen")
def test_more_folds_than_pictures_are_refused_before_one_is_looked_at(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    call = TrainingCall(tmp_path / "out")
    with pytest.raises(DataSetError, match="too few for 99 folds"):
        result_of(cross_validate(quick(tmp_path), colors, call, FoldSpec(99)))


def test_an_empty_table_is_called_empty(tmp_path: Path, quick: MakeRecipe) -> None:
    (tmp_path / "data.csv").touch()
    with pytest.raises(DataSetError, match="The table is empty"):
        run(quick(tmp_path), tmp_path / "data.csv", tmp_path / "out")


def test_a_finished_training_that_is_resumed_gives_the_same_bundle(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path)
    first = run(recipe, colors, tmp_path / "out").bundle.card
    shutil.rmtree(tmp_path / "out" / "bundle")
    assert (
        run(recipe, colors, tmp_path / "out", existing="resume").bundle.card.weights_sha256
        == first.weights_sha256
    )


def test_pictures_that_do_not_fit_into_memory_train_alike(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    held = run(quick(tmp_path), colors, tmp_path / "held").bundle.card
    read = run(quick(tmp_path, "data.memory_mb=0"), colors, tmp_path / "read").bundle.card
    assert held.weights_sha256 == read.weights_sha256


def test_data_without_parts_are_parted_and_measured(
    tmp_path: Path, quick: MakeRecipe, make_pictures: MakePictures
) -> None:
    data = make_pictures(tmp_path / "data", count=10)
    done = run(
        quick(tmp_path, "data.test=0.2", "data.val=0.2", "data.train=0.6"), data, tmp_path / "out"
    )
    assert {part: evaluation.pictures for part, evaluation in done.evaluations.items()} == {
        "val": 6,
        "test": 6,
    }


def test_without_a_validation_part_the_last_epoch_is_kept_as_it_is(
    tmp_path: Path, quick: MakeRecipe, make_pictures: MakePictures
) -> None:
    data = make_pictures(tmp_path / "data", count=10)
    done = run(
        quick(tmp_path, "data.test=0.2", "data.val=0", "data.train=0.8"), data, tmp_path / "out"
    )
    assert set(done.evaluations) == {"test"}
    assert (done.best_epoch, done.bundle.card.temperature) == (2, 1.0)


def test_a_limit_takes_so_many_of_each_class(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    done = run(quick(tmp_path, "data.limit=3", "train.epochs=1"), colors, tmp_path / "out")
    assert done.evaluations["test"].support == {"blue": 3, "green": 3, "red": 3}


def test_duplicates_across_parts_are_told(tmp_path: Path, colors: Path, quick: MakeRecipe) -> None:
    data = tmp_path / "data"
    shutil.copytree(colors, data)
    shutil.copy(data / "train" / "red" / "1.png", data / "test" / "red" / "again.png")
    steps = list(
        train(quick(tmp_path, "train.epochs=1"), data, TrainingCall(tmp_path / "out", pages=False))
    )
    assert any("again.png" in step.message for step in steps)
    record = json.loads((tmp_path / "out" / "duplicates.json").read_text())
    assert record["across_parts"] == [["test/red/again.png", "train/red/1.png"]]
    done = run(
        quick(tmp_path, "train.epochs=1", "data.duplicates=drop"), data, tmp_path / "dropped"
    )
    told = done.bundle.card.provenance["data"]
    assert isinstance(told, dict)
    assert told["counts"]["train"]["red"] == 7


def test_the_spacing_of_tiles_comes_from_the_set_that_slidecam_cut(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    data = tmp_path / "tiles"
    shutil.copytree(colors, data)
    (data / "tile_set.json").write_text(
        json.dumps({"spec": {"spacing": 0.5, "tile_px": 64, "input_px": None}})
    )
    card = run(quick(tmp_path, "train.epochs=1"), data, tmp_path / "out").bundle.card
    assert (card.spacing, card.tile_px, card.input_px) == (0.5, 64, 32)
    with pytest.raises(DataSetError, match=r"spacing of 0\.5.*says 0\.25"):
        run(quick(tmp_path, "data.spacing=0.25", "data.tile_px=64"), data, tmp_path / "again")


def test_weights_from_a_file_begin_the_network_with_a_resting_head(
    tmp_path: Path, quick: MakeRecipe
) -> None:
    torch.manual_seed(9)
    source: torch.nn.Module = timm.create_model("test_resnet", num_classes=10)
    safetensors.torch.save_file(source.state_dict(), tmp_path / "w.safetensors")
    settings = [
        "model.architecture=test_resnet",
        "model.architecture_args={}",
        "model.weights=file",
    ]
    given = StartingWeights(tmp_path / "w.safetensors")
    network = network_for(quick(tmp_path, *settings), 3, given)
    assert torch.equal(
        network.get_parameter("conv1.0.weight"), source.get_parameter("conv1.0.weight")
    )
    assert not network.get_parameter("fc.weight").any()
    again = network_for(quick(tmp_path, *settings, "model.head_start=random"), 3, given)
    assert again.get_parameter("fc.weight").any()


def test_random_weights_depend_on_the_seed_and_on_nothing_else(
    tmp_path: Path, quick: MakeRecipe
) -> None:
    def first(*overrides: str) -> torch.Tensor:
        torch.rand(3)
        return network_for(quick(tmp_path, *overrides), 3, StartingWeights()).get_parameter(
            "fc.weight"
        )

    assert torch.equal(first(), first())
    assert not torch.equal(first(), first("train.seed=4"))


def test_a_file_is_needed_where_the_recipe_says_so_and_refused_where_not(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    with pytest.raises(UsageError, match="none is given"):
        run(quick(tmp_path, "model.weights=file"), colors, tmp_path / "out")
    path = tmp_path / "w.safetensors"
    with pytest.raises(UsageError, match='weights = "none"'):
        run(quick(tmp_path), colors, tmp_path / "out", weights=StartingWeights(path))
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        run(
            quick(tmp_path, "model.weights=file"),
            colors,
            tmp_path / "out",
            weights=StartingWeights(path),
        )
    pickle = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1)}, pickle)
    with pytest.raises(UntrustedCodeError):
        run(
            quick(tmp_path, "model.weights=file"),
            colors,
            tmp_path / "out",
            weights=StartingWeights(pickle),
        )
    assert not (tmp_path / "out").exists()


def test_the_hub_is_asked_only_where_the_recipe_says_so(
    tmp_path: Path, quick: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    plain = timm.create_model

    def create(name: str, *, pretrained: bool = False, **rest: Any) -> Any:
        if pretrained:
            asked.append(name)
            network = plain(name, **rest)
            torch.nn.init.constant_(network.get_parameter("conv1.0.weight"), 0.125)
            return network
        return plain(name, **rest)

    monkeypatch.setattr(timm, "create_model", create)
    settings = ["model.architecture=test_resnet", "model.architecture_args={}"]
    network_for(quick(tmp_path, *settings), 3, StartingWeights())
    assert asked == []
    network = network_for(quick(tmp_path, *settings, "model.weights=hub"), 3, StartingWeights())
    assert asked == ["test_resnet"]
    assert (network.get_parameter("conv1.0.weight") == 0.125).all()
    assert len(network.get_parameter("fc.weight")) == 3


def test_normalisation_is_what_the_network_states_unless_the_recipe_says_otherwise(
    tmp_path: Path, quick: MakeRecipe
) -> None:
    stated: Any = timm.create_model("test_vit").pretrained_cfg
    settings = ["model.architecture=test_vit", "model.architecture_args={}", "data.input_px=160"]
    recipe = quick(tmp_path, *settings)
    network = network_for(recipe, 2, StartingWeights())
    assert card_for(recipe, network, ("a", "b")).mean == (0.5, 0.5, 0.5)
    path = tmp_path / "bare.toml"
    path.write_text('[model]\narchitecture = "test_vit"\n')
    bare = card_for(read_recipe(path), network, ("a", "b"))
    assert (bare.mean, bare.std) == (stated["mean"], stated["std"])


def test_a_training_on_features_is_resumed_exactly(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    settings = [
        "features.cut=stages.1",
        "features.copies=2",
        "augment.rotation=20",
        "train.epochs=4",
        "train.ema=0.9",
    ]
    recipe = quick(tmp_path, *settings)
    unbroken = run(recipe, colors, tmp_path / "unbroken").bundle.card.weights_sha256
    work = train(recipe, colors, TrainingCall(tmp_path / "out", pages=False))
    for step in work:
        if step.phase == "epoch" and step.done == 3:
            break
    work.close()
    assert (
        run(recipe, colors, tmp_path / "out", existing="resume").bundle.card.weights_sha256
        == unbroken
    )


def test_a_picture_that_is_repeated_is_seen_so_often_in_every_epoch(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path, "train.epochs=1", "data.repeat={ '/blue/' = 4, 'red/3' = 3 }")
    steps = [*train(recipe, colors, TrainingCall(tmp_path / "out", pages=False))]
    batches = [step for step in steps if step.phase == "batch"]
    # 8 of each class in batches of 8, 24 more of the blue and two more of the red.
    assert batches[-1].total == -(-(24 + 24 + 2) // 8)


def test_nothing_is_left_of_a_training_that_was_stopped_before_its_first_epoch(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path, "features.cut=stages.1", "features.memory_mb=0")
    work = train(recipe, colors, TrainingCall(tmp_path / "out"))
    while next(work).phase != "features":
        pass
    work.close()
    assert not (tmp_path / "out").exists()


def test_closing_the_work_leaves_the_last_epoch_s_checkpoint(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    work = train(
        quick(tmp_path, "train.epochs=5"), colors, TrainingCall(tmp_path / "out", pages=False)
    )
    for step in work:
        assert isinstance(step, Step)
        if step.phase == "epoch" and step.done == 2:
            break
    work.close()
    assert read_checkpoint(tmp_path / "out" / "checkpoint.safetensors").progress.overall == 2
    assert not (tmp_path / "out" / LOCK_FILE).exists()
    assert not (tmp_path / "out" / "bundle").exists()


def test_all_errors_are_slidecam_s(tmp_path: Path, colors: Path, quick: MakeRecipe) -> None:
    with pytest.raises(SlidecamError):
        run(quick(tmp_path, "data.classes=['blue', 'green']"), colors, tmp_path / "out")


def test_a_network_of_one_channel_is_trained_and_measured_on_grey(
    quick: MakeRecipe, colors: Path, tmp_path: Path
) -> None:
    made = run(quick(tmp_path, *GREY), colors, tmp_path / "out")
    card = made.bundle.card
    assert (card.channels, card.mean, card.std) == (1, (0.5,), (0.25,))
    network, found = made.bundle.network(), made.evaluations["test"].predictions
    for path, logits in zip(found.paths, found.logits, strict=True):
        grey = np.asarray(Image.open(colors / path).convert("L"), np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy((grey / 255 - 0.5) / 0.25)[None, None])[0]
        np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-5)


def test_classes_that_are_not_named_are_never_augmented(colors: Path, quick: MakeRecipe) -> None:
    card = card_for(
        quick(colors.parent), network_for(quick(colors.parent), 3, StartingWeights()), ("a", "b")
    )
    held = torch.arange(6 * 32 * 32 * 3).reshape(6, 32, 32, 3).remainder(251).byte()
    pictures = Pictures((), 32, "bilinear", held, AS_THE_FILE_SAYS)
    changed = np.array([True, False, True, False, False, True])
    spec = AugmentationSpec(brightness=(0.3, 0.6))
    inputs = PixelInputs(pictures, card, spec, torch.device("cpu"), changed)
    rows = np.array([5, 4, 3, 2])
    seen, plain = inputs.training(rows, 0, torch.Generator().manual_seed(2)), inputs.plain(rows)
    assert [bool((one == other).all()) for one, other in zip(seen, plain, strict=True)] == [
        False,
        True,
        True,
        False,
    ]
    assert held[5].equal(torch.arange(5 * 3072, 6 * 3072).reshape(32, 32, 3).remainder(251).byte())


def test_a_class_to_augment_that_is_not_there_is_refused(
    colors: Path, quick: MakeRecipe, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"augment\.classes names 'purple'.*blue, green, red"):
        run(quick(tmp_path, 'augment.classes=["purple"]'), colors, tmp_path / "out")
    with pytest.raises(RecipeError, match="no meaning beside"):
        quick(tmp_path, 'augment.classes=["red"]', "features.cut=layer2")


def test_a_plateau_needs_validation(colors: Path, quick: MakeRecipe, tmp_path: Path) -> None:
    kept = tmp_path / "data"
    shutil.copytree(colors, kept)
    shutil.rmtree(kept / "val")
    with pytest.raises(RecipeError, match="no validation loss to watch"):
        run(
            quick(tmp_path, "train.schedule=plateau", "data.val=0", "data.train=0.85"),
            kept,
            tmp_path / "out",
        )


def test_a_key_without_effect_is_said_before_training_and_stays_with_the_measures(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path, "train.optimizer=adam", "train.momentum=0.37", "train.epochs=1")
    steps = train(recipe, colors, TrainingCall(tmp_path / "out", pages=False))
    said = 'train.momentum has no effect with optimizer = "adam".'
    assert said in [step.message for step in steps]
    record = json.loads((tmp_path / "out" / "evaluation" / "test" / "evaluation.json").read_text())
    assert said in record["data"]["notes"]
