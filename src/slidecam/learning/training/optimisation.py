"""Which weights a training moves, and how.

Weights that are trained and those that are kept still; optimisers, learning rates and moving
averages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from slidecam.errors import RecipeError
from slidecam.models.pretrained import INNER
from slidecam.settings import names_like

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

    from slidecam.learning.recipes.tables import TrainSpec


LEAST_GAIN = 1e-4
"""How much lower a validation loss must be to be called lower, as Keras counts."""

Trainable = str | int | tuple[str, ...]


def unfreeze(network: nn.Module, trainable: Trainable) -> tuple[str, ...]:
    """Let the named part of a network be trained and freeze all else.

    Return the names of what is trained.

    Parameters
    ----------
    network
        Changed in place: the ``requires_grad`` of its parameters.
    trainable
        ``all``; ``head``, the classifier's last layer; names of layers, each with everything below
        it; or a number, the last so many layers that hold weights of their own (convolutions,
        norms, linear layers), in the order in which the network names them.

    Raises
    ------
    RecipeError
        If a name is of no layer that holds weights.
    """
    prefixes = _prefixes(network, trainable)
    names = []
    for name, parameter in network.named_parameters():
        chosen = any(_begins(name, prefix) for prefix in prefixes)
        parameter.requires_grad_(chosen)
        if chosen:
            names.append(name)
    return tuple(names)


def head_names(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters of a network's classifier.

    Of a network with a ``backbone`` inside that is everything around it; of timm's what it states
    (``get_classifier``); else the last layer that holds weights, in the order in which the network
    names them.
    """
    names = [name for name, _parameter in network.named_parameters()]
    if hasattr(network, INNER):
        return tuple(name for name in names if not _begins(name, INNER))
    last = "".join(_layers(network)[-1:])
    stated = getattr(network, "get_classifier", None)
    if callable(stated):
        classifier = stated()
        for name, module in network.named_modules():
            if name and module is classifier and list(module.parameters()):
                last = name
                break
    return tuple(name for name in names if _begins(name, last))


def set_modes(network: nn.Module, batch_norm: str) -> None:
    """Let what is trained train, and what is frozen compute as it will after training.

    A layer all of whose weights are frozen is in eval mode, with everything in it: its batch norms
    keep their statistics and it drops nothing. With ``batch_norm`` ``eval`` all batch norms keep
    their statistics.
    """
    network.train()
    for module in network.modules():
        trained = [parameter.requires_grad for parameter in module.parameters()]
        still = bool(trained) and not any(trained)
        if still or (batch_norm == "eval" and isinstance(module, _BatchNorm)):
            module.eval()


def _prefixes(network: nn.Module, trainable: Trainable) -> Sequence[str]:
    if trainable == "all":
        return ("",)
    if trainable == "head":
        return head_names(network)
    if isinstance(trainable, int):
        return _layers(network)[-trainable:]
    if isinstance(trainable, str):
        trainable = (trainable,)
    for name in trainable:
        _check_layer(network, name)
    return trainable


def _check_layer(network: nn.Module, name: str) -> None:
    if not any(_begins(parameter, name) for parameter in dict(network.named_parameters())):
        known = list(dict(network.named_modules()))[1:]
        parts = f"The network's parts are {', '.join(dict(network.named_children()))}."
        raise RecipeError(
            f"The setting trainable names {name!r}, and no such layer of the network holds"
            " weights.",
            names_like(name, known, parts),
        )


def _layers(network: nn.Module) -> list[str]:
    """Return the names of the layers with weights of their own.

    A network's own loose weights are none.
    """
    layers = []
    for name, module in network.named_modules():
        own = list(module.parameters(recurse=False))
        if name and own:
            layers.append(name)
    return layers


def _begins(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(f"{prefix}.")


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
        chosen = []
        for name, parameter in network.named_parameters():
            if parameter.requires_grad and (name in heads) == in_head:
                chosen.append(parameter)
        if chosen:
            rate = spec.lr * factor
            groups.append({"params": chosen, "lr": rate, "initial_lr": rate})
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


def plateau_share(spec: TrainSpec, losses: Sequence[float]) -> float:
    """Return the share of the rate after a phase's epochs with these validation losses.

    After Keras' ``ReduceLROnPlateau``: each time that ``schedule_every`` epochs have brought no
    lower loss, the rate is multiplied by ``schedule_factor``, and the count begins anew. It depends
    on nothing but the history, so that a training that is resumed needs no scheduler's state.
    """
    if spec.schedule != "plateau":
        return 1.0
    share, best, stale = 1.0, math.inf, 0
    for loss in losses:
        stale += 1
        if loss < best - LEAST_GAIN:
            best, stale = loss, 0
        if stale >= spec.schedule_every:
            share, stale = share * spec.schedule_factor, 0
    return share


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


def swap_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights into a network and return copies of those whose place they took."""
    own = dict(network.named_parameters())
    before = {name: own[name].detach().clone() for name in weights}
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)
    return before
