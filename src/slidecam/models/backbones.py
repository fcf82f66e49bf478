"""The first half of a classifier, pixels to activation map.

Whatever runs fast and knows no gradients.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from slidecam.errors import DeviceError
from slidecam.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor

    from slidecam.models.variants import Variant

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Backend(Entry):
    """One way to run networks, as `BACKENDS` has them by name.

    Attributes
    ----------
    variants
        Yields the `variants.Variant`s to try of a network that is cut already, best first, given
        that one and two normalised tiles (2, 3, H, W); or the function's ``module:attribute``. Each
        is compared with the plain network; the first that agrees is used, and the plain one where
        none does.
    devices
        Where it runs: types of torch's devices.
    """

    variants: Callable[[Variant, Tensor], Iterable[Variant]] | str
    devices: tuple[str, ...] = ("cpu", "cuda")


BACKENDS: Registry[Backend] = Registry(
    "slidecam.backends",
    Backend,
    (
        Backend(
            "folded",
            "slidecam.models.variants:folded",
            help="batch norms folded into convolutions, channels last",
        ),
        Backend("eager", "slidecam.models.variants:as_it_is", help="the network as it is"),
    ),
)
"""Every way to run a network; another package adds one by the group ``slidecam.backends``."""


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


def check_device(device: torch.device, precision: str, backend: str) -> None:
    """Refuse what this machine does not have.

    Raises
    ------
    DeviceError
        If the device is no CPU or CUDA device of this machine, or it cannot compute in
        ``precision``, or there is no such backend.
    """
    if device.type not in {"cpu", "cuda"}:
        raise DeviceError(f"device {str(device)!r} is not supported.", "Use cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"this machine has no {device} device.", "Use cpu, or see slidecam doctor."
        )
    if precision not in {"fp32", "bf16"}:
        raise DeviceError(f"precision {precision!r} is not known.", "Use fp32 or bf16.")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(
            f"{torch.cuda.get_device_name(device)} cannot compute in bf16.", "Use fp32."
        )
    if backend not in BACKENDS:
        raise DeviceError(f"backend {backend!r} is not known.", BACKENDS.remedy(backend))
    if device.type not in BACKENDS[backend].devices:
        remedy = f"Use --device {' or '.join(BACKENDS[backend].devices)}, or another --backend."
        raise DeviceError(f"backend {backend} does not run on {device.type}.", remedy)
