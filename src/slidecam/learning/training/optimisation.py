"""What a training makes small, which weights it moves, and how.

Losses; weights that are trained and those that are kept still; optimisers, learning rates and
moving averages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import log_softmax, one_hot
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


@dataclass(frozen=True)
class Loss:
    """Cross-entropy or focal loss against soft targets.

    With ``p = softmax(logits)`` and targets ``t`` it is ``-sum_k t_k w_k (1 - p_k)^gamma log p_k``,
    over the batch divided by ``sum t_k w_k``. ``gamma = 0`` is cross-entropy; above 0 it is the
    focal loss (Lin et al., ICCV 2017, equation 5 with a softmax). With hard targets and weights
    this is torch's ``cross_entropy`` with ``weight``.

    Attributes
    ----------
    gamma
        How much less a well-classified picture counts.
    smoothing
        Share of a target that is spread over all classes (Szegedy et al., CVPR 2016).
    weights
        One for each class, (K,), float32, or None.
    """

    gamma: float = 0.0
    smoothing: float = 0.0
    weights: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the float32 loss of logits (B, K) and targets (B, K) whose rows sum to 1.

        The loss is a scalar.
        """
        smooth = targets * (1 - self.smoothing) + self.smoothing / targets.shape[1]
        weighted = smooth
        if self.weights is not None:
            weighted = smooth * self.weights.to(logits.device)

        log_p = log_softmax(logits.float(), dim=1)
        unsure: Tensor | float = 1.0
        if self.gamma:
            unsure = (1 - log_p.exp()).clamp_min(0) ** self.gamma
        return -(weighted * unsure * log_p).sum() / weighted.sum()


def loss_for(
    spec: TrainSpec,
    labels: Tensor,
    classes: int,
) -> Loss:
    """Return the loss of a recipe, with class weights from the training labels, int64 (N,)."""
    weights = None
    if spec.balance == "weights":
        weights = class_weights(labels, classes)
    gamma = 0.0
    if spec.loss == "focal":
        gamma = spec.focal_gamma
    return Loss(gamma, spec.label_smoothing, weights)


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return a weight for each class.

    As scikit-learn's ``balanced``, pictures / (classes * pictures of the class).

    Parameters
    ----------
    labels
        int64, (pictures,).
    classes
        How many classes there are; one without any picture has the weight 0, and is not counted
        among them.

    Returns
    -------
    Tensor
        float32, (classes,). The mean weight of a picture is 1.
    """
    counts = torch.bincount(labels, minlength=classes).float()
    present = (counts > 0).sum()
    return torch.where(counts > 0, len(labels) / (present * counts.clamp(min=1)), 0.0)


def soft_targets(labels: Tensor, classes: int) -> Tensor:
    """Return labels (B,) as rows of ones and noughts, (B, K), float32."""
    return one_hot(labels, classes).float()


def oversampled(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows of one epoch in which every class comes as often as the largest.

    Each picture of a class comes equally often, or once more than another; which of them do, and
    the order, is drawn from ``generator`` alone, so that a training that is continued goes on as it
    would have.

    Parameters
    ----------
    labels
        int64, (pictures,).

    Returns
    -------
    Tensor
        int64, (classes present * pictures of the largest,), shuffled.
    """
    counts = torch.bincount(labels)
    most = int(counts.max())
    parts = []
    for index in counts.nonzero():
        rows_of_class = torch.nonzero(labels == index)[:, 0]
        parts.append(_repeated(rows_of_class, most, generator))
    rows = torch.cat(parts)
    return rows[torch.randperm(len(rows), generator=generator)]


def shuffled(count: int, generator: torch.Generator) -> Tensor:
    """Return the rows of one epoch in which every picture comes once, int64, (count,)."""
    return torch.randperm(count, generator=generator)


def _repeated(
    rows: Tensor,
    most: int,
    generator: torch.Generator,
) -> Tensor:
    whole, rest = divmod(most, len(rows))
    some = rows[torch.randperm(len(rows), generator=generator)[:rest]]
    return torch.cat([rows.repeat(whole), some])


def mix_up(
    pixels: Tensor,
    targets: Tensor,
    alpha: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return pictures and targets mixed in pairs by one share from Beta(alpha, alpha).

    After Zhang et al., ICLR 2018.
    """
    # NumPy draws it: torch's distributions take no generator.
    seed = int(torch.randint(2**62, (), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    partner = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    return pixels.lerp(pixels[partner], 1 - share), targets.lerp(targets[partner], 1 - share)


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
