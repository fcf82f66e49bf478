"""A training from its first epoch to its last.

Phases, early stopping, checkpoints, the best weights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slidecam.errors import RecipeError
from slidecam.learning.training.checkpoints import put_back, taken_from, write_checkpoint
from slidecam.learning.training.folder import write_history
from slidecam.learning.training.loop import Progress, learner_for, train_epoch, validate
from slidecam.learning.training.optimisation import unfreeze
from slidecam.models.backends import check_device
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import torch
    from torch import Tensor, nn

    from slidecam.learning.recipes.tables import TrainSpec
    from slidecam.learning.training.checkpoints import Checkpoint
    from slidecam.learning.training.folder import TrainingFolder
    from slidecam.learning.training.loop import Learner, Samples

_SHOWN = ("train_loss", "val_loss", "val_accuracy", "val_macro_f1")


@dataclass(eq=False)
class Trainer:
    """A training under way.

    Attributes
    ----------
    network, running
        The whole network, and what of it is run: itself, or its end, which shares its weights.
    samples
        What it learns from.
    phases
        How, one after another.
    device
        Where.
    folder
        Where checkpoints and the history go.
    facts
        Whose training it is, for the checkpoint.
    progress
        How far it is.
    best
        The best weights and buffers so far, on the device; empty before the first epoch.
    """

    network: nn.Module
    running: nn.Module
    samples: Samples
    phases: tuple[TrainSpec, ...]
    device: torch.device
    folder: TrainingFolder
    facts: Mapping[str, Any]
    progress: Progress = field(default_factory=Progress)
    best: dict[str, Tensor] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse phases that the network or the device does not allow, before anything is trained.

        Raises
        ------
        RecipeError
            If a phase trains what is not there, or what is frozen for good.
        DeviceError
            If the device cannot compute in a phase's precision.
        """
        for spec in self.phases:
            free_for(self.network, self.running, spec)
            if spec.precision == "bf16":
                check_device(self.device, spec.precision, "eager")

    def follow(self, checkpoint: Checkpoint | None = None) -> Generator[Step, None, None]:
        """Train to the end, from the beginning or from a checkpoint.

        Leaves the best weights in the network.

        Each phase begins from the best weights so far. After every epoch a checkpoint is written,
        so that a kill loses no more than the epoch that was under way.

        Raises
        ------
        RecipeError
            If a phase would train what is frozen for good, or training runs away.
        """
        if checkpoint is not None:
            self.progress = checkpoint.progress
            self.best = {name: tensor.to(self.device) for name, tensor in checkpoint.best.items()}
        for number in range(self.progress.phase, len(self.phases)):
            learner = self._begin(number, checkpoint)
            yield from self._phase(learner)
            self.progress.next_phase()
            self._keep(learner)
        self.network.load_state_dict(self.best)

    def _begin(self, number: int, checkpoint: Checkpoint | None) -> Learner:
        spec = self.phases[number]
        free_for(self.network, self.running, spec)
        if self.best:
            self.network.load_state_dict(self.best)
        learner = learner_for(self.running, spec, self.samples, self.device)
        if checkpoint is not None and self.progress.epoch:
            put_back(checkpoint, learner, self.network)
        return learner

    def _phase(self, learner: Learner) -> Generator[Step, None, None]:
        total = sum(spec.epochs for spec in self.phases)
        while not self.progress.phase_is_over(learner.spec):
            start = time.perf_counter()
            figures = yield from train_epoch(learner, self.samples, self.progress)
            figures |= validate(learner, self.samples)
            figures["seconds"] = round(time.perf_counter() - start, 2)
            if self.progress.note(figures, learner.spec.monitor):
                self.best = snapshot(self.network, learner)
            self._keep(learner)
            yield Step(
                "epoch",
                self.progress.overall,
                total,
                {k: figures[k] for k in _SHOWN if k in figures},
            )

    def _keep(self, learner: Learner) -> None:
        # The checkpoint first: the history without it would be of a training that nobody can go on
        # with.
        kept = taken_from(learner, self.network, self.best, self.progress, self.facts)
        write_checkpoint(self.folder.checkpoint, kept)
        write_history(self.folder.history, self.progress.history)


def snapshot(network: nn.Module, learner: Learner) -> dict[str, Tensor]:
    """Return a copy of a network's weights and buffers.

    Averaged weights take the place of the last where there are any.
    """
    if learner.average:
        averaged = learner.average.weights
    else:
        averaged = {}
    return {
        name: averaged.get(name, tensor).detach().clone()
        for name, tensor in network.state_dict().items()
    }


def free_for(network: nn.Module, running: nn.Module, spec: TrainSpec) -> None:
    """Freeze and unfreeze for a phase; what lies before the cut of cached features stays frozen.

    Raises
    ------
    RecipeError
        If the phase names layers before the cut.
    """
    chosen = unfreeze(network, spec.trainable)
    reachable = {name for name, _parameter in running.named_parameters()}
    lost = [name for name in chosen if name not in reachable]
    for name in lost:
        network.get_parameter(name).requires_grad_(False)  # noqa: FBT003  (torch's signature)
    if lost and spec.trainable != "all":
        problem = f"trainable reaches {lost[0]}, which lies before features.cut and is frozen."
        raise RecipeError(problem, "Cut earlier, or train only what comes after the cut.")
    if len(lost) == len(chosen):
        raise RecipeError("no weights are left to train after features.cut.", "Cut earlier.")
