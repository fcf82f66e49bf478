"""Any timm backbone with a hidden layer before its logits, as in the brain-tumour study."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from torch import nn

from slidecam.models.embedders import embedder, embedding_length, map_channels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
)
"""What can follow the hidden layer, by name."""


class DenseHead(nn.Module):
    """A backbone, its map averaged, one hidden layer with dropout behind it, and the logits.

    As it stands it is the brain-tumour study's network: EfficientNetB4, 256 units with ReLU,
    dropout 0.45. The activation map is the backbone's; the head sees its average alone, and bends
    it: Grad-CAM's weights differ from picture to picture, which a single linear layer's do not.

    Parameters
    ----------
    num_classes
        Number of logits.
    backbone, backbone_args
        timm's name of the backbone, and keyword arguments for it.
    hidden
        Units of the hidden layer.
    dropout
        Share of them that is left out in training.
    activation
        What follows the hidden layer; one of `ACTIVATIONS`.

    Raises
    ------
    ValueError
        If there is no such backbone or activation.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "efficientnet_b4",
        hidden: int = 256,
        dropout: float = 0.45,
        activation: Literal["relu", "gelu", "silu"] = "relu",
        backbone_args: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}, not one of {', '.join(ACTIVATIONS)}")
        self.backbone = embedder(backbone, backbone_args)
        self.num_features = map_channels(self.backbone)
        self.head = nn.Sequential(
            nn.Linear(embedding_length(self.backbone), hidden),
            ACTIVATIONS[activation](),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the backbone's map of normalised pixels (B, 3, H, W), in its own order of axes."""
        features: Tensor = self.backbone.forward_features(pixels)  # type: ignore[operator]  # timm's networks have it
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of an activation map."""
        logits: Tensor = self.head(self.backbone.forward_head(features))  # type: ignore[operator]  # as above
        return logits

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of normalised pixels (B, 3, H, W)."""
        return self.forward_head(self.forward_features(pixels))
