"""How a network lays out its activation, and how that is one map (B, C, h, w) and back again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

MAP_AXES = 4
"""Tiles, channels, rows, columns."""

TOKEN_AXES = 3
"""Tiles, tokens, channels."""


class Layout(Protocol):
    """The order of axes of one kind of activation."""

    def map_of(self, raw: Tensor) -> Tensor:
        """Return the activation channels first, (B, C, h, w); as it is if it has no places."""

    def raw_of(self, activation: Tensor, raw: Tensor) -> Tensor:
        """Return a map as the network lays it out; what is no map in ``raw`` is taken from it."""


@dataclass(frozen=True)
class ChannelsFirst:
    """The layout (B, C, h, w) itself, and that of vectors and what else has no places."""

    def map_of(self, raw: Tensor) -> Tensor:
        """Return ``raw``."""
        return raw

    def raw_of(self, activation: Tensor, raw: Tensor) -> Tensor:  # noqa: ARG002  (others need it)
        """Return ``activation``."""
        return activation


@dataclass(frozen=True)
class ChannelsLast:
    """The layout (B, h, w, C), Swin's and its like's."""

    def map_of(self, raw: Tensor) -> Tensor:
        """Return (B, C, h, w) of (B, h, w, C)."""
        return raw.permute(0, 3, 1, 2)

    def raw_of(self, activation: Tensor, raw: Tensor) -> Tensor:  # noqa: ARG002  (others need it)
        """Return (B, h, w, C) of (B, C, h, w)."""
        return activation.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Tokens:
    """The layout (B, prefix + h·w, C) of vision transformers.

    A class token and registers, then patches by rows.

    Attributes
    ----------
    prefix
        How many tokens before the patches'. They lie nowhere on the tile, and are no part of the
        map.
    grid
        Rows and columns of patches.
    """

    prefix: int
    grid: tuple[int, int]

    def map_of(self, raw: Tensor) -> Tensor:
        """Return (B, C, h, w) of the patches' tokens."""
        return raw[:, self.prefix :].transpose(1, 2).reshape(len(raw), -1, *self.grid)

    def raw_of(self, activation: Tensor, raw: Tensor) -> Tensor:
        """Return (B, prefix + h·w, C), the prefix as it is in ``raw``."""
        return torch.cat(
            [raw[:, : self.prefix].to(activation.dtype), activation.flatten(2).transpose(1, 2)], 1
        )


def layout_of(network: nn.Module, activation: Tensor) -> Layout:
    """Return how an activation lies, by what the network says of itself.

    timm's networks of channels-last maps say so in ``output_fmt``; otherwise the axis as long as
    ``num_features`` is the channels', and channels come first if both or neither are.
    """
    if activation.ndim != MAP_AXES:
        return ChannelsFirst()
    channels = getattr(network, "num_features", None)
    stated = str(
        getattr(getattr(network, "output_fmt", None), "value", getattr(network, "output_fmt", None))
    )
    if "NHWC" in stated or channels == activation.shape[-1] != activation.shape[1]:
        return ChannelsLast()
    return ChannelsFirst()


def inner_layout_of(network: nn.Module, activation: Tensor) -> Layout:
    """Return how a layer's activation lies.

    As `layout_of` says, or tokens if it is those of a square or known grid.

    The grid is ``patch_embed.grid_size`` or, without one, square. Of the network's
    ``num_prefix_tokens`` all or none are there: some transformers (CaiT, XCiT) join them to the
    patches only in their last blocks.
    """
    if activation.ndim != TOKEN_AXES:
        return layout_of(network, activation)
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    for prefix in (getattr(network, "num_prefix_tokens", 0), 0):
        patches = activation.shape[1] - prefix
        rows, columns = grid or (math.isqrt(max(patches, 0)),) * 2
        if patches == rows * columns > 0:
            return Tokens(prefix, (rows, columns))
    return ChannelsFirst()
