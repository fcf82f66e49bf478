"""Folds: every picture is tested once, by a network that has not seen it."""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import torch

from slidecam.errors import DataSetError, RecipeError, RunExistsError
from slidecam.learning.evaluation.bundle import BundleEvaluationSpec, evaluate_bundle
from slidecam.learning.training.folds import FoldSpec, cross_validate, epochs_to_best
from slidecam.learning.training.setup import TrainingCall
from slidecam.learning.training.training import train
from slidecam.models import open_bundle
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


def folded(recipe: Recipe, data: Path, out: Path, **spec: Any) -> tuple[Evaluation, list[Trained]]:
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


def weights_of(folder: Path) -> bytes:
    return (folder / "bundle" / "model.safetensors").read_bytes()


def test_the_folds_leave_an_ensemble_whose_logits_are_their_mean(
    tmp_path: Path, data: Path, quick: MakeRecipe
) -> None:
    _pooled, done = folded(quick(tmp_path, *SETTINGS), data, tmp_path / "out", count=3)
    bundle = open_bundle(tmp_path / "out" / "bundle")
    seen = torch.randn((4, 3, 32, 32), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        each = [trained.bundle.network()(seen) for trained in done]
        found = bundle.network()(seen)
    cards = [trained.bundle.card for trained in done]
    expected = torch.stack([z / c.temperature for z, c in zip(each, cards, strict=True)]).mean(0)
    torch.testing.assert_close(found / bundle.card.temperature, expected, atol=1e-6, rtol=1e-6)
    assert bundle.card.name == "quick, mean of 3"
    members: Any = bundle.card.provenance["members"]
    assert [each["digest"] for each in members] == [trained.bundle.digest for trained in done]
    measured: Any = bundle.card.provenance["measured"]
    assert list(measured) == ["members, each on the fold kept from it"]
    extent: Any = bundle.card.provenance["measured_on"]
    assert extent[next(iter(measured))]["pictures"] == len(list(data.glob("*/*.png")))
    caveats: Any = bundle.card.provenance["caveats"]
    assert caveats[0].startswith("No figure is of the ensemble itself")
    assert "their mean cannot be calibrated" in bundle.card.calibration


def test_what_any_member_has_learnt_from_the_ensemble_knows(
    tmp_path: Path, data: Path, quick: MakeRecipe, make_pictures: MakePictures
) -> None:
    folded(quick(tmp_path, *SETTINGS, "train.epochs=1"), data, tmp_path / "out", count=3)
    bundle = open_bundle(tmp_path / "out" / "bundle")
    cpu, spec = torch.device("cpu"), BundleEvaluationSpec()
    with pytest.raises(DataSetError, match="has learnt from all 27 pictures"):
        result_of(evaluate_bundle(bundle, data, cpu, spec, None))
    mixed = make_pictures(tmp_path / "mixed", count=2)
    shutil.copy(data / "red" / "3.png", mixed / "red" / "renamed.png")
    found = result_of(evaluate_bundle(bundle, mixed, cpu, spec, None))
    assert found.pictures == 6
    assert found.left_out["same content"] == 1


def test_a_stopped_cross_validation_leaves_the_same_ensemble_and_final_training(
    tmp_path: Path, data: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path, *SETTINGS)
    folded(recipe, data, tmp_path / "unbroken", count=3, final=True)
    stops = 0
    for phase, place in (("epoch", 2), ("fold", 1), ("fold", 3), ("epoch", 1)):
        resume = TrainingCall(tmp_path / "out", existing="resume")
        work = cross_validate(recipe, data, resume, FoldSpec(3, final=True))
        seen = 0
        for step in work:
            seen += step.phase == phase
            if seen == place:
                stops += 1
                break
        work.close()
    assert stops == 4
    call = TrainingCall(tmp_path / "out", existing="resume")
    result_of(cross_validate(recipe, data, call, FoldSpec(3, final=True)))
    for name in (".", "final"):
        assert weights_of(tmp_path / "out" / name) == weights_of(tmp_path / "unbroken" / name)
    learnt = [tmp_path / name / "bundle" / "learnt.safetensors" for name in ("out", "unbroken")]
    assert learnt[0].read_bytes() == learnt[1].read_bytes()


def test_the_final_training_learns_from_all_as_long_as_the_folds_and_is_called_unmeasured(
    tmp_path: Path, data: Path, quick: MakeRecipe
) -> None:
    out = tmp_path / "out"
    settings = [*SETTINGS, "train.epochs=3", "train.monitor=accuracy"]
    pooled, done = folded(quick(tmp_path, *settings), data, out, count=3, final=True)
    assert set(parts_of(out / "final").values()) == {"train"}
    with (out / "final" / "history.csv").open() as lines:
        epochs = len([*csv.DictReader(lines)])
    assert epochs == sorted(trained.best_epoch for trained in done)[1]
    final = open_bundle(out / "final" / "bundle")
    value = pooled.figures["accuracy"].value
    assert value is not None
    said = (
        "unmeasured: trained on all pictures; figures are those of the cross-validation"
        f" (accuracy {value:.3f}"
    )
    assert str(final.card.provenance["unmeasured"]).startswith(said)
    assert "measured" not in final.card.provenance
    assert final.card.calibration.startswith("not calibrated. Unmeasured: trained on all")
    with pytest.raises(DataSetError, match="has learnt from all 27 pictures"):
        result_of(evaluate_bundle(final, data, torch.device("cpu"), BundleEvaluationSpec(), None))


def test_phases_of_the_final_training_last_as_the_median_folds(
    tmp_path: Path, quick: MakeRecipe
) -> None:
    phases = quick(tmp_path, "train.monitor=accuracy").phases * 2
    history = [
        {"phase": 0, "epoch": 1, "val_accuracy": 0.41},
        {"phase": 0, "epoch": 2, "val_accuracy": 0.63},
        {"phase": 0, "epoch": 3, "val_accuracy": 0.57},
        {"phase": 1, "epoch": 4, "val_accuracy": 0.59},
        {"phase": 1, "epoch": 5, "val_accuracy": 0.71},
        {"phase": 1, "epoch": 6, "val_accuracy": 0.71},
    ]
    assert epochs_to_best(phases, history) == [2, 2]
    assert epochs_to_best(phases, history[:4]) == [2, 0]


def test_a_final_training_that_would_watch_a_validation_part_is_refused(
    tmp_path: Path, data: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path, "train.schedule=plateau")
    with pytest.raises(RecipeError, match="schedule is plateau"):
        folded(recipe, data, tmp_path / "out", count=3, final=True)
    assert not (tmp_path / "out").exists()


def test_folds_do_not_write_over_a_single_trainings_bundle(
    tmp_path: Path, data: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path, "train.epochs=1")
    result_of(train(recipe, data, TrainingCall(tmp_path / "out")))
    with pytest.raises(RunExistsError, match="without folds"):
        folded(recipe, data, tmp_path / "out", count=3)
