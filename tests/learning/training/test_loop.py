"""One epoch at a time: batches, steps, figures, when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from slidecam.errors import RecipeError
from slidecam.learning.recipes.tables import TrainSpec
from slidecam.learning.training.loop import (
    Learner,
    Progress,
    Samples,
    epoch_batches,
    learner_for,
    logits_of,
    quick_figures,
    train_epoch,
    train_step,
    validate,
)
from slidecam.steps import result_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

CPU = torch.device("cpu")


@dataclass(eq=False)
class Rows:
    """Inputs whose pictures are vectors; it notes which were asked for in training."""

    vectors: torch.Tensor
    asked: list[int] = field(default_factory=list)

    def training(
        self, rows: NDArray[np.int64], _epoch: int, _generator: torch.Generator
    ) -> torch.Tensor:
        self.asked += rows.tolist()
        return self.vectors[rows]

    def plain(self, rows: NDArray[np.int64]) -> torch.Tensor:
        return self.vectors[rows]


def samples(count: int = 41) -> Samples:
    labels = np.arange(count) % 5 // 2  # 2 : 2 : 1
    vectors = torch.randn((count, 6), generator=torch.Generator().manual_seed(1))
    vectors[torch.arange(count), labels] += 2
    return Samples(Rows(vectors), labels, np.arange(count - 9), np.arange(count - 9, count), 3)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def learner(
    spec: TrainSpec, given: Samples | None = None, model: nn.Module | None = None
) -> Learner:
    return learner_for(model or network(), spec, given or samples(), CPU)


def weights(of: Learner) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in of.running.parameters()])


def test_an_epoch_sees_every_training_picture_once_and_no_other() -> None:
    given = samples()
    result_of(train_epoch(learner(TrainSpec(batch=7), given), given, Progress()))
    assert isinstance(given.inputs, Rows)
    assert sorted(given.inputs.asked) == given.train.tolist()


def test_oversampling_shows_every_class_as_often() -> None:
    given = samples()
    rows = np.concatenate(epoch_batches(given, TrainSpec(batch=7, balance="oversample"), 0))
    counts = np.bincount(given.labels[rows])
    assert set(counts) == {np.bincount(given.labels[given.train]).max()}


def test_orders_differ_between_epochs_and_seeds_and_not_between_calls() -> None:
    given = samples()

    def order(epoch: int, seed: int) -> list[int]:
        return [
            int(row) for rows in epoch_batches(given, TrainSpec(seed=seed), epoch) for row in rows
        ]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)


def test_a_last_batch_of_one_is_left_out_and_steps_are_counted() -> None:
    assert [len(rows) for rows in epoch_batches(samples(42), TrainSpec(batch=16), 0)] == [16, 16]
    assert [len(rows) for rows in epoch_batches(samples(41), TrainSpec(batch=16), 0)] == [16, 16]
    assert [len(rows) for rows in epoch_batches(samples(43), TrainSpec(batch=16), 0)] == [16, 16, 2]
    assert len(epoch_batches(samples(41), TrainSpec(batch=4, steps=2), 0)) == 2


def test_a_step_is_torch_s_own() -> None:
    spec = TrainSpec(optimizer="sgd", lr=0.1, clip=0.05)
    model = nn.Linear(6, 3)
    twin = nn.Linear(6, 3)
    twin.load_state_dict(model.state_dict())
    vectors, labels = torch.randn(5, 6), torch.tensor([0, 1, 2, 1, 0])
    called = twin(vectors).argmax(1)
    loss, right = train_step(
        learner(spec, model=model), vectors, torch.eye(3)[labels], torch.Generator().manual_seed(0)
    )
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    expected = cross_entropy(twin(vectors), labels)
    torch.autograd.backward(expected)
    torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.05)
    optimizer.step()
    assert loss == pytest.approx(expected.item())
    assert right == pytest.approx(float((called == labels).sum()) / 5)
    assert torch.allclose(model.weight, twin.weight)


def test_an_epochs_training_accuracy_is_that_of_all_its_pictures() -> None:
    given = samples(41)
    spec = TrainSpec(optimizer="sgd", lr=1e-12, batch=16)
    pupil = learner(spec, given)
    figures = result_of(train_epoch(pupil, given, Progress()))
    rows = np.concatenate(epoch_batches(given, spec, 0))
    logits = logits_of(pupil.running, given.inputs, rows)
    assert figures["train_accuracy"] == pytest.approx(
        (logits.argmax(1) == given.labels[rows]).mean()
    )


def test_training_learns() -> None:
    given = samples(400)
    pupil, progress = learner(TrainSpec(optimizer="adam", lr=0.02, batch=32), given), Progress()
    before = validate(pupil, given)
    for _epoch in range(8):
        progress.note(result_of(train_epoch(pupil, given, progress)), "loss")
    assert validate(pupil, given)["val_loss"] < before["val_loss"] / 2


@pytest.mark.parametrize(
    "changes", [{}, {"mixup": 0.4}, {"ema": 0.9}, {"precision": "bf16"}, {"loss": "focal"}]
)
def test_equal_seeds_give_equal_weights_whatever_was_drawn_before(
    changes: dict[str, object],
) -> None:
    given = samples()
    spec = replace(TrainSpec(batch=8, lr=0.01), **changes)  # type: ignore[arg-type]
    pupils = [learner(spec, given) for _time in range(3)]
    for number, pupil in enumerate(pupils):
        torch.manual_seed(number)
        result_of(train_epoch(pupil, given, Progress(overall=number // 2)))
    assert torch.equal(weights(pupils[0]), weights(pupils[1]))
    assert not torch.equal(weights(pupils[0]), weights(pupils[2]))


def test_global_chance_is_left_alone() -> None:
    given = samples()
    work = train_epoch(learner(TrainSpec(mixup=0.2), given), given, Progress())
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    next(work)
    assert torch.equal(torch.rand(4), expected)
    work.close()


def test_a_loss_that_runs_away_names_epoch_step_and_remedy() -> None:
    given = samples()
    pupil = learner(TrainSpec(batch=8), given)
    torch.nn.init.constant_(next(pupil.running.parameters()), math.nan)
    with pytest.raises(RecipeError, match=r"epoch 4, step 1, the loss is nan") as caught:
        result_of(train_epoch(pupil, given, Progress(overall=3)))
    assert "train.lr" in caught.value.remedy


def test_validation_uses_averaged_weights_and_gives_back_the_others() -> None:
    given = samples()
    pupil = learner(TrainSpec(ema=0.9, lr=0.05, batch=8), given)
    result_of(train_epoch(pupil, given, Progress()))
    own = weights(pupil)
    figures = validate(pupil, given)
    assert torch.equal(weights(pupil), own)
    assert pupil.average is not None
    averaged = network()
    averaged.load_state_dict(pupil.average.weights)
    expected = quick_figures(logits_of(averaged, given.inputs, given.val), given.labels[given.val])
    assert figures == {f"val_{name}": value for name, value in expected.items()}
    assert figures != validate(replace_average(pupil), given)


def replace_average(pupil: Learner) -> Learner:
    return replace(pupil, average=None)


def test_without_a_validation_part_there_are_no_figures_and_the_last_epoch_is_best() -> None:
    given = replace(samples(), val=np.arange(0))
    assert validate(learner(TrainSpec(), given), given) == {}
    progress = Progress()
    assert all(progress.note({"train_loss": loss}, "loss") for loss in (1.0, 2.0, 3.0))
    assert progress.best_epoch == 3


def test_quick_figures_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60)
    called = logits.argmax(1)
    figures = quick_figures(logits, labels)
    assert figures["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, called))
    recall = sklearn.metrics.recall_score(labels, called, labels=[0, 1, 2], average="macro")
    assert figures["balanced_accuracy"] == pytest.approx(recall)
    for name, average in (("macro_f1", "macro"), ("weighted_f1", "weighted")):
        expected = sklearn.metrics.f1_score(labels, called, labels=[0, 1, 2], average=average)
        assert figures[name] == pytest.approx(expected)
    shifted = logits - logits.max(1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    assert figures["loss"] == pytest.approx(
        sklearn.metrics.log_loss(labels, p, labels=range(4)), rel=1e-5
    )


@pytest.mark.parametrize(
    ("monitor", "figures"), [("loss", [3, 2, 2.5, 2.0, 1]), ("accuracy", [0.1, 0.5, 0.4, 0.5, 0.6])]
)
def test_only_what_is_strictly_better_is_best(monitor: str, figures: list[float]) -> None:
    progress = Progress()
    best = [progress.note({f"val_{monitor}": figure}, monitor) for figure in figures]
    assert best == [True, True, False, False, True]
    assert (progress.best, progress.best_epoch, progress.stale) == (figures[-1], 5, 0)


def test_the_last_epoch_is_the_best_where_that_is_asked_for() -> None:
    progress = Progress()
    assert all(progress.note({"val_loss": figure}, "last") for figure in (1, 3, 2))
    assert (progress.best_epoch, progress.stale) == (3, 0)


def test_patience_is_spent_after_so_many_worse_epochs_and_not_before_the_least() -> None:
    spec = TrainSpec(epochs=20, patience=2, min_epochs=5)
    progress = Progress()
    ended = []
    for loss in (1.0, 2.0, 3.0, 4.0, 5.0):
        progress.note({"val_loss": loss}, "loss")
        ended.append(progress.phase_is_over(spec))
    assert ended == [False, False, False, False, True]
    assert Progress(epoch=20).phase_is_over(spec)
    assert not Progress(epoch=19, stale=50).phase_is_over(replace(spec, patience=0))


def test_a_new_phase_has_patience_again() -> None:
    progress = Progress(phase=0, epoch=4, overall=4, best=0.5, best_epoch=2, stale=2)
    progress.next_phase()
    assert (progress.phase, progress.epoch, progress.overall, progress.best, progress.stale) == (
        1,
        0,
        4,
        0.5,
        0,
    )
