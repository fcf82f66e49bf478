"""Figures of every epoch for TensorBoard, where it is installed."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Protocol

import pytest

from slidecam.errors import UsageError
from slidecam.learning.training.setup import TrainingCall
from slidecam.learning.training.training import train
from slidecam.steps import result_of

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.learning.recipes.tables import Recipe


class MakeRecipe(Protocol):
    def __call__(self, folder: Path, *overrides: str) -> Recipe: ...


def test_without_tensorboard_it_is_refused_before_anything_is_done(
    tmp_path: Path, colors: Path, quick: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    call = TrainingCall(tmp_path / "out", tensorboard=True)
    with pytest.raises(UsageError, match=r'^--tensorboard cannot .*"slidecam\[tensorboard\]"'):
        result_of(train(quick(tmp_path), colors, call))
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_epochs_figures_are_those_of_the_history_also_after_a_stop(
    tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    recipe = quick(tmp_path, "train.epochs=4")
    work = train(recipe, colors, TrainingCall(tmp_path / "out", tensorboard=True))
    for step in work:
        if step.phase == "epoch" and step.done == 2:
            break
    work.close()
    call = TrainingCall(tmp_path / "out", existing="resume", tensorboard=True)
    result_of(train(recipe, colors, call))
    events = reading.EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    with (tmp_path / "out" / "history.csv").open() as lines:
        rows = [*csv.DictReader(lines)]
    assert len(rows) == 4
    for tag, column in (("loss/train", "train_loss"), ("accuracy/val", "val_accuracy")):
        found = events.Scalars(tag)
        assert [each.step for each in found] == [1, 2, 3, 4]
        expected = [float(row[column]) for row in rows]
        assert [each.value for each in found] == pytest.approx(expected, rel=1e-6)
