"""Classifiers whose every answer is known by arithmetic, and tiles for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest
import torch
from torch import nn

from slidecam.models import Card, Classifier, classifier_for
from slidecam.models.classifier import normalised
from small_networks import as_theirs, hooked, sample_tiles, small

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["as_theirs", "hooked", "make_classifier", "sample_tiles", "small"]

EDGE = 28
"""Pixels of a tile's edge: two for each of the 14 cells."""


class MakeClassifier(Protocol):
    def __call__(
        self, network: nn.Module, activation: str = "none", edge: int = EDGE, classes: int = 1
    ) -> Classifier: ...


class Linear(nn.Module):
    """Logits that are sums over the picture, each pixel's colours weighted: (K, 3, H, W)."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bchw,kchw->bk", pixels, self.weight)


@pytest.fixture
def make_classifier() -> MakeClassifier:
    """Return a maker of classifiers of small tiles whose colours are centred on grey.

    Their classes are ``A``, ``B``, ….
    """

    def make(
        network: nn.Module, activation: str = "none", edge: int = EDGE, classes: int = 1
    ) -> Classifier:
        card = Card(
            name="known", architecture="known", class_names=tuple("ABCDE"[:classes]),
            activation=activation,  # type: ignore[arg-type]  # a test's own
            tile_px=edge, spacing=None, input_px=edge, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
        )  # fmt: skip
        return classifier_for(network, card, torch.device("cpu"), backend="eager")

    return make


@pytest.fixture
def linear() -> Callable[..., nn.Module]:
    """Return a maker of linear models with random weights, the same each time."""

    def make(edge: int = EDGE, classes: int = 1) -> nn.Module:
        generator = torch.Generator().manual_seed(3)
        return Linear(torch.randn(classes, 3, edge, edge, generator=generator) / edge)

    return make


@pytest.fixture
def weighted() -> Callable[[torch.Tensor], nn.Module]:
    """Return a maker of linear models of given weights (K, 3, H, W)."""
    return Linear


@pytest.fixture
def tiles() -> Callable[..., torch.Tensor]:
    """Return a maker of random tiles, uint8 (N, edge, edge, 3)."""

    def make(count: int, edge: int = EDGE) -> torch.Tensor:
        return torch.randint(
            0, 256, (count, edge, edge, 3), generator=torch.Generator().manual_seed(7)
        ).to(torch.uint8)

    return make


@pytest.fixture
def picture_of() -> Callable[[Classifier, torch.Tensor], torch.Tensor]:
    """Return what gives the first of some tiles as the network sees it, (3, H, W)."""

    def give(classifier: Classifier, pixels: torch.Tensor) -> Any:
        return normalised(pixels, classifier.card)[0]

    return give
