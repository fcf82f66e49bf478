"""Several values of a recipe's keys: tried on the validation part, and never on the test part."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Protocol

import pytest
import torch

from slidecam.errors import CheckpointError, DataSetError, RecipeError, RunExistsError, UsageError
from slidecam.learning.evaluation.bundle import BundleEvaluationSpec, evaluate_bundle
from slidecam.learning.training.folds import FoldSpec, cross_validate
from slidecam.learning.training.setup import TrainingCall
from slidecam.learning.training.sweep import (
    Axis,
    Sweep,
    axes_of,
    pieces_of,
    read_with_axes,
    sweep,
)
from slidecam.learning.training.training import train
from slidecam.models import open_bundle
from slidecam.steps import result_of
from slidecam.viewing import AS_THE_FILE_SAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from slidecam.learning.recipes.tables import Recipe

RATES = Axis("train.lr", ("1e-2", "3e-5"))


class MakeRecipe(Protocol):
    def __call__(self, folder: Path, *overrides: str) -> Recipe: ...


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("1e-3,3e-4, 1e-4", ["1e-3", "3e-4", "1e-4"]),
        ("[0.5,0.5,0.5]", ["[0.5,0.5,0.5]"]),
        ("[0.7,1],[0.8,1.1]", ["[0.7,1]", "[0.8,1.1]"]),
        ('"a","b,c"', ['"a"', '"b,c"']),
        ("adam,sgd", ["adam", "sgd"]),
        ("^x{1,3}$", ["^x{1,3}$"]),
        ("{widths=[8,12]},{widths=[4,8]}", ["{widths=[8,12]}", "{widths=[4,8]}"]),
        ("0.3", ["0.3"]),
        ("a'b,c", ["a'b,c"]),
    ],
)
def test_commas_outside_quotes_and_brackets_part_values(text: str, pieces: list[str]) -> None:
    assert pieces_of(text) == pieces


@pytest.mark.parametrize(
    "pairs",
    [
        ["train.epochs=3", "train.lr=1e-3", "train.epochs=2"],
        ["train.lr=1e-3", "train.lr=1e-4,1e-5"],
    ],
)
def test_a_key_or_a_value_that_is_set_twice_is_refused(
    tmp_path: Path, quick: MakeRecipe, pairs: list[str]
) -> None:
    with pytest.raises(UsageError, match=r"--set has (train.epochs|train.lr) 2 times"):
        read_with_axes(tmp_path / "recipe.toml", pairs, AS_THE_FILE_SAYS)
    with pytest.raises(UsageError, match=r"--set train.lr has 1e-3 2 times"):
        axes_of(quick(tmp_path), ["train.lr=1e-3,1e-4,1e-3"])


def test_a_text_that_a_setting_takes_as_it_is_stays_one_value_and_that_is_said(
    tmp_path: Path, quick: MakeRecipe
) -> None:
    pairs = ["data.mean=[0.5,0.5,0.5]", "data.window=40,80", "train.optimizer=adam,sgd"]
    single, axes, notes = axes_of(quick(tmp_path), pairs)
    assert single == ["data.mean=[0.5,0.5,0.5]", "data.window=40,80"]
    assert axes == [Axis("train.optimizer", ("adam", "sgd"))]
    assert notes == [
        '--set data.window=40,80 is one text; for several values write data.window="40","80".'
    ]
    _single, quoted, _notes = axes_of(quick(tmp_path), ['data.window="40,80","20,300"'])
    assert quoted == [Axis("data.window", ('"40,80"', '"20,300"'))]


def swept(recipe: Recipe, axes: Sequence[Axis], data: Path, call: TrainingCall) -> Sweep:
    return result_of(sweep(recipe, axes, data, call))


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, colors: Path, quick: MakeRecipe
) -> tuple[Sweep, Path]:
    folder = tmp_path_factory.mktemp("sweep")
    axes = [RATES, Axis("train.batch", ("8", "12"))]
    recipe = quick(folder, "train.monitor=accuracy")
    return swept(recipe, axes, colors, TrainingCall(folder / "out")), folder / "out"


def test_every_combination_is_a_training_of_its_own(finished: tuple[Sweep, Path]) -> None:
    found, out = finished
    settings = [tuple(each.settings.values()) for each in found.tried]
    assert settings == [("1e-2", "8"), ("1e-2", "12"), ("3e-5", "8"), ("3e-5", "12")]
    assert [each.folder for each in found.tried] == [out / f"set-{n}" for n in (1, 2, 3, 4)]
    assert len({each.trained.bundle.card.weights_sha256 for each in found.tried}) == 4


def test_no_picture_of_the_test_part_is_looked_at(
    finished: tuple[Sweep, Path], colors: Path
) -> None:
    found, out = finished
    for each in found.tried:
        assert set(each.trained.evaluations) == {"val"}
    with (out / "set-1" / "pictures.csv").open() as lines:
        assert {row["split"] for row in csv.DictReader(lines)} == {"train", "val"}
    best, cpu = open_bundle(found.best.folder / "bundle"), torch.device("cpu")
    later = result_of(evaluate_bundle(best, colors, cpu, BundleEvaluationSpec(), None))
    assert later.pictures == 12


def test_the_best_is_named_with_its_interval_and_what_it_was_chosen_among(
    finished: tuple[Sweep, Path],
) -> None:
    found, out = finished
    values = [each.figures["accuracy"].value or 0.0 for each in found.tried]
    assert found.best is found.tried[values.index(max(values))]
    figure = found.best.figures["accuracy"]
    assert figure.interval is not None
    ends = f"{figure.interval.low:.3f} to {figure.interval.high:.3f}"
    words = f"{figure.value:.3f} ({ends}, {figure.interval.method})"
    assert f"was chosen among 4 by the accuracy of the validation part, {words}" in found.chosen
    record = json.loads((out / "sweep.json").read_text())
    assert record["best"] == found.best.settings
    assert record["chosen_among"] == 4
    with (out / "sweep.csv").open() as lines:
        rows = [*csv.DictReader(lines)]
    assert [row["train.lr"] for row in rows] == ["1e-2", "1e-2", "3e-5", "3e-5"]
    assert [row["chosen"] for row in rows].count("among 4") == 1
    caveats = open_bundle(found.best.trained.bundle.path).card.provenance["caveats"]
    assert isinstance(caveats, list)
    assert "was chosen among 4" in caveats[0]


def test_a_stopped_sweep_goes_on_to_the_same_choice(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path)
    expected = swept(recipe, [RATES], colors, TrainingCall(tmp_path / "unbroken"))
    for phase in ("epoch", "set"):
        call = TrainingCall(tmp_path / "out", existing="resume")
        work = sweep(recipe, [RATES], colors, call)
        for step in work:
            if step.phase == phase:
                break
        work.close()
    again = swept(recipe, [RATES], colors, TrainingCall(tmp_path / "out", existing="resume"))
    assert again.best.settings == expected.best.settings
    for one, other in zip(again.tried, expected.tried, strict=True):
        assert one.trained.bundle.card.weights_sha256 == other.trained.bundle.card.weights_sha256
    changed = [Axis("train.lr", ("1e-2", "1e-4"))]
    with pytest.raises(CheckpointError, match=r"train\.lr"):
        swept(recipe, changed, colors, TrainingCall(tmp_path / "out", existing="resume"))


@pytest.mark.parametrize("existing", ["refuse", "resume", "overwrite"])
@pytest.mark.parametrize(
    ("lies", "begun"),
    [
        (".", "a training without folds"),
        ("fold-1", "a cross-validation"),
        ("fold-7", "a cross-validation"),
        ("set-1", "a search among several values"),
        ("set-7", "a search among several values"),
    ],
)
def test_one_kind_of_call_does_not_go_into_the_folder_of_another_nor_of_more_trainings(
    tmp_path: Path, colors: Path, quick: MakeRecipe, existing: str, lies: str, begun: str
) -> None:
    out, recipe = tmp_path / "out", quick(tmp_path)
    (out / lies).mkdir(parents=True)
    (out / lies / "checkpoint.safetensors").touch()
    call = TrainingCall(out, existing=existing)
    begin: dict[str, Callable[[], object]] = {
        ".": lambda: next(train(recipe, colors, call)),
        "fold": lambda: next(cross_validate(recipe, colors, call, FoldSpec(3))),
        "set": lambda: next(sweep(recipe, [RATES], colors, call)),
    }
    for kind, step in begin.items():
        if kind != lies.partition("-")[0] or lies.endswith("7"):
            with pytest.raises(RunExistsError, match=f"(?i){begun} .*was begun in this folder"):
                step()
    assert [path.name for path in out.rglob("*.safetensors")] == ["checkpoint.safetensors"]


def test_a_wrong_combination_is_refused_before_anything_is_trained(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    axes = [Axis("train.optimizer", ("adam", "adma"))]
    with pytest.raises(RecipeError, match="adma"):
        swept(quick(tmp_path), axes, colors, TrainingCall(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_without_a_validation_part_there_is_nothing_to_choose_by(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path, "data.val=0.0", "data.test=0.3")
    with pytest.raises(DataSetError, match="no validation part"):
        swept(recipe, [RATES], colors / "train", TrainingCall(tmp_path / "out"))
