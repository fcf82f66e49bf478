"""A classifier on its device: tiles as bytes in, logits and the activation map they hang on out."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import nn
from torch.nn.functional import interpolate

from slidecam.errors import CardError, ExplanationError
from slidecam.models.backbones import TorchBackbone, check_device
from slidecam.models.folding import fold_batch_norms
from slidecam.models.splits import NamedLayer, TwoHalves, Whole, layout_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from slidecam.models.backbones import Backend, Precision
    from slidecam.models.card import Card
    from slidecam.models.splits import ClassifierPass, Split

AGREEMENT = 1e-4
"""How far logits and activation may be from the plain network's, relative to the largest; usual is 1e-6."""

_PROBE_TILES = 2
_REFUSALS = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)
"""What networks raise for inputs that they cannot take, or after a change that their code does not expect."""


@dataclass(frozen=True)
class Classifier:
    """A network ready to run. `classifier_for` and `Bundle.classifier` make them.

    Attributes
    ----------
    card
        What its outputs mean and what it must be given.
    device
        Where it is, and where its pixels must be.
    backend
        What runs the backbone, in words: ``torch, 53 batch norms folded, channels last, fp32``.
    has_map
        Whether there is an activation map that a class can be explained on.
    split
        The network itself.
    """

    card: Card
    device: torch.device
    backend: str
    has_map: bool
    split: Split

    def run(self, pixels: Tensor, *, gradients: bool) -> ClassifierPass:
        """Return logits and activation map of a batch of tiles, from one pass.

        Parameters
        ----------
        pixels
            uint8, (B, H, W, 3), red, green, blue, on `device`; H and W are the card's ``input_px``.
        gradients
            Whether the logits are to hang on the activation, for an explanation. Nothing else requires
            gradients.

        Raises
        ------
        ExplanationError
            If ``gradients`` are asked for and there is no map.
        """
        if gradients and not self.has_map:
            raise ExplanationError(f"{self.card.name} has no activation map.", "Pass --heatmap none.")
        return self.split(normalised(pixels, self.card), gradients=gradients)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return probabilities (B, K) of logits (B, K), by the card's activation."""
        if self.card.activation == "softmax":
            return logits.softmax(1)
        return logits.sigmoid() if self.card.activation == "sigmoid" else logits


def normalised(pixels: Tensor, card: Card) -> Tensor:
    """Return ``(pixels / 255 - mean) / std`` as float32, (B, 3, H, W), of uint8 (B, H, W, 3).

    The memory stays as it lies, which is what torch calls channels last.
    """
    scaled = pixels.permute(0, 3, 1, 2).float().div_(255)
    mean, std = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (card.mean, card.std))
    return scaled.sub_(mean).div_(std)


def classifier_for(
    network: nn.Module,
    card: Card,
    device: torch.device,
    precision: Precision = "fp32",
    backend: Backend = "folded",
    *,
    path: Path | str | None = None,
) -> Classifier:
    """Return a classifier that computes what ``network`` computes.

    Parameters
    ----------
    network
        With its weights, on the CPU. It is copied, and not changed.
    card
        Says how it is cut in two: at the layer ``split``, else at ``forward_features`` / ``forward_head``; a
        network with neither is run whole and has no map.
    device, precision
        Where and how exactly to compute. ``bf16`` is for the backbone, the head stays in float32.
    backend
        ``eager`` runs the network as it is; ``folded`` folds batch norms into convolutions and lays memory
        out channels last. Either is compared with the plain network on two tiles of noise; what differs by
        more than `AGREEMENT` is not used, and `Classifier.backend` says what is.
    path
        The card's file, for messages; None for its name.

    Raises
    ------
    CardError
        If the network cannot run on tiles of the card's size, has another number of logits than the card has
        classes, or has no layer ``split`` that gives one tensor.
    DeviceError
        If the device or precision is not to be had.
    """
    check_device(device, precision, backend)
    plain = _own(network)
    probe = normalised(_noise(card.input_px), card)
    where = card.name if path is None else path
    logits = _plain_logits(plain, probe, card, where)
    eager = _eager(plain)
    reference = _attempt(eager, card, probe)
    if reference is None or not _close(reference.logits, logits):
        _refuse_named(card, where)
        eager = _Variant(plain, "torch, eager, not split", whole=True)
        return _placed(eager, card, device, precision, has_map=False)
    candidates = _folded(plain, card, probe) if backend == "folded" and not _is_script(plain) else ()
    same = (variant for variant in candidates if _agree(_attempt(variant, card, probe), reference))
    has_map = reference.activation is not None
    return _placed(next(same, eager), card, device, precision, has_map=has_map)


@dataclass(frozen=True)
class _Variant:
    """One way to run a network."""

    network: nn.Module
    words: str
    channels_last: bool = False
    whole: bool = False

    def split(self, card: Card, precision: Precision) -> Split:
        network, layout = self.network, partial(layout_of, self.network)
        if self.whole or not (card.split or _has_halves(network)):
            return Whole(network, precision)
        if card.split is not None:
            layer = network.get_submodule(card.split)
            return NamedLayer(network, layer, layout, self.channels_last, precision)
        halves = cast("_Halves", network)
        return TwoHalves(
            TorchBackbone(halves.forward_features, self.channels_last, precision), halves.forward_head, layout
        )


class _Halves(Protocol):
    def forward_features(self, pixels: Tensor) -> Tensor: ...

    def forward_head(self, features: Tensor) -> Tensor: ...


def _own(network: nn.Module) -> nn.Module:
    if _is_script(network):
        return network.eval()  # cannot be copied or frozen, and is never given gradients
    return copy.deepcopy(network).eval().requires_grad_(requires_grad=False)


def _eager(plain: nn.Module) -> _Variant:
    if _is_script(plain):
        return _Variant(plain, "torch, TorchScript", whole=True)
    return _Variant(plain, "torch, eager")


def _folded(plain: nn.Module, card: Card, probe: Tensor) -> Iterator[_Variant]:
    """Yield faster ways to run the network, fastest first, each on a copy of its own."""
    network = copy.deepcopy(plain)
    kept = None if card.split is None else network.get_submodule(card.split)
    with suppress(*_REFUSALS):  # code that reads its own batch norms; they stay in place then
        count = fold_batch_norms(network, probe[:1], kept=kept)
        words = f"torch, {count} batch norms folded, channels last"
        yield _Variant(_channels_last(network), words, channels_last=True)
    yield _Variant(_channels_last(copy.deepcopy(plain)), "torch, channels last", channels_last=True)


def _channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)


def _attempt(variant: _Variant, card: Card, probe: Tensor) -> ClassifierPass | None:
    try:
        return variant.split(card, "fp32")(probe, gradients=False)
    except _REFUSALS:
        return None


def _agree(passed: ClassifierPass | None, reference: ClassifierPass) -> bool:
    if passed is None or not _close(passed.logits, reference.logits):
        return False
    if passed.activation is None or reference.activation is None:
        return passed.activation is reference.activation
    return _close(passed.activation, reference.activation)


def _close(values: Tensor, expected: Tensor) -> bool:
    if values.shape != expected.shape:
        return False
    return bool((values - expected).abs().max() <= AGREEMENT * expected.abs().max())


def _placed(variant: _Variant, card: Card, device: torch.device, precision: Precision, *, has_map: bool) -> Classifier:
    variant.network.to(device)
    return Classifier(card, device, f"{variant.words}, {precision}", has_map, variant.split(card, precision))


def _plain_logits(network: nn.Module, probe: Tensor, card: Card, where: Path | str) -> Tensor:
    """Return what the network as it is says of two tiles of noise, having checked that it can run at all."""
    if card.split is not None and card.split not in dict(network.named_modules()):
        raise CardError(where, f'"split" is {card.split!r}, and the network has no such layer.', _layers(network))
    try:
        with torch.no_grad():
            logits = network(probe.contiguous())  # laid out as the eager backend lays it out
    except _REFUSALS as error:
        problem = f"{card.architecture} cannot run on tiles of {card.input_px} px: {_first_line(error)}."
        raise CardError(where, problem, 'Correct "resize.size" or "architecture_args" on the card.') from error
    expected = (_PROBE_TILES, len(card.class_names))
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        problem = f"{card.architecture} gives {found} for two tiles, and the card names {expected[1]} classes."
        raise CardError(where, problem, "Name one class for each logit.")
    return logits.float()


def _refuse_named(card: Card, where: Path | str) -> None:
    if card.split is not None:
        problem = f'"split" is {card.split!r}, a layer that does not run or whose output is no single tensor.'
        raise CardError(where, problem, "Name a layer that gives one activation map.")


def _layers(network: nn.Module, few: int = 12) -> str:
    names = [name for name, _child in network.named_children()]
    return f"Name one of {', '.join(names[:few])}, or a layer inside one."


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _noise(edge: int) -> Tensor:
    """Return the same two tiles of noise each time, without touching the global random state.

    Smooth noise, as tissue is smooth: pixels that jump make some networks amplify rounding a thousandfold.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((_PROBE_TILES, 3, 8, 8), generator=generator)
    smooth = interpolate(coarse, (edge, edge), mode="bilinear", align_corners=False)
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1)


def _is_script(network: nn.Module) -> bool:
    return isinstance(network, torch.jit.ScriptModule)


def _has_halves(network: nn.Module) -> bool:
    return all(callable(getattr(network, name, None)) for name in ("forward_features", "forward_head"))
