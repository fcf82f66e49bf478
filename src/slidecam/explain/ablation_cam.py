"""Ablation-CAM: a channel weighs as much as the class's logit falls when it is set to 0."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from slidecam.explain.explainer import (
    Explainer,
    Explanation,
    activation_of,
    check_classes,
    check_least,
    check_map,
)
from slidecam.models.classifier import normalised
from slidecam.models.splits import NetworkSplit, TwoHalves, arithmetic
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch import Tensor

    from slidecam.explain.method_settings import AblationCamSpec
    from slidecam.models import Classifier

NAME, TITLE = "ablation-cam", "Ablation-CAM"


@dataclass(frozen=True)
class _Drops:
    """What one tile's channels do.

    Attributes
    ----------
    activation
        (C, h, w).
    logits
        (K,).
    drops
        (C, K): how far each logit falls without each channel.
    passes
        Of the backbone.
    """

    activation: Tensor
    logits: Tensor
    drops: Tensor
    passes: int

    def maps(self, classes: Sequence[int]) -> Tensor:
        """Return maps (K', h, w)."""
        drops = self.drops[:, list(classes)]
        with arithmetic(drops.device, "fp32"):
            return torch.einsum("chw,ck->khw", self.activation, drops).clamp_min(0)


class AblationCam(Explainer):
    """Ablation-CAM, without the backbone where the head can run alone.

    Where the head is linear, it takes no pass at all.

    Notes
    -----
    Desai and Ramaswamy, *Ablation-CAM*, WACV 2020: ``relu(Σ w A)`` over channels, with
    ``w = y - y_k``, ``y_k`` the logit with channel ``k`` set to 0 everywhere. The paper divides
    ``w`` by ``y``, which scales each tile by its own logit, and turns the map around where that is
    below 0; here maps are raw, in logits times activation.

    pytorch-grad-cam 1.5.7 runs the backbone again for each channel. It sets a channel to 0 only
    where the least activation is exactly 0, and otherwise to 10 million below the least, and
    farther the later the channel is in its batch, which for networks whose activations go below 0
    is another thing.
    """

    def __init__(self, classifier: Classifier, spec: AblationCamSpec) -> None:
        super().__init__(classifier)
        check_least(TITLE, spec, batch=1)
        self._batch = spec.batch

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain tiles one by one; see `Explainer.steps`."""
        check_classes(self.classifier, classes)
        check_map(self.classifier)
        found = []
        for number, tile in enumerate(pixels[:, None]):
            for_tile = self._drops(normalised(tile, self.classifier.card), number, len(pixels))
            found.append((yield from for_tile))
        return Explanation(
            method=NAME,
            logits=torch.stack([tile.logits for tile in found]),
            maps=torch.stack([tile.maps(classes) for tile in found]),
            passes=max(tile.passes for tile in found),
            facts={"channels": len(found[0].activation)},
        )

    def _drops(self, pixels: Tensor, number: int, tiles: int) -> Generator[Step, None, _Drops]:
        split = self._alone(pixels)
        passed = split(pixels, gradients=False)
        activation, logits = activation_of(passed)[0], passed.logits[0]
        count, head = len(activation), self.classifier.linear_head
        if head is not None:
            yield Step(TITLE, (number + 1) * count, tiles * count)
            drops = activation.mean((1, 2))[:, None] * head.weight.T
            return _Drops(activation, logits, drops, passes=1)
        without = logits.expand(count, -1).clone()
        # Nothing falls without a channel that is 0 already.
        live = activation.flatten(1).any(1).nonzero()[:, 0]
        for start in range(0, len(live), self._batch):
            channels = live[start : start + self._batch]
            copies = pixels.expand(len(channels), -1, -1, -1)
            through = partial(_without, channels)
            without[channels] = split(copies, gradients=False, through=through).logits
            yield Step(TITLE, number * count + int(channels[-1]) + 1, tiles * count)
        passes = 1
        if not isinstance(split, TwoHalves):
            passes += len(live)
        return _Drops(activation, logits, logits - without, passes)

    def _alone(self, pixels: Tensor) -> NetworkSplit:
        """Return the classifier's split on one tile whose backbone runs once, if there is one."""
        split = self.classifier.split
        if isinstance(split, TwoHalves):
            return replace(split, backbone=_Known(split.backbone(pixels)))
        return split


@dataclass(frozen=True)
class _Known:
    """A backbone that has seen its tile (1, …), and says the same of every copy."""

    raw: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        return self.raw.expand(len(pixels), *self.raw.shape[1:])


def _without(channels: Tensor, activation: Tensor) -> Tensor:
    """Return copies (N, C, h, w) of an activation, the n-th without the n-th of N channels."""
    ablated = activation.clone()
    ablated[torch.arange(len(channels), device=channels.device), channels] = 0
    return ablated
