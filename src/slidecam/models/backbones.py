"""The first half of a classifier, pixels to activation map.

Whatever runs fast and knows no gradients.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

Precision = Literal["fp32", "bf16"]


class Backbone(Protocol):
    """Anything that turns pixels into an activation map: torch, a compiled graph, OpenVINO."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the activation, as its network has it, of normalised float32 pixels (B, 3, H, W).

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
    """Return ``pixels`` (B, 3, H, W) in the given memory order, copied only if in another."""
    return pixels.contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """Compute in ``precision`` inside, whatever the caller's autocast, and as before afterwards.

    On CUDA, torch lets convolutions round float32 to TF32 (10 bits), which moves probabilities by
    more than 1e-5; ``fp32`` means float32 here.
    """
    with ExitStack() as stack:
        stack.enter_context(
            torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
        )
        if precision == "fp32" and device.type == "cuda":
            cudnn = torch.backends.cudnn
            as_before = {
                "enabled": cudnn.enabled,
                "benchmark": cudnn.benchmark,
                "deterministic": cudnn.deterministic,
            }
            stack.enter_context(cudnn.flags(**as_before, allow_tf32=False))
        yield
