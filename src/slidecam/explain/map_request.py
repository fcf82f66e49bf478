"""Which explanations are computed along with predictions: methods, classes, and against which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slidecam.class_names import classes_meant
from slidecam.errors import ExplanationError
from slidecam.explain.catalogue import (
    heatmap_methods,
    method_for,
    slide_methods,
    title_of,
)
from slidecam.explain.facts import usual_methods

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.models import Card

MANY_CLASSES = 16
"""Up to so many classes are mapped where none is named; ImageNet's thousand would fill a disk."""


@dataclass(frozen=True)
class MapRequest:
    """Which explanations to compute along with the predictions.

    Attributes
    ----------
    methods
        Names, as in ``--heatmap``; the first is the one that is shown first.
    classes
        Indices of the classes to map, in the order of the maps' axis of classes.
    against
        Index of the class that the others are compared with, for Finer-CAM; None for the other one
        of two.
    """

    methods: tuple[str, ...]
    classes: tuple[int, ...]
    against: int | None = None

    @property
    def raw(self) -> tuple[str, ...]:
        """The methods whose raw maps are kept, in the order of the maps' axis of methods."""
        return tuple(dict.fromkeys(method_for(name).raw for name in self.methods))

    def place(self, method: str) -> int:
        """Return where a method's raw maps lie on that axis."""
        return self.raw.index(method_for(method).raw)


def request_maps(
    card: Card,
    methods: str | None,
    names: Sequence[str],
    against: str | None = None,
    *,
    has_map: bool,
    linear: bool = False,
    cause: str = "",
) -> MapRequest | None:
    """Settle which classes are mapped and how.

    Parameters
    ----------
    card
        The bundle's card.
    methods
        Names of `slide_methods`, separated by commas; ``none``; or None for `usual_methods` where
        they are possible and cheap.
    names
        Class names to map; empty for all of them (but ``against``).
    against
        Name of the class that Finer-CAM compares with.
    has_map
        Whether the classifier has an activation map at all.
    linear
        Whether one linear layer makes the logits of its average.
    cause
        Why there is no map: `Classifier.no_map`.

    Raises
    ------
    ExplanationError
        If a method or a class is unknown, or maps are named and cannot be had.
    """
    if methods is not None and not heatmap_methods(methods):
        if names or against:
            raise ExplanationError(
                "--heatmap none leaves no class to map.",
                "Leave out one of both options.",
            )
        return None
    if not has_map and methods is None:
        return None
    if not has_map:
        raise ExplanationError(
            f"The model {card.name} has no activation map to explain: {cause}.",
            "Pass --heatmap none, or use a bundle with model.safetensors and a `split` layer in its"
            " card.",
        )
    wanted = usual_methods(card, linear=linear)
    if methods is not None:
        wanted = heatmap_methods(methods)
    rival = _rival(card, wanted, against)
    classes = _classes(card, names, rival, by_default=methods is None)
    if classes is None:
        return None
    return MapRequest(wanted, classes, rival)


def _rival(card: Card, methods: Sequence[str], against: str | None) -> int | None:
    comparing = [name for name in methods if method_for(name).compares]
    if against is not None and not comparing:
        known = sorted(name for name, method in slide_methods().items() if method.compares)
        raise ExplanationError(
            f"--heatmap {','.join(methods)} compares no classes, as --heatmap-against"
            f" {against} wants.",
            f"Pass --heatmap {' or '.join(known)} with it, or leave it out.",
        )
    if comparing and against is None and len(card.class_names) != 2:  # noqa: PLR2004  (a class and the other one)
        raise ExplanationError(
            f"{title_of(comparing[0])} compares two classes, and {card.name} has"
            f" {len(card.class_names)}.",
            f"Name the one to compare with: --heatmap-against {card.class_names[-1]!r}.",
        )
    if against is None:
        return None
    return _class_index(card, against)


def _classes(
    card: Card, names: Sequence[str], rival: int | None, *, by_default: bool
) -> tuple[int, ...] | None:
    """Return the indices of the classes to map.

    None where no class is named and there are too many.
    """
    if names:
        chosen = tuple(dict.fromkeys(_class_index(card, name) for name in names))
        if rival in chosen:
            problem = f"{card.class_names[rival]!r} cannot be compared with itself."
            raise ExplanationError(
                problem,
                "Leave it out of --heatmap-class, or pass another --heatmap-against.",
            )
        return chosen
    if len(card.class_names) <= MANY_CLASSES:
        return tuple(index for index in range(len(card.class_names)) if index != rival)
    if by_default:
        return None
    raise ExplanationError(
        f"The model {card.name} has {len(card.class_names)} classes.",
        f"Name the ones to map with --heatmap-class NAME (all are mapped up to {MANY_CLASSES}).",
    )


def _class_index(card: Card, name: str) -> int:
    if name not in card.classes:
        raise ExplanationError(
            f"The model {card.name} has no class {name!r}.", classes_meant(name, card.class_names)
        )
    return card.classes.index(name)
