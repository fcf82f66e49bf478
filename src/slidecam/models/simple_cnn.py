"""The small network from scratch of the breast ultrasound comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

_WIDTHS = (16, 32)
_HALVINGS = len(_WIDTHS)


class SimpleCNN(nn.Module):
    """Two convolutions, two poolings and three full layers.

    3 → 16 → 32 channels by 3 by 3 convolutions with padding 1, each with ReLU and a 2 by 2
    max-pool; then the whole map, 56 · 56 · 32 values for 224 px, goes to 512, to 128 (ReLU after
    each) and to the logits. The map that explanations use is that of the second pooling. It is
    fine, a cell for 4 by 4 pixels, and nearly all of the 51.5 million weights lie behind it:
    explaining costs more here than in networks that average their map.

    Parameters
    ----------
    num_classes
        Number of logits.
    input_px
        Edge of the pictures it is for; the first full layer is made for that size and takes no
        other.
    """

    def __init__(self, num_classes: int, input_px: int = 224) -> None:
        super().__init__()
        self.num_features = _WIDTHS[-1]
        self.features = nn.Sequential(*_convolution(3, _WIDTHS[0]), *_convolution(*_WIDTHS))
        edge = input_px // 2**_HALVINGS
        self.classifier = nn.Sequential(
            nn.Linear(edge * edge * self.num_features, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, num_classes),
        )

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the activation map (B, 32, H / 4, W / 4) of normalised pixels (B, 3, H, W)."""
        features: Tensor = self.features(pixels)
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of an activation map (B, 32, h, w)."""
        logits: Tensor = self.classifier(features.flatten(1))
        return logits

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of normalised pixels (B, 3, H, W)."""
        return self.forward_head(self.forward_features(pixels))


def _convolution(narrow: int, wide: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(narrow, wide, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)
