"""DALAResNet50: a residual network with a light attention over the channels of its last stage.

*DALAResNet50 for breast histopathology* (arXiv:2308.13150) publishes neither code nor the sizes of
its layers. The paper says: a ResNet50; in its fourth stage an attention of "channel-by-channel
average pooling, linear transformation, element multiplication, feature fusion, dropout"; dropout
0.25; two full layers, LeakyReLU after the first and ReLU after the second. Our reading: the linear
layer keeps the number of channels, a sigmoid makes a gate of it, fusion adds the map to its gated
self, the full layers have 512 and 256 units, the LeakyReLU's slope is 0.01, and a third linear
layer gives the logits. All of these but the sigmoid and the gate's width are arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from slidecam.models.embedders import embedder, embedding_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Fusion = Literal["sum", "product"]


class ChannelAttention(nn.Module):
    """A gate for each channel, found from the averages of all: ``g = sigmoid(W · mean(A) + b)``.

    Fused by ``sum`` the map becomes ``A · g + A``, by ``product`` ``A · g``.

    Parameters
    ----------
    channels
        Of the map, and so of the gate.
    fusion
        How the gated map and the map come together.

    Raises
    ------
    ValueError
        If there is no such fusion.
    """

    def __init__(self, channels: int, fusion: Fusion = "sum") -> None:
        super().__init__()
        if fusion not in {"sum", "product"}:
            raise ValueError(f"fusion is {fusion!r}, not sum or product")
        self.linear = nn.Linear(channels, channels)
        self.fusion = fusion

    def forward(self, features: Tensor) -> Tensor:
        """Return the map (B, C, h, w) with its channels weighed."""
        gate = torch.sigmoid(self.linear(features.mean((2, 3))))[:, :, None, None]
        gated = features * gate
        return gated + features if self.fusion == "sum" else gated


class DALAResNet50(nn.Module):
    """ResNet50 with channel attention in its last stage; see the module for whose choice is what.

    The activation map is what the last stage gives, attention included, so that explanations see
    what the classifier sees.

    Parameters
    ----------
    num_classes
        Number of logits.
    hidden
        Units of the two full layers.
    dropout
        Share of the averaged map that is left out in training.
    slope
        Of the LeakyReLU below 0.
    fusion
        ``sum`` or ``product``; see `ChannelAttention`.
    """

    def __init__(
        self,
        num_classes: int,
        hidden: Sequence[int] = (512, 256),
        dropout: float = 0.25,
        slope: float = 0.01,
        fusion: Fusion = "sum",
    ) -> None:
        super().__init__()
        self.backbone = embedder("resnet50")
        self.num_features = embedding_length(self.backbone)
        self.attention = ChannelAttention(self.num_features, fusion)
        wide, narrow = hidden
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(self.num_features, wide),
            nn.LeakyReLU(slope),
            nn.Linear(wide, narrow),
            nn.ReLU(),
            nn.Linear(narrow, num_classes),
        )

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the attended map (B, 2048, h, w) of normalised pixels (B, 3, H, W)."""
        features: Tensor = self.attention(self.backbone.forward_features(pixels))  # type: ignore[operator]  # timm's
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of an attended map (B, 2048, h, w)."""
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of normalised pixels (B, 3, H, W)."""
        return self.forward_head(self.forward_features(pixels))
