"""The training loop in plain sight: an epoch, a look at the validation data, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from slidecam.errors import RecipeError
from slidecam.learning.data.augmentation import generator_of
from slidecam.learning.data.pixels import Inputs, in_order
from slidecam.learning.training.losses import (
    Loss,
    loss_for,
    mix_up,
    oversampled,
    shuffled,
    soft_targets,
)
from slidecam.learning.training.optimisation import (
    WeightAverage,
    optimizer_for,
    plateau_share,
    rate_at,
    set_modes,
    set_rate,
    swap_weights,
)
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from slidecam.learning.recipes.tables import TrainSpec

VALIDATION_BATCH = 32
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_ORDER, _AUGMENT, _DROPOUT = 1, 2, 3
"""What a seed is for, so that no two uses draw the same numbers."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What is learnt from and what is validated on.

    Attributes
    ----------
    inputs
        The pictures, by rows.
    labels
        int64, (N,), of all rows.
    train, val
        Rows of the training and of the validation part; the latter may be empty.
    classes
        Number of logits.
    """

    inputs: Inputs
    labels: NDArray[np.int64]
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    classes: int

    def targets(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the labels of some rows as a tensor on the CPU."""
        return torch.from_numpy(self.labels[rows])


@dataclass(eq=False)
class Learner:
    """A network in one phase of its training.

    Attributes
    ----------
    running
        What is run and trained: the network, or its end on cached features. What is frozen has no
        gradient.
    spec
        The phase.
    device
        Where it is.
    loss, optimizer, scaler, average
        What belongs to a phase; ``average`` is None where weights are kept as they are.
    """

    running: nn.Module
    spec: TrainSpec
    device: torch.device
    loss: Loss
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None


@dataclass
class Progress:
    """How far a training is; with the weights it is all that resuming needs.

    Attributes
    ----------
    phase, epoch
        The phase that is trained, and how many of its epochs are over.
    overall
        Epochs over in all phases.
    best, best_epoch
        The best figure of ``monitor`` so far, and the overall epoch that had it, counted from 1.
    stale
        Epochs of this phase without a better one.
    history
        One row of figures for each epoch.
    """

    phase: int = 0
    epoch: int = 0
    overall: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        """The validation losses of the phase under way, epoch by epoch."""
        own = self.history[len(self.history) - self.epoch :]
        return [row["val_loss"] for row in own if "val_loss" in row]

    def note(self, figures: dict[str, Any], monitor: str) -> bool:
        """Take note of an epoch; return whether it is the best so far.

        Without validation, and where ``last`` is asked for, the last is the best: no figure is
        called so.
        """
        self.epoch, self.overall = self.epoch + 1, self.overall + 1
        self.history.append({"phase": self.phase, "epoch": self.overall, **figures})
        figure = figures.get(f"val_{monitor}")
        if figure is None or self.best is None:
            better = True
        elif monitor == "loss":
            better = bool(figure < self.best)
        else:
            better = bool(figure > self.best)
        if better:
            self.best, self.best_epoch, self.stale = figure, self.overall, 0
        else:
            self.stale += 1
        return better

    def phase_is_over(self, spec: TrainSpec) -> bool:
        """Whether the phase has had its epochs, or its patience is spent."""
        tired = (
            bool(spec.patience) and self.stale >= spec.patience and self.epoch >= spec.min_epochs
        )
        return self.epoch >= spec.epochs or tired

    def next_phase(self) -> None:
        """Go on to the next phase."""
        self.phase, self.epoch, self.stale = self.phase + 1, 0, 0


def learner_for(
    running: nn.Module,
    spec: TrainSpec,
    samples: Samples,
    device: torch.device,
) -> Learner:
    """Return a network at the beginning of a phase.

    Which of its weights are trained has been settled before.
    """
    return Learner(
        running=running,
        spec=spec,
        device=device,
        loss=loss_for(spec, samples.targets(samples.train), samples.classes),
        optimizer=optimizer_for(running, spec),
        scaler=torch.amp.GradScaler(device.type, enabled=spec.precision == "fp16"),
        average=WeightAverage(spec.ema) if spec.ema else None,
    )


def train_epoch(
    learner: Learner,
    samples: Samples,
    progress: Progress,
) -> Generator[Step, None, dict[str, float]]:
    """Train one epoch and return its mean loss and last learning rate.

    Every number that chance decides depends on the seed and the epoch alone, and no global random
    state is touched.

    Raises
    ------
    RecipeError
        If the loss is no longer a finite number.
    """
    spec, epoch = learner.spec, progress.overall
    batches = epoch_batches(samples, spec, epoch)
    augmenting = generator_of(spec.seed, epoch, _AUGMENT)

    def augmented(rows: NDArray[np.int64]) -> Tensor:
        return samples.inputs.training(rows, epoch, augmenting)

    if learner.device.type == "cuda":
        # One thread, so that chance is drawn in the order of the batches.
        given: Iterable[Tensor] = in_order(augmented, batches, workers=1)
    else:
        given = map(augmented, batches)
    set_modes(learner.running, spec.batch_norm)
    total = right = 0.0
    reached = plateau_share(spec, progress.losses)
    for step, (rows, pixels) in enumerate(zip(batches, given, strict=True)):
        rate = rate_at(spec, progress.epoch + step / len(batches))
        set_rate(learner.optimizer, rate * reached)
        targets = soft_targets(samples.targets(rows), samples.classes).to(learner.device)
        chance = generator_of(spec.seed, epoch, _DROPOUT, step)
        loss, share = train_step(learner, pixels, targets, chance)
        if not math.isfinite(loss):
            problem = (
                f"in epoch {epoch + 1}, step {step + 1}, the loss is {loss}: training has run away."
            )
            raise RecipeError(
                problem,
                "Lower train.lr, set train.clip = 1 or train.warmup = 1, and begin anew.",
            )
        total += loss
        right += share * len(rows)
        yield Step("batch", step + 1, len(batches), {"loss": total / (step + 1)})
    return {
        "lr": learner.optimizer.param_groups[0]["lr"],
        "train_loss": total / len(batches),
        # As it was while it learnt, of augmented pictures and with dropout, as Keras counts it.
        "train_accuracy": right / sum(map(len, batches)),
    }


def train_step(
    learner: Learner,
    pixels: Tensor,
    targets: Tensor,
    chance: torch.Generator,
) -> tuple[float, float]:
    """Move the weights by one batch and return its loss, and the share that was called right.

    Of mixed pictures the larger half counts.

    Parameters
    ----------
    learner
        Its weights, optimiser and average are changed.
    pixels, targets
        (B, …) and (B, K), on the learner's device.
    chance
        What mixup draws from and dropout is seeded by.
    """
    spec = learner.spec
    if spec.mixup:
        pixels, targets = mix_up(pixels, targets, spec.mixup, chance)
    cuda = learner.device.type == "cuda"
    with torch.random.fork_rng([learner.device] * cuda):
        torch.manual_seed(int(torch.randint(2**62, (), generator=chance)))
        with torch.autocast(
            learner.device.type,
            _PRECISIONS[spec.precision],
            enabled=spec.precision != "fp32",
        ):
            logits = learner.running(pixels)
        loss = learner.loss(logits, targets)
        learner.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(learner.scaler.scale(loss))
    if spec.clip:
        learner.scaler.unscale_(learner.optimizer)
        # What is frozen may have a gradient from an earlier phase.
        free = [each for each in learner.running.parameters() if each.requires_grad]
        torch.nn.utils.clip_grad_norm_(free, spec.clip)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    if learner.average is not None:
        learner.average.follow(learner.running)
    right = (logits.detach().argmax(1) == targets.argmax(1)).float().mean()
    return float(loss.detach()), float(right)


def epoch_batches(
    samples: Samples,
    spec: TrainSpec,
    epoch: int,
) -> list[NDArray[np.int64]]:
    """Return the rows of an epoch's batches.

    A last batch of a single picture, which batch norm cannot bear, is left out.
    """
    chance = generator_of(spec.seed, epoch, _ORDER)
    if spec.balance == "oversample":
        order = oversampled(samples.targets(samples.train), chance)
    else:
        order = shuffled(len(samples.train), chance)
    rows = samples.train[order.numpy()]
    batches = [rows[start : start + spec.batch] for start in range(0, len(rows), spec.batch)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches.pop()
    if spec.steps:
        return batches[: spec.steps]
    return batches


def validate(learner: Learner, samples: Samples) -> dict[str, float]:
    """Return the figures of the validation part, by the averaged weights where there are any.

    None if it is empty.
    """
    if not len(samples.val):
        return {}
    own: dict[str, Tensor] = {}
    if learner.average is not None:
        own = swap_weights(learner.running, learner.average.weights)
    logits = logits_of(learner.running, samples.inputs, samples.val)
    swap_weights(learner.running, own)
    figures = quick_figures(logits, samples.labels[samples.val])
    return {f"val_{name}": value for name, value in figures.items()}


def logits_of(
    running: nn.Module,
    inputs: Inputs,
    rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return logits (N, K) of pictures as inference sees them, in float32 throughout."""
    running.eval()
    logits = []
    with torch.no_grad():
        for start in range(0, len(rows), VALIDATION_BATCH):
            batch = inputs.plain(rows[start : start + VALIDATION_BATCH])
            logits.append(running(batch).float().cpu().numpy())
    return np.concatenate(logits)


def quick_figures(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return what an epoch is judged by.

    Mean negative log-likelihood, accuracy, mean recall and F1.

    Classes that are not among ``labels`` do not count for the means over classes.
    """
    classes = logits.shape[1]
    log_p = torch.from_numpy(logits).double().log_softmax(1).numpy()
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    hits, true, called = np.diag(counts), counts.sum(1), counts.sum(0)
    present = true > 0
    recall, f1 = (
        hits[present] / true[present],
        2 * hits[present] / (true + called)[present],
    )
    return {
        "loss": float(-log_p[np.arange(len(labels)), labels].mean()),
        "accuracy": float(hits.sum() / len(labels)),
        "balanced_accuracy": float(recall.mean()),
        "macro_f1": float(f1.mean()),
        "weighted_f1": float((f1 * true[present]).sum() / len(labels)),
    }
