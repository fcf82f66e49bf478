"""Folds: every picture is tested once, by a network that has not seen it."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from slidecam.errors import DataSetError
from slidecam.learning.training.setup import TrainingCall
from slidecam.learning.training.training import FoldSpec, cross_validate
from slidecam.steps import result_of

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.recipes.tables import Recipe
    from slidecam.learning.training.training import Trained

SETTINGS = [
    "features.cut=stages.1",
    "features.copies=1",
    "augment.hflip=0.5",
    "data.val=0.2",
    "data.test=0",
    "data.train=0.8",
]


class MakeRecipe(Protocol):
    def __call__(self, folder: Path, *overrides: str) -> Recipe: ...


class MakePictures(Protocol):
    def __call__(
        self, folder: Path, classes: Any = ..., count: int = ..., edge: int = ...
    ) -> Path: ...


def folded(recipe: Recipe, data: Path, out: Path, **spec: int) -> tuple[Evaluation, list[Trained]]:
    return result_of(cross_validate(recipe, data, TrainingCall(out), FoldSpec(**spec)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_pictures: MakePictures) -> Path:
    return make_pictures(tmp_path_factory.mktemp("folds") / "data", count=9)


def parts_of(folder: Path) -> dict[str, str]:
    with (folder / "pictures.csv").open() as lines:
        return {row["path"].rsplit("data/")[-1]: row["split"] for row in csv.DictReader(lines)}


def test_every_picture_is_tested_once_and_never_learnt_from_where_it_is(
    tmp_path: Path, data: Path, quick: MakeRecipe
) -> None:
    out = tmp_path / "out"
    pooled, done = folded(quick(tmp_path, *SETTINGS), data, out, count=3)
    assert pooled.pictures == 27
    parts = [parts_of(out / f"fold-{number}") for number in (1, 2, 3)]
    tested = [name for fold in parts for name, part in fold.items() if part == "test"]
    assert len(tested) == len(set(tested)) == 27
    assert all(set(fold.values()) == {"train", "val", "test"} for fold in parts)
    assert len({trained.bundle.card.weights_sha256 for trained in done}) == 3
    record = json.loads((out / "evaluation" / "evaluation.json").read_text())
    assert record["accuracy"]["value"] == pooled.figures["accuracy"].value
    assert len(record["folds"]["accuracy"]["values"]) == 3


def test_features_are_computed_once_for_all_folds(
    tmp_path: Path, data: Path, quick: MakeRecipe
) -> None:
    recipe, call = quick(tmp_path, *SETTINGS, "train.epochs=1"), TrainingCall(tmp_path / "out")
    steps = list(cross_validate(recipe, data, call, FoldSpec(3)))
    computed = [step.done for step in steps if step.phase == "features"]
    assert computed == sorted(set(computed))
    assert computed[-1] == 54
    assert not (tmp_path / "out" / "features").exists()


def test_a_stopped_cross_validation_goes_on_where_it_was(
    tmp_path: Path, data: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path, *SETTINGS)
    expected, _done = folded(recipe, data, tmp_path / "unbroken", count=3)
    work = cross_validate(recipe, data, TrainingCall(tmp_path / "out"), FoldSpec(3))
    for step in work:
        if step.phase == "fold":
            break
    next(work)
    work.close()
    call = TrainingCall(tmp_path / "out", existing="resume")
    again, _done = result_of(cross_validate(recipe, data, call, FoldSpec(3)))
    assert {name: f.value for name, f in again.figures.items()} == {
        n: f.value for n, f in expected.figures.items()
    }


def test_repeats_test_every_picture_as_often(tmp_path: Path, data: Path, quick: MakeRecipe) -> None:
    pooled, done = folded(
        quick(tmp_path, *SETTINGS, "train.epochs=1"), data, tmp_path / "out", count=3, repeats=2
    )
    assert len(done) == 6
    assert (pooled.pictures, len(pooled.predictions.labels)) == (27, 54)


def test_more_folds_than_pictures_are_refused(
    tmp_path: Path, data: Path, quick: MakeRecipe
) -> None:
    with pytest.raises(DataSetError, match="too few for 10 folds"):
        folded(quick(tmp_path), data, tmp_path / "out", count=10)
    assert not (tmp_path / "out").exists()
