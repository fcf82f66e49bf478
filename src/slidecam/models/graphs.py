"""A network's front as a module of its own, and how torch goes on behind it.

Whatever runs graphs (a compiler, OpenVINO) is given the front: pixels in, one tensor out. It knows
no gradients, and needs none: see `slidecam.models.splits`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from slidecam.models.splits import Backbone, Precision

if TYPE_CHECKING:
    from slidecam.models.splits import ClassifierPass, NamedLayer, Through

Runner = Callable[[nn.Module, Precision], Backbone]
"""Returns what runs a module of pixels (B, C, H, W) to one tensor, for any B.

The module is a network's front, in eval mode, float32, on the CPU; it may be another one each time,
as it is of an ensemble's members. It is called once for each of them and each precision, and raises
one of `variants.REFUSALS`, its message a clause, where it cannot.
"""


class FeaturesOf(nn.Module):
    """A network's ``forward_features``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the activation, as the network has it."""
        features: Any = self.network.forward_features
        activation: Tensor = features(pixels)
        return activation


class BlocksBefore(nn.Module):
    """What a network gives to one of its blocks."""

    def __init__(self, network: nn.Module, block: str) -> None:
        super().__init__()
        self.network = network
        self.block = block

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the block's input; what the network does behind it is of no use here."""
        given: list[Tensor] = []

        def watch(_block: nn.Module, inputs: tuple[Any, ...]) -> None:
            given.append(inputs[0])

        handle = self.network.get_submodule(self.block).register_forward_pre_hook(watch)
        try:
            self.network(pixels)
        finally:
            handle.remove()
        (taken,) = given
        return taken


def block_of(layer: str) -> str:
    """Return the block of a sequence that a layer is in: ``blocks.11`` of ``blocks.11.norm1``.

    Raises
    ------
    ValueError
        If it is in none: what comes before it cannot be left out of the network's own code then.
    """
    parts = layer.split(".")
    for place in range(len(parts) - 1, 0, -1):
        if parts[place].isdigit():
            return ".".join(parts[: place + 1])
    raise ValueError(f"the network is cut at {layer}, which is in no sequence of blocks")


def without_blocks_before(network: nn.Module, block: str) -> None:
    """Take the blocks before one out of its sequence, in place."""
    sequence, _dot, place = block.rpartition(".")
    for before in range(int(place)):
        network.set_submodule(f"{sequence}.{before}", nn.Identity())


@dataclass(frozen=True)
class FromBlock:
    """A `NetworkSplit` whose first blocks run elsewhere.

    Attributes
    ----------
    backbone
        Pixels to the input of ``block``.
    rest
        The network without the blocks before, cut at a layer.
    block
        The first one that runs in torch, a module of ``rest``.
    """

    backbone: Backbone
    rest: NamedLayer
    block: nn.Module
    _alone: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __call__(
        self,
        pixels: Tensor,
        *,
        gradients: bool,
        through: Through | None = None,
    ) -> ClassifierPass:
        """Return the pass, one thread after the other: the hook is the network's."""
        with torch.no_grad():
            entered = self.backbone(pixels).float()

        def enter(_block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (entered, *inputs[1:])

        with self._alone:
            handle = self.block.register_forward_pre_hook(enter)
            try:
                return self.rest(pixels, gradients=gradients, through=through)
            finally:
                handle.remove()
