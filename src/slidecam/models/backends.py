"""Which ways there are to run a network, and whether this machine has what one asks for."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slidecam.errors import DeviceError
from slidecam.registry import Entry, Registry, deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import torch
    from torch import Tensor

    from slidecam.models.variants import Variant
else:
    torch = deferred("torch")


@dataclass(frozen=True)
class Backend(Entry):
    """One way to run networks, as `BACKENDS` has them by name.

    Attributes
    ----------
    variants
        Yields the `variants.Variant`s to try of a network that is cut already, best first, given
        that one and two normalised tiles (2, C, H, W); or the function's ``module:attribute``. Each
        is compared with the plain network; the first that agrees is used, and the plain one where
        none does.
    devices
        Where it runs: types of torch's devices.
    quick
        Whether it is made in seconds, so that ``auto`` tries it.
    overlaps
        Whether its backbone may be called from two threads, and leaves torch's threads alone: one
        batch's head is computed beside the next one's backbone then.
    """

    variants: Callable[[Variant, Tensor], Iterable[Variant]] | str
    devices: tuple[str, ...] = ("cpu", "cuda")
    quick: bool = True
    overlaps: bool = False


AUTO, UNTRIED = "auto", "folded"
"""The backend that stands for the fastest, and the one that needs no trial."""

BACKENDS: Registry[Backend] = Registry(
    "slidecam.backends",
    Backend,
    (
        Backend(
            AUTO,
            "slidecam.models.variants:folded",
            help="the fastest on this machine, by a trial that is remembered; on a GPU, folded",
        ),
        Backend(
            UNTRIED,
            "slidecam.models.variants:folded",
            help="batch norms folded into convolutions, channels last",
        ),
        Backend("eager", "slidecam.models.variants:as_it_is", help="the network as it is"),
        Backend(
            "compiled",
            "slidecam.models.compiled:compiled",
            devices=("cpu",),
            quick=False,
            help="torch's own compiler; takes a C++ compiler, and minutes at first",
        ),
        Backend(
            "openvino",
            "slidecam.models.compiled:openvino",
            devices=("cpu",),
            overlaps=True,
            help="OpenVINO's kernels, also in bf16",
            packages=("openvino",),
            check="slidecam.models.compiled:openvino_here",
        ),
    ),
)
"""Every way to run a network; another package adds one by the group ``slidecam.backends``."""


_DEVICES = "Pass --device auto, cpu or cuda."


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` prefers a GPU. DeviceError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"there is no device called {name!r}.", _DEVICES) from error
    check_device(device, "fp32", "eager")
    return device


def too_large(what: str) -> DeviceError:
    """Return the error of what does not fit into a GPU's memory."""
    problem = f"{what} does not fit into the GPU's memory."
    remedy = "Free some of it: other programs use it; or pass --device cpu."
    return DeviceError(problem, remedy)


@contextmanager
def within_memory(what: str) -> Iterator[None]:
    """Say of a GPU whose memory runs out what did not fit into it; DeviceError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise too_large(what) from error


def check_device(device: torch.device, precision: str, backend: str) -> None:
    """Refuse what this machine does not have.

    Raises
    ------
    DeviceError
        If the device is no CPU or CUDA device of this machine, or it cannot compute in
        ``precision``, or there is no such backend, or what it needs is not installed.
    """
    if device.type not in {"cpu", "cuda"}:
        raise DeviceError(f"device {str(device)!r} is not supported.", _DEVICES)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        problem = f"this machine has no {device} device."
        raise DeviceError(problem, "Pass --device cpu, or see slidecam doctor.")
    if precision not in {"fp32", "bf16"}:
        raise DeviceError(f"precision {precision!r} is not known.", "Use fp32 or bf16.")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        problem = f"{torch.cuda.get_device_name(device)} cannot compute in bf16."
        raise DeviceError(problem, "Use fp32.")
    if backend not in BACKENDS:
        raise DeviceError(f"backend {backend!r} is not known.", BACKENDS.remedy(backend))
    if device.type not in BACKENDS[backend].devices:
        remedy = f"Use --device {' or '.join(BACKENDS[backend].devices)}, or another --backend."
        raise DeviceError(f"backend {backend} does not run on {device.type}.", remedy)
    if BACKENDS[backend].absent:
        raise DeviceError(*BACKENDS[backend].words_on_absent("use another --backend"))
