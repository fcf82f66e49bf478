"""The linear head that makes logits of an activation's average, found by trying."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slidecam.models.splits import put_instead

if TYPE_CHECKING:
    from collections.abc import Callable

    from slidecam.models.splits import ClassifierPass, Through

_HEAD_AGREEMENT = 1e-4
"""How far logits may be from the linear head's, relative to the largest."""
_SIZES = (1e3, 1e7)
"""Of maps that drive every unit behind the average to both of its ends, be its bend near or far."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """``logits = weight @ mean(activation) + bias``, the mean over the map's places.

    Attributes
    ----------
    weight, bias
        (K, C) and (K,), float32.
    """

    weight: Tensor
    bias: Tensor

    def logits(self, activation: Tensor) -> Tensor:
        """Return logits (B, K) of activation maps (B, C, h, w)."""
        return activation.mean((2, 3)) @ self.weight.T + self.bias


def find_linear_head(
    passed: ClassifierPass, passed_through: Callable[[Through], ClassifierPass]
) -> LinearHead | None:
    """Return the head by which a pass's logits hang on its activation, or None if it is not linear.

    The pass is one with gradients.

    Parameters
    ----------
    passed
        A pass over at least two different tiles.
    passed_through
        Returns another pass over the same tiles whose activation went through something.

    Notes
    -----
    Weight and bias are read off one tile's gradients. The head is then tried on the other tiles and
    on maps of noise: with values below 0, which a rectifier between map and average would not let
    pass, and so large that every unit behind the average is driven to both of its ends, which a
    network of small activations never does by itself.
    """
    activation = passed.activation
    if activation is None:
        return None
    weight = _weight(passed.logits, activation)
    if weight is None:
        return None
    bias = passed.logits[0].detach() - weight @ activation[0].detach().mean((1, 2))
    head = LinearHead(weight, bias)
    if not _near(head.logits(activation.detach()), passed.logits):
        return None
    usual = float(activation.detach().abs().mean())
    plain = torch.randn(activation.shape, generator=torch.Generator().manual_seed(1))
    for size in (usual, *_SIZES):
        noise = plain * size
        passed = passed_through(partial(put_instead, noise))
        if not _near(head.logits(noise), passed.logits):
            return None
    return head


def _weight(logits: Tensor, activation: Tensor) -> Tensor | None:
    rows = []
    for index in range(logits.shape[1]):
        gradient = torch.autograd.grad(logits[0, index], activation, retain_graph=True)[0][0]
        first = gradient[:, :1, :1].expand_as(gradient)
        if not torch.allclose(gradient, first, rtol=_HEAD_AGREEMENT, atol=0):
            return None
        rows.append(gradient.sum((1, 2)))
    return torch.stack(rows)


def _near(values: Tensor, expected: Tensor) -> bool:
    expected = expected.detach()
    return bool((values - expected).abs().max() <= _HEAD_AGREEMENT * expected.abs().max())
