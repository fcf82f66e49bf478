"""What a method is written against: `Explainer` for tiles, `Gradients` for maps of whole slides.

An explainer is a context manager that is given tiles and leaves no trace. Activation maps are made
of the activation and each class's gradient there, which are computed once for all methods.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import torch

from slidecam.errors import ExplanationError
from slidecam.models.splits import arithmetic
from slidecam.steps import Step, result_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from torch import Tensor

    from slidecam.models import Classifier, ClassifierPass
    from slidecam.models.linear_head import LinearHead

CLASSLESS: Mapping[str, Any] = MappingProxyType({"class": "none: the same map for every class"})
"""What is said of a map that knows of no class."""


@dataclass(frozen=True)
class Explanation:
    """Raw maps of a batch of tiles, and what a reader must know of them.

    Attributes
    ----------
    method
        Name of the method, as in the catalogue.
    logits
        (B, K), float32: what the classifier says of the tiles as they are.
    maps
        (B, K', h, w), float32, raw: scaled to nothing, so that tiles and classes compare. A cell
        lies at its share of the tile, whatever h and w are.
    passes
        Forward passes of the backbone for each tile, the tile's own included.
    facts
        What is printed beside the map: seeds and settings, ``approximate`` with the reason, a
        completeness gap. Plain JSON values.
    """

    method: str
    logits: Tensor
    maps: Tensor
    passes: int
    facts: Mapping[str, Any] = field(default_factory=dict)


class Explainer(ABC):
    """One method on one classifier.

    Used in a ``with`` block: what it needs inside the network (hooks, a wrapper) is there only
    until the block's end, whatever happens in it. No ``.grad``, flag, mode, hook or random state of
    the network or of torch is changed.

    Parameters
    ----------
    classifier
        On its device.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        return None

    @abstractmethod
    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain tiles step by step; the generator returns the explanation.

        Parameters
        ----------
        pixels
            uint8, (B, H, W, 3), red, green, blue, on the classifier's device; H and W are the
            card's ``input_px``.
        classes
            Indices of the logits to explain: fixed ones, the same for every tile.

        Raises
        ------
        ExplanationError
            If there is no such class, or the classifier lacks what the method needs.
        """

    def explain(self, pixels: Tensor, classes: Sequence[int]) -> Explanation:
        """Explain tiles to the end, in float32 whatever the caller's autocast is; see `steps`."""
        with arithmetic(self.classifier.device, "fp32"):
            return result_of(self.steps(pixels, classes))


def check_classes(classifier: Classifier, classes: Sequence[int]) -> None:
    """Refuse classes that the classifier does not have, and none at all.

    Raises
    ------
    ExplanationError
        Naming the index, and those that there are.
    """
    count = len(classifier.card.class_names)
    remedy = f"Use indices from 0 to {count - 1}."
    if not classes:
        raise ExplanationError("no class was named.", remedy)
    for index in classes:
        if not 0 <= index < count:
            raise ExplanationError(f"there is no class {index}.", remedy)


def check_least(title: str, spec: object, *, above: bool = False, **least: float) -> None:
    """Refuse settings below their least value, and those that are no numbers.

    Parameters
    ----------
    title
        The method, as people read it.
    spec
        Its settings.
    above
        Whether the least value itself is refused as well.
    least
        By the settings' names.

    Raises
    ------
    ExplanationError
        Naming the setting and its value.
    """
    for name, low in least.items():
        value = getattr(spec, name)
        remedy = f"Use at least {low:g}."
        enough = value >= low
        if above:
            remedy = f"Use more than {low:g}."
            enough = value > low
        # Not-a-number is refused too.
        if not (math.isfinite(value) and enough):
            raise ExplanationError(f"{title}'s {name} is {value}.", remedy)


def check_map(classifier: Classifier) -> None:
    """Refuse a classifier that has no activation map; ExplanationError, naming it."""
    if not classifier.has_map:
        problem = f"The model {classifier.card.name} has no activation map: {classifier.no_map}."
        raise ExplanationError(problem, "Use a method that needs none.")


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
    activation = activation_of(classifier_pass).detach()
    rival = None
    if head is not None:
        weight = head.weight[None, :, :, None, None] / activation[0, 0].numel()
        if rivals is not None:
            rival = weight[:, list(rivals)]
        yield Gradients(activation, weight[:, list(classes)], rival)
        return
    others = {index: _gradient(classifier_pass, index) for index in sorted(set(rivals or ()))}
    for place, index in enumerate(classes):
        gradient = others.get(index)
        if gradient is None:
            gradient = _gradient(classifier_pass, index)
        if rivals is not None:
            rival = others[rivals[place]]
        yield Gradients(activation, gradient, rival)


def no_gradients(classifier_pass: ClassifierPass) -> Gradients:
    """Return a pass's activation with gradients of 0, for maps that need none."""
    activation = activation_of(classifier_pass).detach()
    return Gradients(activation, torch.zeros_like(activation[:1, None, :, :1, :1]))


def activation_of(classifier_pass: ClassifierPass) -> Tensor:
    """Return a pass's activation map (B, C, h, w); ExplanationError if it has none."""
    if classifier_pass.activation is None:
        remedy = "Use a method that needs none, such as occlusion."
        raise ExplanationError("this pass has no activation map.", remedy)
    return classifier_pass.activation


def _gradient(classifier_pass: ClassifierPass, index: int) -> Tensor:
    """Return d logit / d activation: one backward pass through the head alone.

    Tiles of a batch do not meet in eval mode, so that the gradient of their sum holds each tile's
    own.
    """
    activation = activation_of(classifier_pass)
    if not activation.requires_grad:
        remedy = "Run the classifier with gradients=True."
        raise ExplanationError("this pass has no gradients.", remedy)
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
