"""What was said of several slides teaches one model, and each slide is left out to measure it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.errors import RunMismatchError
from slidecam.prediction.pipeline import predict
from slidecam.runs import Run
from slidecam.runs.spec import PredictSpec
from slidecam.steps import result_of
from slidecam.teaching import Corrections, TaughtRun, fine_tune
from slidecam.teaching.held_out import too_few_slides

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SPEC = PredictSpec(batch=4, workers=1, device="cpu", heatmap="none")
NAMES = ("first", "second", "third")


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path], tiny_bundle: Path
) -> Path:
    folder = tmp_path_factory.mktemp("several")
    slides = [
        write_slide(folder / f"{name}.tif", 400, 300, seed=seed) for seed, name in enumerate(NAMES)
    ]
    for _event in predict(slides, tiny_bundle, folder / "out", SPEC):
        pass
    return folder / "out"


@pytest.fixture
def runs(results: Path, tmp_path: Path) -> list[Run]:
    """Return the runs of three slides by one model, of which nothing was said."""
    shutil.copytree(results, tmp_path / "out")
    return [Run.open(tmp_path / "out" / name) for name in NAMES]


def say(runs: Sequence[Run], names: tuple[str, str]) -> int:
    """Say of the tiles of runs that they are of two classes in turn; return how many there are."""
    for run in runs:
        corrections = Corrections.open(run)
        for place, name in enumerate(names):
            corrections.set(list(range(place, len(run), 2)), name)
    return sum(len(run) for run in runs)


def test_three_slides_teach_one_model_and_each_is_left_out_in_turn(
    runs: list[Run], tmp_path: Path
) -> None:
    tiles = say(runs, ("A", "B"))
    first, *others = runs
    tuned = result_of(fine_tune(first, tmp_path / "new", others=list(map(TaughtRun, others))))
    assert sum(tuned.labelled.values()) == tiles
    assert set(tuned.labelled) == {"A", "B"}
    assert tuned.measured is not None
    assert (tuned.measured.of_slides, tuned.measured.places) == (True, 3)
    assert len(tuned.measured.after.predictions.labels) == tiles
    record = tuned.record()["held_out"]
    assert (record["slides"], record["tiles"]) == (3, tiles)
    assert "had learnt from the other slides alone" in record["how"]
    card = tuned.bundle.card
    assert card.name.endswith("taught on 3 slides")
    assert card.provenance["other_slides"] == {run.slide: run.fingerprint for run in others}


def test_a_class_of_one_slide_alone_is_not_measured_on_others_and_that_is_said(
    runs: list[Run], tmp_path: Path
) -> None:
    say(runs[:2], ("A", "B"))
    say(runs[2:], ("A", "fat"))
    first, *others = runs
    tuned = result_of(fine_tune(first, tmp_path / "new", others=list(map(TaughtRun, others))))
    assert tuned.measured is None
    assert "on one slide alone lie labels of fat" in tuned.unmeasured
    assert tuned.new_classes == ("fat",)


def test_a_slide_without_labels_is_left_out_in_words_and_another_model_is_refused(
    runs: list[Run], tmp_path: Path
) -> None:
    first, second, third = runs
    say([second], ("A", "B"))
    tuned = result_of(
        fine_tune(first, tmp_path / "new", others=[TaughtRun(second), TaughtRun(third)])
    )
    silent = {note.partition(":")[0] for note in tuned.notes if "no tile has a label" in note}
    assert silent == {"first", "third"}
    assert tuned.bundle.card.provenance["slide"] == "second"
    foreign = replace(third, digest={**third.digest, "model": "another"})
    with pytest.raises(RunMismatchError, match="another model"):
        result_of(fine_tune(first, tmp_path / "other", others=[TaughtRun(foreign)]))


def test_slides_are_left_out_where_each_class_lies_on_two_at_least() -> None:
    slides, names = np.array([0, 0, 1, 1, 2]), ("A", "B")
    assert too_few_slides(np.array([0, 1, 0, 1, 0]), slides, names) == ""
    assert "of B." in too_few_slides(np.array([0, 1, 0, 0, 0]), slides, names)
    assert "one class" in too_few_slides(np.array([0, 0, 0, 0, 0]), slides, names)
