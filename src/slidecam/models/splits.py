"""Where a network is cut into backbone and head, and one pass through both.

The activation between them is a leaf: the backbone runs without autograd, and a backward pass from
the logits stops there. So class-activation maps cost one backward through the head, and no
parameter, flag, mode or random state of the network is touched. The backbone may be whatever runs
fast and knows no gradients.

A layout says how a network lays out its activation, and how that is one map (B, C, h, w) and back
again.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

Precision = Literal["fp32", "bf16"]


class Backbone(Protocol):
    """Anything that turns pixels into an activation map: torch, a compiled graph, OpenVINO."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the activation, as its network has it, of normalised float32 pixels (B, C, H, W).

        The result is on the device of ``pixels``, of any floating type, and belongs to no autograd
        graph.
        """


@dataclass(frozen=True)
class TorchBackbone:
    """A `Backbone` in torch.

    Attributes
    ----------
    features
        The network's ``forward_features``.
    channels_last
        Whether the pixels are laid out channels last, which convolutions on a CPU prefer.
    precision
        ``bf16`` computes what bears it in bfloat16.
    """

    features: Callable[[Tensor], Tensor]
    channels_last: bool = False
    precision: Precision = "fp32"

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the activation; see `Backbone`."""
        with torch.no_grad(), arithmetic(pixels.device, self.precision):
            return self.features(laid_out(pixels, channels_last=self.channels_last))


def laid_out(pixels: Tensor, *, channels_last: bool) -> Tensor:
    """Return ``pixels`` (B, C, H, W) in the given memory order, copied only if in another."""
    if channels_last:
        return pixels.contiguous(memory_format=torch.channels_last)
    return pixels.contiguous()


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """Compute in ``precision`` inside, whatever the caller's autocast, and as before afterwards.

    On CUDA, torch lets convolutions round float32 to TF32 (10 bits), which moves probabilities by
    more than 1e-5; ``fp32`` means float32 here.
    """
    with ExitStack() as stack:
        low = precision == "bf16"
        stack.enter_context(torch.autocast(device.type, torch.bfloat16, enabled=low))
        if precision == "fp32" and device.type == "cuda":
            cudnn = torch.backends.cudnn
            as_before = {
                "enabled": cudnn.enabled,
                "benchmark": cudnn.benchmark,
                "deterministic": cudnn.deterministic,
            }
            stack.enter_context(cudnn.flags(**as_before, allow_tf32=False))
        yield


MAP_AXES = 4
"""Tiles, channels, rows, columns."""

TOKEN_AXES = 3
"""Tiles, tokens, channels."""


class ActivationLayout(Protocol):
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
        prefix = raw[:, : self.prefix].to(activation.dtype)
        return torch.cat([prefix, activation.flatten(2).transpose(1, 2)], 1)


def layout_of(network: nn.Module, activation: Tensor) -> ActivationLayout:
    """Return how an activation lies, by what the network says of itself.

    timm's networks of channels-last maps say so in ``output_fmt``; otherwise the axis as long as
    ``num_features`` is the channels', and channels come first if both or neither are.
    """
    if activation.ndim != MAP_AXES:
        return ChannelsFirst()
    channels = getattr(network, "num_features", None)
    stated = getattr(network, "output_fmt", None)
    stated = getattr(stated, "value", stated)
    if "NHWC" in str(stated) or channels == activation.shape[-1] != activation.shape[1]:
        return ChannelsLast()
    return ChannelsFirst()


def inner_layout_of(network: nn.Module, activation: Tensor) -> ActivationLayout:
    """Return how a layer's activation lies.

    As `layout_of` says, or tokens if it is those of a square or known grid.

    The grid is ``patch_embed.grid_size`` where there are so many patches, else square, as tiles
    are: networks of ``dynamic_img_size`` have that of the tile, and not of the size that they were
    made for. Of the network's ``num_prefix_tokens`` all or none are there: some transformers (CaiT,
    XCiT) join them to the patches only in their last blocks.
    """
    if activation.ndim != TOKEN_AXES:
        return layout_of(network, activation)
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    for prefix in (getattr(network, "num_prefix_tokens", 0), 0):
        patches = activation.shape[1] - prefix
        side = math.isqrt(max(patches, 0))
        for rows, columns in (grid or (side, side), (side, side)):
            if patches == rows * columns > 0:
                return Tokens(prefix, (rows, columns))
    return ChannelsFirst()


Through = Callable[[torch.Tensor], torch.Tensor]
"""Changes an activation (B, C, h, w) before the head sees it, and returns one of the same shape."""


@dataclass(frozen=True)
class ClassifierPass:
    """What one pass over a batch of tiles leaves.

    Attributes
    ----------
    activation
        (B, C, h, w), float32, channels first whatever the network's order is; None if it has no
        map. With gradients it is a leaf that requires them, and the logits hang on it. What goes
        `Through` something before the head is here as it was before.
    logits
        (B, K), float32.
    members
        (M, B, K), float32: the logits of an ensemble's members; None of a single network.
    """

    activation: Tensor | None
    logits: Tensor
    members: Tensor | None = None


def put_instead(seen: Tensor, _activation: Tensor) -> Tensor:
    """Return what the head is to see, whatever the backbone gave; `partial` makes a `Through`."""
    return seen


class NetworkSplit(Protocol):
    """A network cut in two."""

    def __call__(
        self,
        pixels: Tensor,
        *,
        gradients: bool,
        through: Through | None = None,
    ) -> ClassifierPass:
        """Return the pass over normalised float32 pixels (B, C, H, W).

        Its activation is sent ``through`` something, where that is given.
        """


@dataclass(frozen=True)
class TwoHalves:
    """A backbone and a head that can be called one after the other.

    Attributes
    ----------
    backbone, head
        Pixels to activation, and activation to logits, both in the network's own order of axes.
    layout
        Says how a given activation lies.
    """

    backbone: Backbone
    head: Callable[[Tensor], Tensor]
    layout: Callable[[Tensor], ActivationLayout]

    def __call__(
        self,
        pixels: Tensor,
        *,
        gradients: bool,
        through: Through | None = None,
    ) -> ClassifierPass:
        """Return the pass; see `NetworkSplit`."""
        raw = self.backbone(pixels)
        with torch.set_grad_enabled(gradients), arithmetic(raw.device, "fp32"):
            layout = self.layout(raw)
            leaf = _leaf(raw, layout, gradients=gradients)
            logits = self.head(_for_head(leaf, raw, layout, through))
        return _pass_of(leaf, logits)


@dataclass(frozen=True)
class NamedLayer:
    """A network cut behind one of its layers, by a hook that is there only during a pass.

    Attributes
    ----------
    network, layer
        The whole, and the module in it whose output is the activation.
    layout
        Says how a given output lies.
    channels_last, precision
        As in `TorchBackbone`.
    """

    network: nn.Module
    layer: nn.Module
    layout: Callable[[Tensor], ActivationLayout]
    channels_last: bool = False
    precision: Precision = "fp32"
    _alone: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __call__(
        self,
        pixels: Tensor,
        *,
        gradients: bool,
        through: Through | None = None,
    ) -> ClassifierPass:
        """Return the pass, one thread after the other: the hook is the network's."""
        leaves: list[Tensor] = []

        def cut(_layer: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            layout = self.layout(output)
            leaves.append(_leaf(output, layout, gradients=gradients))
            # The head's part of the pass. Both switches belong to this thread, and leaving the
            # outer contexts puts them back.
            torch.set_grad_enabled(gradients)
            torch.set_autocast_enabled(pixels.device.type, False)  # noqa: FBT003  (torch's signature)
            return _for_head(leaves[-1], output, layout, through)

        with (
            self._alone,
            _hooked(self.layer, cut),
            torch.no_grad(),
            arithmetic(pixels.device, self.precision),
        ):
            logits = self.network(laid_out(pixels, channels_last=self.channels_last))
        return _pass_of(leaves[-1], logits)


@dataclass(frozen=True)
class Whole:
    """A network that cannot be cut: TorchScript, or one whose halves do not add up to it.

    It has no map. What runs it may be a `Backbone` from pixels to logits too.
    """

    network: Callable[[Tensor], Tensor]
    precision: Precision = "fp32"

    def __call__(
        self,
        pixels: Tensor,
        *,
        gradients: bool,  # noqa: ARG002  (the protocol's signature)
        through: Through | None = None,  # noqa: ARG002  (the protocol's signature)
    ) -> ClassifierPass:
        """Return the logits alone."""
        with torch.no_grad(), arithmetic(pixels.device, self.precision):
            logits = self.network(pixels.contiguous())
        return ClassifierPass(None, logits.float())


def _leaf(raw: Tensor, layout: ActivationLayout, *, gradients: bool) -> Tensor:
    """Return the activation as a leaf.

    Float32, channels first, cut off from what it was computed by.
    """
    return layout.map_of(raw.detach()).float().requires_grad_(gradients)


def _pass_of(leaf: Tensor, logits: Tensor) -> ClassifierPass:
    if leaf.ndim != MAP_AXES:
        return ClassifierPass(None, logits.float())
    return ClassifierPass(leaf, logits.float())


def _for_head(
    leaf: Tensor,
    raw: Tensor,
    layout: ActivationLayout,
    through: Through | None,
) -> Tensor:
    """Return a copy in the network's own order: what follows may compute in place."""
    seen = leaf
    if through is not None and leaf.ndim == MAP_AXES:
        seen = through(leaf)
    return layout.raw_of(seen, raw.detach()).clone()


@contextmanager
def _hooked(layer: nn.Module, hook: Callable[..., Tensor]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
