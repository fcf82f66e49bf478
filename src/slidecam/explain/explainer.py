"""What every explanation of a classifier's logits is.

A context manager that is given tiles and leaves no trace.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from slidecam.errors import ExplanationError
from slidecam.models.splits import arithmetic
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from torch import Tensor

    from slidecam.models import Classifier
    from slidecam.steps import Step


CLASSLESS: Mapping[str, Any] = MappingProxyType({"class": "none: the same map for every class"})
"""What is told with a map that knows of no class."""


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
    wrong = [index for index in classes if not 0 <= index < count]
    if wrong or not classes:
        problem = "no class was named."
        if wrong:
            problem = f"there is no class {wrong[0]}."
        raise ExplanationError(problem, f"Use indices from 0 to {count - 1}.")


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
        # Written so that not-a-number is refused too.
        if not (math.isfinite(value) and (value > low if above else value >= low)):
            if above:
                remedy = f"Use more than {low:g}."
            else:
                remedy = f"Use at least {low:g}."
            raise ExplanationError(f"{title}'s {name} is {value}.", remedy)


def check_map(classifier: Classifier) -> None:
    """Refuse a classifier that has no activation map; ExplanationError, naming it."""
    if not classifier.has_map:
        raise ExplanationError(
            f"{classifier.card.name} has no activation map.", "Use a method that needs none."
        )
