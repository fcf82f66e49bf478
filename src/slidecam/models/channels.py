"""How many channels a classifier sees: red, green and blue, or grey.

Pictures are red, green and blue wherever they come from. For a classifier of one channel they are
made grey in one place (`slidecam.models.classifier.normalised`) by one rule (`luma`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor, nn
else:
    torch = deferred("torch")

Channels = Literal[1, 3]
GREY: Channels = 1
COLOURS: Channels = 3

PerChannel = tuple[float, float, float] | tuple[float]
"""A number for red, green and blue, or one for grey."""

IN_WORDS: Mapping[int, str] = {
    GREY: "grey (ITU-R 601)",
    COLOURS: "red, green, blue",
}
"""What each channel of a classifier's is made of."""

SEEN_GREY = (
    "The classifier sees grey: colours become 0.299 red + 0.587 green + 0.114 blue (ITU-R 601, as"
    ' Pillow\'s "L"); what is grey stays as it is.'
)

ARGUMENT = "in_chans"
"""What timm, and slidecam's own networks, call the number of channels."""

REMEDY = (
    f"Use a network of 3 channels (red, green, blue), or of 1 (grey): --arch-arg {ARGUMENT}=1 of"
    ' slidecam bundle, "channels": 1 on the card.'
)

_LUMA = (19595, 38470, 7471)
"""Weights of red, green and blue in grey, of 65,536: Pillow's, which add up to that."""


def luma(pixels: Tensor) -> Tensor:
    """Return the grey (..., 1) of pixels (..., 3), both uint8, as Pillow's ``convert("L")`` does.

    Where red, green and blue are equal, as in a window of a volume, grey is the same number.
    """
    red, green, blue = pixels.to(torch.int32).unbind(-1)
    weighed = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2] + (1 << 15)
    return (weighed >> 16).to(torch.uint8)[..., None]


def channel_notes(channels: int) -> tuple[str, ...]:
    """Return what is to be said wherever pictures are shown to a classifier of so many channels."""
    if channels == GREY:
        return (SEEN_GREY,)
    return ()


def channel_problem(count: object) -> str:
    """Return why there is no classifier of so many channels; nothing where there is."""
    if count in IN_WORDS and not isinstance(count, bool):
        return ""
    return f"{count} channels, and pictures have 3 (red, green, blue), or 1 if they are made grey"


def argued_channels(args: Mapping[str, object]) -> object:
    """Return how many channels a network's arguments ask for; None where they say nothing."""
    inner = args.get("backbone_args")
    if ARGUMENT not in args and isinstance(inner, dict):
        return inner.get(ARGUMENT)
    return args.get(ARGUMENT)


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Return the convolution that a network begins with, and its name; None where none is known."""
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            return name, module
    return None


def channel_mismatch(network: nn.Module, given: int) -> str:
    """Return what a network begins with that takes other than ``given`` channels; else nothing."""
    found = first_convolution(network)
    if found is None or found[1].in_channels == given:
        return ""
    taken = f"begins with a convolution ({found[0]}) of {found[1].in_channels} channels"
    return f"{taken}, and is given {given} ({IN_WORDS[given]})"


def channels_of(network: nn.Module, args: Mapping[str, object]) -> int:
    """Return the channels that a network built from ``args`` takes: `GREY` or `COLOURS`."""
    argued = argued_channels(args)
    if isinstance(argued, int):
        return argued
    found = first_convolution(network)
    if found is not None and found[1].in_channels == GREY:
        return GREY
    return COLOURS


@dataclass(frozen=True)
class FirstChannels:
    """Channels that the first convolution takes: of a network, and of weights that are for it."""

    name: str
    network: int
    weights: int


def first_channels(network: nn.Module, tensors: Mapping[str, Tensor]) -> FirstChannels | None:
    """Return the channels of network and weights, by the shapes of the first convolution.

    None where there is none, the weights lack it, or theirs differs in more than its channels.
    """
    found = first_convolution(network)
    if found is None:
        return None
    name = f"{found[0]}.weight"
    given, expected = tensors.get(name), found[1].weight
    if given is None or given.ndim != expected.ndim or given.shape[0] != expected.shape[0]:
        return None
    return FirstChannels(name, int(expected.shape[1]), int(given.shape[1]))


def for_grey(values: Sequence[float]) -> tuple[float]:
    """Return the one number that stands for those of red, green and blue, weighed as `luma` is."""
    if len(values) == GREY:
        return (float(values[0]),)
    total = sum(weight * value for weight, value in zip(_LUMA, values, strict=True))
    return (round(total / sum(_LUMA), 6),)
