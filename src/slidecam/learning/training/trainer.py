"""A training from its first epoch to its last: phases, early stopping, the best weights.

And on disk, so that one that was stopped or killed goes on exactly where it was. One safetensors
file holds the network, its best weights so far, the optimiser's state and the moving average; its
header holds how far the training is, as JSON. It is replaced as a whole after every epoch. Nothing
random is in it: every epoch seeds its own chance from the recipe.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from slidecam.errors import CheckpointError, RecipeError
from slidecam.files import replacing
from slidecam.learning.training.folder import (
    EventWriter,
    TrainingFolder,
    write_history,
)
from slidecam.learning.training.loop import (
    Learner,
    Progress,
    Samples,
    learner_for,
    train_epoch,
    validate,
)
from slidecam.learning.training.optimisation import WeightAverage, unfreeze
from slidecam.models.backends import check_device
from slidecam.parsing import ParseError, json_of
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from slidecam.learning.recipes.tables import TrainSpec


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
    events
        Whether figures are written for TensorBoard as well.
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
    events: bool = False

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
            freeze_for(self.network, self.running, spec)
            if spec.schedule == "plateau" and not len(self.samples.val):
                problem = "train.schedule is plateau, and there is no validation loss to watch."
                raise RecipeError(problem, 'Set data.val above 0, or train.schedule = "none".')
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
        with ExitStack() as stack:
            writer = None
            if self.events and self.progress.phase < len(self.phases):
                writer = EventWriter(self.folder.events, self.progress.overall)
                stack.callback(writer.close)
            for number in range(self.progress.phase, len(self.phases)):
                learner = self._begin(number, checkpoint)
                yield from self._phase(learner, writer)
                self.progress.next_phase()
                self._keep(learner)
        self.network.load_state_dict(self.best)

    def _begin(self, number: int, checkpoint: Checkpoint | None) -> Learner:
        spec = self.phases[number]
        freeze_for(self.network, self.running, spec)
        if self.best:
            self.network.load_state_dict(self.best)
        learner = learner_for(self.running, spec, self.samples, self.device)
        if checkpoint is not None and self.progress.epoch:
            restore(checkpoint, learner, self.network)
        return learner

    def _phase(self, learner: Learner, writer: EventWriter | None) -> Generator[Step, None, None]:
        total = sum(spec.epochs for spec in self.phases)
        while not self.progress.phase_is_over(learner.spec):
            start = time.perf_counter()
            figures = yield from train_epoch(learner, self.samples, self.progress)
            figures |= validate(learner, self.samples)
            figures["seconds"] = round(time.perf_counter() - start, 2)
            if self.progress.note(figures, learner.spec.monitor):
                self.best = snapshot(self.network, learner)
            self._keep(learner)
            if writer is not None:
                writer.write(self.progress.history[-1])
            shown = {name: figures[name] for name in _SHOWN if name in figures}
            yield Step("epoch", self.progress.overall, total, shown)

    def _keep(self, learner: Learner) -> None:
        # The checkpoint first: the history without it would be of a training that nobody can go on
        # with.
        kept = checkpoint_of(learner, self.network, self.best, self.progress, self.facts)
        write_checkpoint(self.folder.checkpoint, kept)
        write_history(self.folder.history, self.progress.history)


def snapshot(network: nn.Module, learner: Learner) -> dict[str, Tensor]:
    """Return a copy of a network's weights and buffers.

    Averaged weights take the place of the last where there are any.
    """
    weights = dict(network.state_dict())
    if learner.average:
        weights |= learner.average.weights
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def freeze_for(
    network: nn.Module,
    running: nn.Module,
    spec: TrainSpec,
) -> None:
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
        problem = (
            f"The setting trainable reaches {lost[0]}, which lies before features.cut and is"
            " frozen."
        )
        raise RecipeError(problem, "Cut earlier, or train only what comes after the cut.")
    if len(lost) == len(chosen):
        raise RecipeError("no weights are left to train after features.cut.", "Cut earlier.")


_FORMAT, _VERSION = "slidecam-training", 1
_NETWORK, _BEST, _AVERAGE, _OPTIMIZER = "network", "best", "average", "optimizer"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training as it was after an epoch.

    Attributes
    ----------
    progress
        How far it is.
    facts
        Whose training it is: the recipe, the data's digest, the class names. Resuming another is
        refused.
    network, best
        Weights and buffers by name.
    average, average_steps
        The moving average of the weights; empty where there is none.
    optimizer
        Each parameter's state, by its place in the optimiser's order.
    scaler
        State of the gradient scaler.
    """

    progress: Progress
    facts: Mapping[str, Any]
    network: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    average: Mapping[str, Tensor] = field(default_factory=dict)
    average_steps: int = 0
    optimizer: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    scaler: Mapping[str, Any] = field(default_factory=dict)


def checkpoint_of(
    learner: Learner,
    network: nn.Module,
    best: Mapping[str, Tensor],
    progress: Progress,
    facts: Mapping[str, Any],
) -> Checkpoint:
    """Return what is to be kept of a training after an epoch."""
    average = learner.average or WeightAverage(0.0)
    return Checkpoint(
        progress=progress,
        facts=facts,
        network=network.state_dict(),
        best=best,
        average=average.weights,
        average_steps=average.steps,
        optimizer=learner.optimizer.state_dict()["state"],
        scaler=learner.scaler.state_dict(),
    )


def restore(
    checkpoint: Checkpoint,
    learner: Learner,
    network: nn.Module,
) -> None:
    """Bring a learner, fresh from its recipe, to where it was in the midst of a phase."""
    network.load_state_dict(dict(checkpoint.network))
    state = learner.optimizer.state_dict()
    learner.optimizer.load_state_dict({**state, "state": dict(checkpoint.optimizer)})
    if checkpoint.scaler:
        learner.scaler.load_state_dict(dict(checkpoint.scaler))
    if learner.average is not None:
        learner.average.steps = checkpoint.average_steps
        weights = {name: tensor.to(learner.device) for name, tensor in checkpoint.average.items()}
        learner.average.weights = weights


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one that is there: a kill leaves the one or the other."""
    tensors: dict[str, Tensor] = {}
    for kind, named in (
        (_NETWORK, checkpoint.network),
        (_BEST, checkpoint.best),
        (_AVERAGE, checkpoint.average),
    ):
        tensors |= {f"{kind}/{name}": tensor for name, tensor in named.items()}
    plain: dict[str, dict[str, Any]] = {}
    for place, state in checkpoint.optimizer.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{_OPTIMIZER}/{place}/{key}"] = value
            else:
                plain.setdefault(str(place), {})[key] = value
    record = {
        "format": _FORMAT,
        "version": _VERSION,
        "progress": asdict(checkpoint.progress),
        "facts": dict(checkpoint.facts),
        "average_steps": checkpoint.average_steps,
        "optimizer": plain,
        "scaler": dict(checkpoint.scaler),
    }
    # Copied, since safetensors refuses tensors that share memory, as tied weights do.
    apart = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    with replacing(path) as fresh:
        fresh.write_bytes(safetensors.torch.save(apart, {"slidecam": json.dumps(record)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in a file, its tensors on the CPU.

    Raises
    ------
    CheckpointError
        If it cannot be read or is none.
    """
    try:
        with safe_open(path, "pt") as file:
            record = json_of((file.metadata() or {}).get("slidecam", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (OSError, SafetensorError, ParseError) as error:
        raise CheckpointError(
            f"the checkpoint cannot be read: {error}.",
            "Begin the training anew with --overwrite.",
            path,
        ) from error
    if record.get("format") != _FORMAT or record.get("version") != _VERSION:
        problem = "this is no checkpoint of this version of slidecam."
        raise CheckpointError(problem, "Begin the training anew with --overwrite.", path)
    return Checkpoint(
        progress=Progress(**record["progress"]),
        facts=record["facts"],
        network=_named(tensors, _NETWORK),
        best=_named(tensors, _BEST),
        average=_named(tensors, _AVERAGE),
        average_steps=record["average_steps"],
        optimizer=_optimizer(tensors, record["optimizer"]),
        scaler=record["scaler"],
    )


def check_same(
    checkpoint: Checkpoint,
    facts: Mapping[str, Any],
    path: Path,
) -> None:
    """Refuse to go on with another recipe, data or starting weights than the checkpoint's.

    Raises
    ------
    CheckpointError
        Naming what differs.
    """
    now = json.loads(json.dumps(facts))
    other = [key for key in sorted(now) if checkpoint.facts.get(key) != now[key]]
    if other:
        raise CheckpointError(
            f"this training was begun with other {' and '.join(other).replace('_', ' ')}.",
            "Call it as it was begun, or begin anew with --overwrite.",
            path,
        )


def _named(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{kind}/"):
            found[name.removeprefix(f"{kind}/")] = tensor
    return found


def _optimizer(
    tensors: Mapping[str, Tensor], plain: Mapping[str, Mapping[str, Any]]
) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {int(place): dict(values) for place, values in plain.items()}
    for name, tensor in _named(tensors, _OPTIMIZER).items():
        place, key = name.split("/", 1)
        state.setdefault(int(place), {})[key] = tensor
    return state
