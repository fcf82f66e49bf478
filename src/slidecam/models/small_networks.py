"""Networks of our own, built from scratch.

`SimpleCNN` is that of the breast ultrasound comparison; `PocketResNet` is a residual network small
enough to travel inside a repository.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class PocketResNet(nn.Module):
    """Residual CNN with one linear layer on the average of its map: 173,000 weights as it stands.

    The map has one cell for every 8 by 8 pixels with three widths (12 by 12 for a tile of 96 px);
    each width more halves it.

    Parameters
    ----------
    num_classes
        Number of logits.
    widths
        Channels of the stages; the last is the map's.
    depth
        Residual blocks in each stage.
    """

    def __init__(
        self, num_classes: int, widths: Sequence[int] = (24, 48, 96), depth: int = 1
    ) -> None:
        super().__init__()
        self.num_features = widths[-1]
        self.stem = nn.Sequential(*_conv_norm(3, widths[0], stride=2), nn.ReLU(inplace=True))
        stages = [_stage(widths[0], widths[0], depth, stride=1)]
        stages += [_stage(narrow, wide, depth, stride=2) for narrow, wide in pairwise(widths)]
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the activation map (B, C, h, w) of normalised pixels (B, 3, H, W)."""
        features: Tensor = self.stages(self.stem(pixels))
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of an activation map (B, C, h, w)."""
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of normalised pixels (B, 3, H, W)."""
        return self.forward_head(self.forward_features(pixels))


class ResidualBlock(nn.Module):
    """Two 3-by-3 convolutions beside a shortcut; the first of them strides."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv_norm(narrow, wide, stride=stride),
            nn.ReLU(inplace=True),
            *_conv_norm(wide, wide, stride=1),
        )
        same = narrow == wide and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(*_conv_norm(narrow, wide, stride=stride, kernel=1))
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, wide, h / stride, w / stride) of (B, narrow, h, w)."""
        activated: Tensor = self.act(self.body(features) + self.shortcut(features))
        return activated


def _conv_norm(
    narrow: int, wide: int, *, stride: int, kernel: int = 3
) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(narrow, wide, kernel, stride=stride, padding=kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(wide)


def _stage(narrow: int, wide: int, depth: int, *, stride: int) -> nn.Sequential:
    later = (ResidualBlock(wide, wide, 1) for _ in range(depth - 1))
    return nn.Sequential(ResidualBlock(narrow, wide, stride), *later)
