"""Where a network is cut into backbone and head, and one pass through both.

The activation between them is a leaf: the backbone runs without autograd, and a backward pass from
the logits stops there. So class-activation maps cost one backward through the head, and no
parameter, flag, mode or random state of the network is touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from slidecam.models.backbones import arithmetic, laid_out
from slidecam.models.layouts import MAP_AXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from slidecam.models.backbones import Backbone, Precision
    from slidecam.models.layouts import Layout

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
    """

    activation: Tensor | None
    logits: Tensor


class Split(Protocol):
    """A network cut in two."""

    def __call__(
        self, pixels: Tensor, *, gradients: bool, through: Through | None = None
    ) -> ClassifierPass:
        """Return the pass over normalised float32 pixels (B, 3, H, W).

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
    layout: Callable[[Tensor], Layout]

    def __call__(
        self, pixels: Tensor, *, gradients: bool, through: Through | None = None
    ) -> ClassifierPass:
        """Return the pass; see `Split`."""
        raw = self.backbone(pixels)
        with torch.set_grad_enabled(gradients), arithmetic(raw.device, "fp32"):
            layout = self.layout(raw)
            leaf = _leaf(raw, layout, gradients=gradients)
            logits = self.head(_for_head(leaf, raw, layout, through))
        return ClassifierPass(leaf if leaf.ndim == MAP_AXES else None, logits.float())


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
    layout: Callable[[Tensor], Layout]
    channels_last: bool = False
    precision: Precision = "fp32"
    _alone: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __call__(
        self, pixels: Tensor, *, gradients: bool, through: Through | None = None
    ) -> ClassifierPass:
        """Return the pass; see `Split`. Threads take turns, since the hook is the network's."""
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
        leaf = leaves[-1]
        return ClassifierPass(leaf if leaf.ndim == MAP_AXES else None, logits.float())


@dataclass(frozen=True)
class Whole:
    """A network that cannot be cut: TorchScript, or one whose halves do not add up to it.

    It has no map.
    """

    network: nn.Module
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


def _leaf(raw: Tensor, layout: Layout, *, gradients: bool) -> Tensor:
    """Return the activation as a leaf.

    Float32, channels first, cut off from what it was computed by.
    """
    return layout.map_of(raw.detach()).float().requires_grad_(gradients)


def _for_head(leaf: Tensor, raw: Tensor, layout: Layout, through: Through | None) -> Tensor:
    """Return a copy in the network's own order: what follows may compute in place."""
    seen = leaf if through is None or leaf.ndim != MAP_AXES else through(leaf)
    return layout.raw_of(seen, raw.detach()).clone()


@contextmanager
def _hooked(layer: nn.Module, hook: Callable[..., Tensor]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
