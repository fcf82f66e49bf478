"""The learning-rate range test: which rates a network bears, found in a few minutes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.drawing.pen import add_legend, picture_of, sheet
from slidecam.drawing.style import BLUE, LINE, ORANGE
from slidecam.errors import RecipeError, UsageError
from slidecam.files import replacing, write_csv, write_json
from slidecam.learning.data.augmentation import generator_of
from slidecam.learning.data.dataset import content_digest, dataset_for
from slidecam.learning.training.folder import TrainingFolder, locked_folder
from slidecam.learning.training.loop import (
    Learner,
    epoch_batches,
    learner_for,
    train_step,
)
from slidecam.learning.training.losses import soft_targets
from slidecam.learning.training.optimisation import set_modes, set_rate
from slidecam.learning.training.setup import (
    TrainingCall,
    card_for,
    network_for,
    with_tile_size,
)
from slidecam.learning.training.trainer import Trainer, freeze_for
from slidecam.learning.training.training import (
    Start,
    check_beginning,
    check_call,
    trainer_for,
)
from slidecam.models.backends import choose_device
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.learning.recipes.tables import Recipe


RANGE_CSV, RANGE_JSON, RANGE_PICTURE = "lr_range.csv", "lr_range.json", "lr_range.png"

RULE = (
    "a tenth of the rate at which the smoothed loss was lowest; the test ends where the loss is"
    " four times its lowest"
)


@dataclass(frozen=True)
class RangeSpec:
    """How learning rates are tried.

    Attributes
    ----------
    low, high
        The first and the last rate; each is higher than the one before by the same factor.
    steps
        Batches, one for each rate.
    smoothing
        How much of the smoothed loss is that of the step before.
    """

    low: float = 1e-6
    high: float = 1.0
    steps: int = 120
    smoothing: float = 0.9


@dataclass(frozen=True, eq=False)
class LearningRateRange:
    """What a learning-rate range test found.

    Attributes
    ----------
    rates, losses, smoothed
        float64, (steps,), as far as it came.
    suggested
        By `RULE`; None where the loss never fell.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggested: float | None

    @property
    def said(self) -> str:
        """The suggestion in a sentence."""
        if self.suggested is None:
            return "No rate is suggested: the loss never fell below where it began."
        words = f"train.lr={self.suggested:.2g} is suggested: {RULE}."
        if int(np.argmin(self.smoothed)) == len(self.rates) - 1:
            words += " It was still falling at the highest rate, so that more may be borne."
        return words

    @property
    def facts(self) -> dict[str, Any]:
        """What was tried, for people, and the suggestion."""
        return {"suggestion": self.said, "steps": len(self.rates)}

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "event": "LearningRates",
            "suggested": self.suggested,
            "rule": RULE,
            "note": self.said,
            "steps": len(self.rates),
        }


def range_test(
    recipe: Recipe,
    data: Path,
    call: TrainingCall,
    spec: RangeSpec = RangeSpec(),
) -> Generator[Step, None, LearningRateRange]:
    """Raise the learning rate batch by batch, watch the loss, and suggest a rate.

    Nothing else is trained, and no bundle is left: `RANGE_CSV`, `RANGE_JSON` and `RANGE_PICTURE`
    in ``call.out``. The rate is that of the recipe's ``lr`` in its first phase; the head's is
    ``head_factor`` times as high.

    Raises
    ------
    RecipeError
        If the recipe is one of a graph of cells.
    UsageError
        If ``call.existing`` is ``resume``. Else as `train`.

    Notes
    -----
    Smith, *Cyclical Learning Rates for Training Neural Networks*, WACV 2017 (arXiv:1506.01186),
    section 3.3, with rates that grow by a factor and not by a step.
    """
    if recipe.graph is not None:
        problem = "--lr-range is for networks of pictures, and this recipe has a [graph]."
        raise RecipeError(problem, "Try values with --set graph.lr.", recipe.path)
    if call.existing == "resume" or call.tensorboard:
        problem = "--resume and --tensorboard have no meaning beside --lr-range."
        raise UsageError(problem, "Leave them out; --overwrite tries rates anew.")
    check_beginning(recipe, call)
    fitted = with_tile_size(recipe, data)
    check_call(fitted, call)
    dataset = yield from dataset_for(data, fitted.data)
    pictures, device = dataset.pictures, choose_device(call.device)
    with locked_folder(call.out, call.existing) as folder:
        network = network_for(fitted, len(pictures.class_names), call.weights)
        card = card_for(fitted, network, pictures.class_names)
        facts = {"pictures": content_digest(pictures)}
        start = Start(network.to(device), card, facts, folder, device)
        trainer = yield from trainer_for(fitted, pictures, call, start)
        found = yield from _climb(trainer, spec)
        _write_range(found, folder)
    return found


def _climb(trainer: Trainer, spec: RangeSpec) -> Generator[Step, None, LearningRateRange]:
    phase = trainer.phases[0]
    freeze_for(trainer.network, trainer.running, phase)
    learner = learner_for(trainer.running, phase, trainer.samples, trainer.device)
    set_modes(learner.running, phase.batch_norm)
    factor = (spec.high / spec.low) ** (1 / (spec.steps - 1))
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    mean = 0.0
    for step, loss in enumerate(_losses(trainer, learner, spec.low, factor)):
        rates.append(spec.low * factor**step)
        losses.append(loss)
        mean = spec.smoothing * mean + (1 - spec.smoothing) * loss
        # What the mean has of its beginning at 0 is taken out again.
        smoothed.append(mean / (1 - spec.smoothing ** (step + 1)))
        yield Step("rate", step + 1, spec.steps, {"lr": rates[-1], "loss": smoothed[-1]})
        away = not math.isfinite(loss) or smoothed[-1] > 4 * min(smoothed)
        if away or len(rates) == spec.steps:
            break
    finite = np.nan_to_num(smoothed, nan=np.inf)
    lowest = int(np.argmin(finite))
    suggested = None
    if lowest:
        suggested = rates[lowest] / 10
    return LearningRateRange(np.array(rates), np.array(losses), finite, suggested)


def _losses(
    trainer: Trainer,
    learner: Learner,
    low: float,
    factor: float,
) -> Iterator[float]:
    """Yield the loss of one batch after the other, each at a higher rate."""
    spec, samples = learner.spec, trainer.samples
    step = 0
    for epoch in count():
        chance = generator_of(spec.seed, epoch)
        for rows in epoch_batches(samples, spec, epoch):
            pixels = samples.inputs.training(rows, epoch, chance)
            targets = soft_targets(samples.targets(rows), samples.classes)
            set_rate(learner.optimizer, low * factor**step / spec.lr)
            loss, _right = train_step(learner, pixels, targets.to(learner.device), chance)
            yield loss
            step += 1


def _write_range(found: LearningRateRange, folder: TrainingFolder) -> None:
    rows: list[list[object]] = [["step", "lr", "loss", "smoothed_loss"]]
    columns = (found.rates, found.losses, found.smoothed)
    for step, values in enumerate(zip(*columns, strict=True), 1):
        rows.append([step, *map(float, values)])
    write_csv(folder.path / RANGE_CSV, rows)
    write_json(folder.path / RANGE_JSON, found.record())
    figure, axes = sheet(6.4, 3.9)
    axes.plot(found.rates, found.losses, color=LINE, linewidth=0.8, label="each batch")
    axes.plot(found.rates, found.smoothed, color=BLUE, label="smoothed")
    axes.set_xscale("log")
    if found.suggested is not None:
        words = f"suggested: {found.suggested:.2g}"
        axes.axvline(found.suggested, color=ORANGE, linestyle="--", label=words)
    axes.set_ylim(0, 2 * float(found.smoothed[0]))
    axes.set(title="Learning-rate range test", xlabel="learning rate", ylabel="training loss")
    add_legend(axes, "best")
    with replacing(folder.path / RANGE_PICTURE) as fresh:
        picture_of(figure).save(fresh, "PNG")
