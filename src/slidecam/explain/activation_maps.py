"""Class-activation maps: sums of the activation map's channels, weighted by the logits' gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from slidecam.errors import ExplanationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from slidecam.models import ClassifierPass

EPSILON = 1e-6
"""pytorch-grad-cam's, absolute. Squared gradients are of its size, so another value is another method."""


def grad_cam_pp(classifier_pass: ClassifierPass, classes: Sequence[int], eps: float = EPSILON) -> Tensor:
    """Return Grad-CAM++ maps of some classes.

    Parameters
    ----------
    classifier_pass
        With gradients (`Classifier.run`). It can be explained again afterwards.
    classes
        Indices of the logits to explain: the same for every tile, so that maps compare across a slide.
    eps
        Keeps the denominator of alpha from 0.

    Returns
    -------
    Tensor
        (B, len(classes), h, w), float32, at least 0, raw: not scaled to anything.

    Raises
    ------
    ExplanationError
        If the pass has no activation map or no gradients, or there is no such class.

    Notes
    -----
    Chattopadhyay et al., *Grad-CAM++*, WACV 2018 (arXiv:1710.11063), equations 10 and 19, with the logit
    ``Y`` of the class as the score, and ``g = dY/dA`` the gradient of channel ``A`` at one place: ``alpha =
    g² / (2 g² + g³ ΣA)``, where the sum runs over the channel's places, and 0 where ``g`` is 0; the channel
    weighs ``w = Σ alpha · relu(g)``; the map is ``relu(Σ w A)`` over channels.
    """
    activation = _explainable(classifier_pass, classes)
    total = activation.detach().sum((2, 3), keepdim=True)
    maps = [
        _weighted(activation.detach(), _channel_weights(gradient, total, eps))
        for gradient in _gradients(classifier_pass.logits, activation, classes)
    ]
    return torch.stack(maps, 1)


def _explainable(classifier_pass: ClassifierPass, classes: Sequence[int]) -> Tensor:
    activation, logits = classifier_pass.activation, classifier_pass.logits
    if activation is None or not activation.requires_grad:
        raise ExplanationError(
            "this pass has no activation map with gradients.", "Run the classifier with gradients=True."
        )
    wrong = [index for index in classes if not 0 <= index < logits.shape[1]]
    if wrong or not classes:
        problem = f"there is no class {wrong[0]}." if wrong else "no class was named."
        raise ExplanationError(problem, f"Use indices from 0 to {logits.shape[1] - 1}.")
    return activation


def _gradients(logits: Tensor, activation: Tensor, classes: Sequence[int]) -> list[Tensor]:
    """Return d logit / d activation (B, C, h, w) for each class: one backward pass through the head alone.

    Tiles of a batch do not meet in eval mode, so that the gradient of their sum holds each tile's own.
    """
    return [torch.autograd.grad(logits[:, index].sum(), activation, retain_graph=True)[0] for index in classes]


def _channel_weights(gradient: Tensor, total: Tensor, eps: float) -> Tensor:
    squared = gradient.square()
    alpha = squared / (2 * squared + total * squared * gradient + eps)
    # Where the gradient is 0, alpha may be 0/0 if eps is; the term is 0 then, whatever alpha is.
    return torch.where(gradient > 0, alpha * gradient, 0.0).sum((2, 3))


def _weighted(activation: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("bchw,bc->bhw", activation, weights).clamp_min(0)
