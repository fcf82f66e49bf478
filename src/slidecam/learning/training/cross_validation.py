"""A recipe measured by cross-validation.

As many trainings as folds, each measured on pictures that it has not seen.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slidecam.learning.data.dataset import folds_for
from slidecam.learning.evaluation.bundle import background_of
from slidecam.learning.evaluation.evaluation import pool_folds
from slidecam.learning.evaluation.report import write_evaluation
from slidecam.learning.training.beginning import check_weights, fitted_to
from slidecam.learning.training.folder import TrainingFolder
from slidecam.learning.training.training import check_call, train_on
from slidecam.models.backends import choose_device
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.recipes.tables import Recipe
    from slidecam.learning.training.beginning import TrainingCall
    from slidecam.learning.training.training import Trained


@dataclass(frozen=True)
class FoldSpec:
    """How often, and on what, a recipe is trained.

    Attributes
    ----------
    count, repeats
        Folds of a partition, and how many partitions.
    """

    count: int = 5
    repeats: int = 1


def cross_validate(
    recipe: Recipe, data: Path, call: TrainingCall, spec: FoldSpec
) -> Generator[Step, None, tuple[Evaluation, list[Trained]]]:
    """Train and measure a recipe on every fold.

    Each fold is a training of its own in ``call.out/fold-<n>``, with its own validation part and
    temperature; a fold that is finished, or was stopped, is gone on with by ``resume``. Parts that
    the data bring are not heeded.

    Returns
    -------
    evaluation, folds
        Of the test folds' predictions together, written to ``call.out/evaluation``; and each fold's
        training.

    Raises
    ------
    DataSetError
        If a class has fewer pictures, or patients, than there are folds. Else as `train`.
    """
    choose_device(call.device)
    check_weights(recipe, call.weights)
    fitted = fitted_to(recipe, data)
    check_call(fitted, _call_of(call, 1))
    with suppress(OSError):  # it was there before, or holds something
        call.out.rmdir()
    datasets = yield from folds_for(data, recipe.data, spec.count, spec.repeats)
    done: list[Trained] = []
    for number, dataset in enumerate(datasets, 1):
        trained = yield from train_on(fitted, dataset, _call_of(call, number))
        done.append(trained)
        figures = trained.evaluations["test"].figures
        shown = {name: figures[name].value or 0.0 for name in ("accuracy", "weighted F1")}
        yield Step("fold", number, len(datasets), shown)
    pooled = pool_folds([trained.evaluations["test"] for trained in done])
    title = f"{recipe.name}, {spec.repeats} x {spec.count} folds"
    background = background_of(
        datasets[0], (), f"all of {data.name}, each picture by a network without it", title
    )
    folder = TrainingFolder(call.out)
    write_evaluation(pooled, folder.evaluation, background)
    folder.clear_features()
    return pooled, done


def _call_of(call: TrainingCall, number: int) -> TrainingCall:
    """Return the call of one fold; features are the same for all, and one page tells of all."""
    folder = TrainingFolder(call.out / f"fold-{number}")
    fresh = call.existing == "resume" and not folder.checkpoint.exists()
    return replace(
        call,
        out=folder.path,
        existing="refuse" if fresh else call.existing,
        cache=call.cache or TrainingFolder(call.out).features,
        pages=False,
        share=True,
    )
