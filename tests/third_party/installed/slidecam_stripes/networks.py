"""A network that cards can name, and a way to run networks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from slidecam.models.architectures import Architecture
from slidecam.models.backends import Backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from slidecam.models.variants import Variant


class PlainNetwork(nn.Module):
    """One convolution, and a linear layer on its average."""

    def __init__(self, num_classes: int, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=4, padding=1)
        self.head = nn.Linear(width, num_classes)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the activation, (B, width, H / 4, W / 4)."""
        features: Tensor = self.conv(pixels).relu()
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the logits, (B, K)."""
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits, (B, K)."""
        return self.forward_head(self.forward_features(pixels))


def twice(eager: Variant, _probe: Tensor) -> Iterator[Variant]:
    """Yield the network as it is, under another name."""
    yield replace(eager, words="stripes, twice")


PLAIN = Architecture("stripes/plain", PlainNetwork, help="one convolution")
TWICE = Backend("stripes-twice", twice, devices=("cpu",), help="no faster than eager")
