"""What activation maps are made of.

The activation, and each class's gradient there, computed once for all methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from slidecam.errors import ExplanationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from slidecam.models import ClassifierPass
    from slidecam.models.classifier import LinearHead


@dataclass(frozen=True, eq=False)
class Gradients:
    """An activation and the gradients of some classes' logits there.

    A head on the activation's average has the same gradient at every place. Such gradients are kept
    as one place, and a linear head's as one tile, so that the same formulas cost next to nothing
    there.

    Attributes
    ----------
    activation
        (B, C, h, w), float32, on no autograd graph.
    gradient
        (B or 1, K', C, h or 1, w or 1), float32.
    rival
        The gradients of the logits that the classes are compared with, of the same shape; None if
        none are.
    """

    activation: Tensor
    gradient: Tensor
    rival: Tensor | None = None

    @property
    def places(self) -> int:
        """How many places the map has."""
        return self.activation.shape[2] * self.activation.shape[3]

    @property
    def repeats(self) -> int:
        """How many places of the map one place of the gradient stands for."""
        return self.places // (self.gradient.shape[3] * self.gradient.shape[4])

    def summed(self, weights: Tensor) -> Tensor:
        """Return the activation's channels, weighted and added up.

        Parameters
        ----------
        weights
            As `gradient`'s shape: (B or 1, K', C, h or 1, w or 1).

        Returns
        -------
        Tensor
            (B, K', h, w).
        """
        if weights.shape[3:] == (1, 1):
            flat = self.activation.flatten(2)
            summed = torch.bmm(weights[..., 0, 0].expand(len(flat), -1, -1), flat)
            return summed.reshape(*summed.shape[:2], *self.activation.shape[2:])
        return (weights * self.activation[:, None]).sum(2)


def class_gradients(
    classifier_pass: ClassifierPass,
    classes: Sequence[int],
    rivals: Sequence[int] | None = None,
    head: LinearHead | None = None,
) -> Iterator[Gradients]:
    """Yield the gradients of some classes' logits.

    All at once where that is cheap, else class by class.

    Parameters
    ----------
    classifier_pass
        With gradients (`Classifier.run`), which only a linear head can do without. It can be used
        again afterwards.
    classes
        Indices of logits.
    rivals
        For each class the one that it is compared with; None for no comparison.
    head
        `Classifier.linear_head`: its gradients are known, and no backward pass is made.

    Raises
    ------
    ExplanationError
        If the pass has no activation map, or no gradients where they are needed.
    """
    activation = _activation(classifier_pass)
    if head is not None:
        weight = head.weight[None, :, :, None, None] / activation[0, 0].numel()
        if rivals is None:
            rival = None
        else:
            rival = weight[:, list(rivals)]
        yield Gradients(activation, weight[:, list(classes)], rival)
        return
    others = {index: _gradient(classifier_pass, index) for index in sorted(set(rivals or ()))}
    for place, index in enumerate(classes):
        if index in others:
            gradient = others[index]
        else:
            gradient = _gradient(classifier_pass, index)
        yield Gradients(activation, gradient, None if rivals is None else others[rivals[place]])


def no_gradients(classifier_pass: ClassifierPass) -> Gradients:
    """Return a pass's activation with gradients of 0, for maps that need none."""
    activation = _activation(classifier_pass)
    return Gradients(activation, torch.zeros_like(activation[:1, None, :, :1, :1]))


def _activation(classifier_pass: ClassifierPass) -> Tensor:
    if classifier_pass.activation is None:
        raise ExplanationError(
            "this pass has no activation map.", "Use a method that needs none, such as occlusion."
        )
    return classifier_pass.activation.detach()


def _gradient(classifier_pass: ClassifierPass, index: int) -> Tensor:
    """Return d logit / d activation: one backward pass through the head alone.

    Tiles of a batch do not meet in eval mode, so that the gradient of their sum holds each tile's
    own.
    """
    activation = classifier_pass.activation
    if activation is None or not activation.requires_grad:
        raise ExplanationError(
            "this pass has no gradients.", "Run the classifier with gradients=True."
        )
    with torch.enable_grad():  # the caller may have switched it off since
        score = classifier_pass.logits[:, index].sum()
    (gradient,) = torch.autograd.grad(score, activation, retain_graph=True)
    return _at_one_place(gradient)[:, None]


def _at_one_place(gradient: Tensor) -> Tensor:
    """Return (B, C, 1, 1) of a gradient (B, C, h, w) that is equal everywhere, others unchanged."""
    first = gradient[:, :, :1, :1]
    if torch.equal(gradient, first.expand_as(gradient)):
        return first
    return gradient
