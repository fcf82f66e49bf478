"""How weights move: optimisers, learning rates and moving averages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from slidecam.learning.training.unfreezing import head_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from slidecam.learning.recipes.tables import TrainSpec

_KINDS: Mapping[str, Callable[..., torch.optim.Optimizer]] = MappingProxyType(
    {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adamax": torch.optim.Adamax}
)


def optimizer_for(network: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    """Return the optimiser of the weights that are not frozen, in two groups.

    The head's, and the others.

    Each group's ``initial_lr`` is the rate that `set_rate` scales.
    """
    heads = set(head_names(network))
    groups: list[dict[str, Any]] = []
    for factor, in_head in ((1.0, False), (spec.head_factor, True)):
        chosen = [
            p
            for name, p in network.named_parameters()
            if p.requires_grad and (name in heads) == in_head
        ]
        if chosen:
            groups.append(
                {"params": chosen, "lr": spec.lr * factor, "initial_lr": spec.lr * factor}
            )
    if spec.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay
        )
    return _KINDS[spec.optimizer](groups, lr=spec.lr, weight_decay=spec.weight_decay)


def rate_at(spec: TrainSpec, epochs: float) -> float:
    """Return the learning rate as a share of ``lr`` after so many epochs, whole or not.

    It depends on nothing but the recipe and the time, so that a training that is resumed needs no
    scheduler's state.
    """
    if epochs < spec.warmup:
        return max(epochs / spec.warmup, 1e-3)
    if spec.schedule == "step":
        return float(spec.schedule_factor ** (int(epochs) // spec.schedule_every))
    if spec.schedule == "cosine":
        gone = min((epochs - spec.warmup) / max(spec.epochs - spec.warmup, 1e-9), 1.0)
        return (
            spec.schedule_factor + (1 - spec.schedule_factor) * (1 + math.cos(math.pi * gone)) / 2
        )
    return 1.0


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group's learning rate to a share of its first."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * share


@dataclass
class WeightAverage:
    """Exponential moving average of the weights that are trained (Polyak and Juditsky, 1992).

    The decay rises to ``decay`` with the steps (``(1 + n) / (10 + n)``), so that the first weights
    are soon forgotten.
    """

    decay: float
    steps: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def follow(self, network: nn.Module) -> None:
        """Take one step after the network's weights."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, tensor in trained(network).items():
            if name in self.weights:
                self.weights[name].lerp_(tensor, 1 - keep)
            else:
                self.weights[name] = tensor.clone()


def trained(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights that are not frozen, detached, by name."""
    return {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}


def put_in(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights into a network and return copies of those whose place they took."""
    own = dict(network.named_parameters())
    before = {name: own[name].detach().clone() for name in weights}
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)
    return before
