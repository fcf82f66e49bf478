"""timm networks without their classifier, for our architectures that put another head on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import timm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

RESERVED = frozenset(
    {
        "pretrained",
        "checkpoint_path",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "cache_dir",
        "num_classes",
    }
)
"""What a card may not pass to timm.

These would fetch or unpickle weights, or contradict the class names.
"""


def embedder(backbone: str, args: Mapping[str, object] | None = None) -> nn.Module:
    """Return timm's ``backbone`` with weights that mean nothing yet.

    Its ``forward_head`` ends with the pooled map.

    Parameters
    ----------
    backbone
        timm's name (``efficientnet_b4``). Hub addresses are refused: nothing is fetched.
    args
        Keyword arguments for timm (``{"pad_type": "same"}``).

    Raises
    ------
    ValueError
        If timm has no such network, or ``args`` hold what a card may not set. `build_network` makes
        a CardError of it.
    """
    if not timm.is_model(backbone):
        raise ValueError(f"timm has no network {backbone!r} (backbone)")
    forbidden = sorted(RESERVED & set(args or {}))
    if forbidden:
        raise ValueError(f"backbone_args hold {forbidden[0]!r}, which a card may not set")
    create: Callable[..., nn.Module] = timm.create_model
    return create(backbone, pretrained=False, num_classes=0, **(args or {}))


def map_channels(network: nn.Module) -> int:
    """Return the channels of the activation map that an embedder's ``forward_features`` gives."""
    return cast("int", network.num_features)


def embedding_length(network: nn.Module) -> int:
    """Return the length of the vector that an embedder's ``forward_head`` gives.

    Some networks (MobileNetV3) widen the pooled map once more, so that it is not the map's
    channels.
    """
    return cast("int", getattr(network, "head_hidden_size", None) or network.num_features)
