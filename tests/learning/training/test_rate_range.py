"""The learning-rate range test: rates that grow by a factor, and a suggestion by a stated rule."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest
from PIL import Image

from slidecam.errors import RunExistsError, UsageError
from slidecam.learning.training.rate_range import RULE, LearningRateRange, RangeSpec, range_test
from slidecam.learning.training.setup import TrainingCall
from slidecam.steps import result_of

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.learning.recipes.tables import Recipe

SPEC = RangeSpec(low=3e-5, high=7.0, steps=36)


class MakeRecipe(Protocol):
    def __call__(self, folder: Path, *overrides: str) -> Recipe: ...


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, colors: Path, quick: MakeRecipe
) -> tuple[LearningRateRange, Path]:
    folder = tmp_path_factory.mktemp("range")
    call = TrainingCall(folder / "out")
    return result_of(range_test(quick(folder), colors, call, SPEC)), folder / "out"


def test_rates_grow_by_one_factor_as_far_as_the_loss_bears_it(
    finished: tuple[LearningRateRange, Path],
) -> None:
    found, _out = finished
    assert found.rates[0] == 3e-5
    np.testing.assert_allclose(found.rates[1:] / found.rates[:-1], (7 / 3e-5) ** (1 / 35))
    assert 10 < len(found.rates) <= 36
    weights = 0.9 ** np.arange(8)[::-1]
    expected = (weights * found.losses[:8]).sum() / weights.sum()
    assert found.smoothed[7] == pytest.approx(expected)


def test_a_tenth_of_the_rate_of_the_lowest_loss_is_suggested(
    finished: tuple[LearningRateRange, Path],
) -> None:
    found, out = finished
    assert found.suggested == pytest.approx(found.rates[np.argmin(found.smoothed)] / 10)
    record = json.loads((out / "lr_range.json").read_text())
    assert (record["suggested"], record["rule"]) == (found.suggested, RULE)
    with (out / "lr_range.csv").open() as lines:
        rows = [*csv.DictReader(lines)]
    assert [float(row["lr"]) for row in rows] == found.rates.tolist()
    assert [float(row["loss"]) for row in rows] == found.losses.tolist()
    with Image.open(out / "lr_range.png") as picture:
        assert min(picture.size) > 300


def test_nothing_else_is_trained_or_left(finished: tuple[LearningRateRange, Path]) -> None:
    names = {path.name for path in finished[1].iterdir()}
    assert names == {"lr_range.csv", "lr_range.json", "lr_range.png"}


def test_the_same_seed_tries_the_same(
    finished: tuple[LearningRateRange, Path], tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    call = TrainingCall(tmp_path / "out")
    again = result_of(range_test(quick(tmp_path), colors, call, SPEC))
    np.testing.assert_array_equal(again.losses, finished[0].losses)


def test_a_loss_that_never_falls_suggests_nothing() -> None:
    rising = np.array([0.7, 0.9, 1.3])
    found = LearningRateRange(np.array([1e-3, 1e-2, 1e-1]), rising, rising, None)
    assert found.said.startswith("No rate is suggested")


def test_what_lies_there_is_not_written_over_and_resume_is_refused(
    finished: tuple[LearningRateRange, Path], tmp_path: Path, colors: Path, quick: MakeRecipe
) -> None:
    recipe = quick(tmp_path)
    with pytest.raises(RunExistsError):
        result_of(range_test(recipe, colors, TrainingCall(finished[1]), SPEC))
    call = TrainingCall(tmp_path / "out", existing="resume")
    with pytest.raises(UsageError, match="--resume"):
        result_of(range_test(recipe, colors, call, SPEC))
