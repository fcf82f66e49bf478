"""A map that is cheap enough for whole slides, and its explainer for single tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slidecam.explain.activation_maps import cheap_map
from slidecam.explain.catalogue import Method
from slidecam.explain.map_methods import MapExplainer

if TYPE_CHECKING:
    from torch import Tensor

    from slidecam.explain.explainer import Gradients
    from slidecam.models import Classifier

NAME = "stripe-cam"


@dataclass(frozen=True)
class StripeSpec:
    """There is nothing to set."""


def strength(given: Gradients) -> Tensor:
    """Return how strongly each place is felt, for and against: ``Σ |g| relu(A)``."""
    return given.summed(given.gradient.abs()).clamp_min(0)


def explainer(classifier: Classifier, _spec: StripeSpec) -> MapExplainer:
    """Return the explainer of a classifier."""
    return MapExplainer(classifier, NAME, cheap_map(NAME))


METHOD = Method(
    NAME,
    "Stripe-CAM",
    StripeSpec,
    explainer,
    costly=False,
    slide_map=strength,
    help="how strongly each place is felt",
)
