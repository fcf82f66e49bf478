"""Networks of our own, built from scratch or on timm's without their classifier.

`SimpleCNN` is that of the breast ultrasound comparison; `PocketResNet` is a residual network small
enough to travel inside a repository.

`DenseHead` is any timm backbone with a hidden layer before its logits, as in the brain-tumour
study.

`DALAResNet50` is a residual network with a light attention over the channels of its last stage.
*DALAResNet50 for breast histopathology* (arXiv:2308.13150) publishes neither code nor the sizes of
its layers. The paper says: a ResNet50; in its fourth stage an attention of "channel-by-channel
average pooling, linear transformation, element multiplication, feature fusion, dropout"; dropout
0.25; two full layers, LeakyReLU after the first and ReLU after the second. Our reading: the linear
layer keeps the number of channels, a sigmoid makes a gate of it, fusion adds the map to its gated
self, the full layers have 512 and 256 units, the LeakyReLU's slope is 0.01, and a third linear
layer gives the logits. All of these but the sigmoid and the gate's width are arguments.

Every one takes pixels of ``in_chans`` channels: 3, or 1 for grey.
"""

from __future__ import annotations

from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn

from slidecam.models.channels import ARGUMENT, COLOURS
from slidecam.models.light_timm import timm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class SplitNetwork(nn.Module):
    """A network of timm's two halves: pixels to activation map, and map to logits."""

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the activation map of normalised pixels (B, C, H, W)."""
        raise NotImplementedError

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of an activation map."""
        raise NotImplementedError

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of normalised pixels (B, C, H, W)."""
        return self.forward_head(self.forward_features(pixels))


_WIDTHS = (16, 32)
_HALVINGS = len(_WIDTHS)


class SimpleCNN(SplitNetwork):
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

    def __init__(self, num_classes: int, input_px: int = 224, in_chans: int = 3) -> None:
        super().__init__()
        self.num_features = _WIDTHS[-1]
        self.input_px = input_px
        self.features = nn.Sequential(*_convolution(in_chans, _WIDTHS[0]), *_convolution(*_WIDTHS))
        edge = input_px // 2**_HALVINGS
        self.classifier = nn.Sequential(
            nn.Linear(edge * edge * self.num_features, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, num_classes),
        )

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the activation map (B, 32, H / 4, W / 4) of normalised pixels (B, C, H, W)."""
        features: Tensor = self.features(pixels)
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of an activation map (B, 32, h, w)."""
        logits: Tensor = self.classifier(features.flatten(1))
        return logits


def _convolution(narrow: int, wide: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(narrow, wide, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)


class PocketResNet(SplitNetwork):
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
        self,
        num_classes: int,
        widths: Sequence[int] = (24, 48, 96),
        depth: int = 1,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        self.num_features = widths[-1]
        self.stem = nn.Sequential(*_conv_norm(in_chans, widths[0], stride=2), nn.ReLU(inplace=True))
        stages = [_stage(widths[0], widths[0], depth, stride=1)]
        stages += [_stage(narrow, wide, depth, stride=2) for narrow, wide in pairwise(widths)]
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the activation map (B, C, h, w) of normalised pixels (B, C, H, W)."""
        features: Tensor = self.stages(self.stem(pixels))
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of an activation map (B, C, h, w)."""
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


class _ResidualBlock(nn.Module):
    """Two 3-by-3 convolutions beside a shortcut; the first of them strides."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv_norm(narrow, wide, stride=stride),
            nn.ReLU(inplace=True),
            *_conv_norm(wide, wide, stride=1),
        )
        self.shortcut: nn.Module = nn.Identity()
        if narrow != wide or stride != 1:
            self.shortcut = nn.Sequential(*_conv_norm(narrow, wide, stride=stride, kernel=1))
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
    later = (_ResidualBlock(wide, wide, 1) for _ in range(depth - 1))
    return nn.Sequential(_ResidualBlock(narrow, wide, stride), *later)


_FETCHING = {"pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"}
_RESERVED = frozenset({*_FETCHING, "cache_dir", "num_classes"})
"""What a card may not pass to timm: it would fetch weights, or contradict the class names."""


def embedder(
    backbone: str, args: Mapping[str, object] | None = None, in_chans: int = COLOURS
) -> nn.Module:
    """Return timm's ``backbone`` with weights that mean nothing yet.

    Its ``forward_head`` ends with the pooled map.

    Parameters
    ----------
    backbone
        timm's name (``efficientnet_b4``). Hub addresses are refused: nothing is fetched.
    args
        Keyword arguments for timm (``{"pad_type": "same"}``).
    in_chans
        Channels of the pixels, where ``args`` do not say them.

    Raises
    ------
    ValueError
        If timm has no such network, or ``args`` hold what a card may not set. `build_network` makes
        a CardError of it.
    """
    if not timm.is_model(backbone):
        raise ValueError(f"timm has no network {backbone!r} (backbone)")
    forbidden = forbidden_argument(args or {})
    if forbidden:
        raise ValueError(f"backbone_args hold {forbidden!r}, which a card may not set")
    said = dict(args or {})
    if in_chans != COLOURS:
        said.setdefault(ARGUMENT, in_chans)
    return timm_network(backbone, 0, said)


def timm_network(name: str, classes: int, args: Mapping[str, object]) -> nn.Module:
    """Return one of timm's networks; 0 ``classes`` for one whose head ends with the pooled map."""
    create: Callable[..., nn.Module] = timm.create_model
    return create(name, pretrained=False, num_classes=classes, **args)


def forbidden_argument(args: Mapping[str, object]) -> str | None:
    """Return the first keyword that a card may not pass to timm, or None."""
    return min(_RESERVED & args.keys(), default=None)


def map_channels(network: nn.Module) -> int:
    """Return the channels of the activation map that an embedder's ``forward_features`` gives."""
    return cast("int", network.num_features)


def embedding_length(network: nn.Module) -> int:
    """Return the length of the vector that an embedder's ``forward_head`` gives.

    Some networks (MobileNetV3) widen the pooled map once more, so that it is not the map's
    channels.
    """
    return cast("int", getattr(network, "head_hidden_size", None) or network.num_features)


ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
)
"""What can follow the hidden layer, by name."""


class DenseHead(SplitNetwork):
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
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}, not one of {', '.join(ACTIVATIONS)}")
        self.backbone = embedder(backbone, backbone_args, in_chans)
        self.num_features = map_channels(self.backbone)
        self.head = nn.Sequential(
            nn.Linear(embedding_length(self.backbone), hidden),
            ACTIVATIONS[activation](),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the backbone's map of normalised pixels (B, C, H, W), in its own order of axes."""
        features: Tensor = self.backbone.forward_features(pixels)  # type: ignore[operator]  # timm's networks have it
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of an activation map."""
        logits: Tensor = self.head(self.backbone.forward_head(features))  # type: ignore[operator]  # as above
        return logits


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
        if self.fusion == "sum":
            return gated + features
        return gated


class DALAResNet50(SplitNetwork):
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
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        self.backbone = embedder("resnet50", in_chans=in_chans)
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
        """Return the attended map (B, 2048, h, w) of normalised pixels (B, C, H, W)."""
        features: Tensor = self.attention(self.backbone.forward_features(pixels))  # type: ignore[operator]  # timm's
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of an attended map (B, 2048, h, w)."""
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits
