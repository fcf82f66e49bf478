"""A classifier on its device: tiles as bytes in, logits and the activation map they hang on out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from slidecam.errors import CardError, ExplanationError
from slidecam.models.backends import AUTO, BACKENDS, UNTRIED, check_device
from slidecam.models.channels import GREY, REMEDY, channel_mismatch, luma
from slidecam.models.choice import Chosen, Trials
from slidecam.models.ensemble import disagreement, first_of
from slidecam.models.linear_head import LinearHead, find_linear_head
from slidecam.models.splits import (
    ClassifierPass,
    NetworkSplit,
    Precision,
    Through,
    TwoHalves,
    arithmetic,
    laid_out,
)
from slidecam.models.stain import restained
from slidecam.models.trial import fastest
from slidecam.models.variants import (
    REFUSALS,
    Variant,
    cause_of_no_map,
    find_cut,
    plain_copy,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from slidecam.models.card import Card

_PROBE_TILES = 2
_FEW = 12
"""Layers that a message lists."""

NOT_A_NUMBER = "the classifier gave a value that is not a finite number"
"""Why a tile, slice or picture has no result."""


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
    backend_name
        Which of `BACKENDS` that is: where ``auto`` was named, the one that it came to.
    has_map, no_map
        Whether there is an activation map to explain a class on; and why not, in a clause.
    split
        The network, cut in two.
    network
        The network itself: frozen, in eval mode, folded if it is run so.
    channels_last
        Whether it is run on pixels laid out so.
    linear_head
        What the logits are of the activation's average, if that is one linear layer; None if it is
        more.
    overlaps
        Whether two threads may run it, one of which computes the backbone meanwhile: see
        `Backend`.
    notes
        What a person should know of how it came to be run so, as sentences.
    """

    card: Card
    device: torch.device
    backend: str
    has_map: bool
    split: NetworkSplit = field(repr=False)
    network: nn.Module = field(repr=False)
    channels_last: bool = False
    linear_head: LinearHead | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    no_map: str = ""
    backend_name: str = UNTRIED
    overlaps: bool = False

    @property
    def ahead(self) -> int:
        """How many batches are being computed when the first is wanted."""
        return int(self.overlaps or self.device.type == "cuda")

    def run(
        self,
        pixels: Tensor,
        *,
        gradients: bool,
        through: Through | None = None,
    ) -> ClassifierPass:
        """Return logits and activation map of a batch of tiles, from one pass.

        Parameters
        ----------
        pixels
            uint8, (B, H, W, 3), red, green, blue, on `device`; H and W are the card's ``input_px``.
        gradients
            Whether the logits are to hang on the activation, for an explanation. Nothing else
            requires gradients.
        through
            Changes the activation before the head sees it.

        Raises
        ------
        ExplanationError
            If ``gradients`` or ``through`` are asked for and there is no map.
        """
        given = normalised(pixels, self.card)
        return self.run_normalised(given, gradients=gradients, through=through)

    def run_normalised(
        self,
        pixels: Tensor,
        *,
        gradients: bool,
        through: Through | None = None,
    ) -> ClassifierPass:
        """Return what `run` does, of pixels as `normalised` returns them: (B, C, H, W), float32."""
        if (gradients or through is not None) and not self.has_map:
            problem = f"The model {self.card.name} has no activation map: {self.no_map}."
            raise ExplanationError(problem, "Pass --heatmap none.")
        return self.split(pixels, gradients=gradients, through=through)

    def logits_of(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of pixels as `normalised` returns them, computed wholly in float32.

        They hang on ``pixels`` if those require gradients, whatever the caller's grad mode is; on
        nothing else.
        """
        with (
            torch.set_grad_enabled(pixels.requires_grad),
            arithmetic(pixels.device, "fp32"),
        ):
            given = laid_out(pixels, channels_last=self.channels_last)
            # A copy, because what requires gradients may not be computed on in place, and networks
            # do that.
            if pixels.requires_grad:
                given = given.clone()
            logits: Tensor = self.network(given)
        return logits.float()

    def disagreement(self, passed: ClassifierPass) -> Tensor | None:
        """Return how far an ensemble's members disagree of each tile, (B,), from 0 to 1.

        See `ensemble.disagreement`. None of a single network, and where outputs are scores.
        """
        if passed.members is None or not self.card.has_members:
            return None
        return disagreement(passed.members, self.card.architecture_args, self.card.activation)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return probabilities (B, K) of logits (B, K), calibrated as the card says."""
        if self.card.activation == "none":
            return logits
        calibrated = logits / self.card.temperature
        calibrated += logits.new_tensor(self.card.class_biases or 0.0)
        if self.card.activation == "softmax":
            return calibrated.softmax(1)
        return calibrated.sigmoid()


def normalised(pixels: Tensor, card: Card) -> Tensor:
    """Return pixels as a network is given them, float32, (B, C, H, W), of uint8 (B, H, W, 3).

    Their stains are normalised as the card says (`restained`), then they are `scaled`.
    """
    return scaled(restained(pixels, card.stain), card)


def scaled(pixels: Tensor, card: Card) -> Tensor:
    """Return ``(pixels / 255 - mean) / std`` of pixels whose stains are normalised already.

    C is the card's channels; of 1 the pixels are made grey first, by `luma`. The memory stays as it
    lies, which is what torch calls channels last.
    """
    if card.channels == GREY:
        pixels = luma(pixels)
    shares = pixels.permute(0, 3, 1, 2).float().div_(255)
    mean = torch.tensor(card.mean, device=pixels.device)
    std = torch.tensor(card.std, device=pixels.device)
    return shares.sub_(mean.view(1, -1, 1, 1)).div_(std.view(1, -1, 1, 1))


def classifier_for(
    network: nn.Module,
    card: Card,
    device: torch.device,
    precision: Precision = "fp32",
    backend: str = "folded",
    *,
    path: Path | str | None = None,
    own: bool = False,
) -> Classifier:
    """Return a classifier that computes what ``network`` computes.

    Parameters
    ----------
    network
        With its weights, on the CPU. It is copied, and not changed, unless it is ``own``.
    card
        Says how it is cut in two: at the layer ``split``, else at ``forward_features`` /
        ``forward_head``. A transformer of tokens is cut at the first norm of its last block, where
        its patches still have a say in the logits. A network with none of these is run whole and
        has no map.
    device, precision
        Where and how exactly to compute. ``bf16`` is for the backbone, the head stays in float32.
    backend
        One of `BACKENDS`. Each is compared with the plain network on two tiles of noise; what
        differs (see `choice`) is not used, and `Classifier.backend` says what is.
    path
        The card's file, for messages; None for its name.
    own
        Whether nobody else holds the network, so that its weights need not be there twice.

    Raises
    ------
    CardError
        If the network cannot run on tiles of the card's size, has another number of logits than the
        card has classes, or has no layer ``split`` that gives one tensor.
    DeviceError
        If the device or precision is not to be had.
    """
    check_device(device, precision, backend)
    plain = plain_copy(network, own=own)
    probe, where = normalised(_noise(card.input_px), card), path or card.name
    logits = _plain_logits(plain, probe, card, where)
    eager, reference = find_cut(plain, card.split, probe, logits)
    if reference is None:
        _refuse_named(card, where)
        whole = Variant(plain, "torch, eager, not split", whole=True)
        chosen = Chosen("eager", whole, whole.split(precision))
    else:
        trials = Trials(eager, probe, reference, precision)
        if backend == AUTO and device.type == "cpu":
            chosen = fastest(trials, card)
        else:
            chosen = trials.chosen(backend)
    variant = chosen.variant
    cause = cause_of_no_map(plain, probe, reference)
    head = None
    if not cause:
        head = _head_of(replace(variant, runner=None).split("fp32"), probe, device)
    return Classifier(
        card=card,
        device=device,
        backend=f"{variant.words}, {precision}",
        backend_name=chosen.name,
        has_map=not cause,
        network=variant.network.to(device),
        split=chosen.split,
        channels_last=variant.channels_last,
        linear_head=head,
        notes=(*chosen.notes, *chosen.remarks),
        no_map=cause,
        overlaps=variant.runner is not None and BACKENDS[chosen.name].overlaps,
    )


def _head_of(split: NetworkSplit, probe: Tensor, device: torch.device) -> LinearHead | None:
    if isinstance(split, TwoHalves):
        # The head is asked several times, of one activation.
        found = split.backbone(probe)
        split = replace(split, backbone=lambda _pixels: found)

    def passed_through(through: Through) -> ClassifierPass:
        return split(probe, gradients=False, through=through)

    head = find_linear_head(split(probe, gradients=True), passed_through)
    if head is None:
        return None
    return LinearHead(head.weight.to(device), head.bias.to(device))


def _plain_logits(network: nn.Module, probe: Tensor, card: Card, where: Path | str) -> Tensor:
    """Return the plain network's logits of two tiles of noise, having checked that it runs."""
    if card.split is not None and card.split not in dict(first_of(network).named_modules()):
        problem = f'"split" is {card.split!r}, and the network has no such layer.'
        names = [name for name, _child in network.named_children()]
        remedy = f"Name one of {', '.join(names[:_FEW])}, or a layer inside one."
        raise CardError(where, problem, remedy)
    try:
        with torch.no_grad():
            logits = network(probe.contiguous())  # laid out as the eager backend lays it out
    except REFUSALS as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        problem = (
            f"The network {card.architecture} cannot run on tiles of {card.input_px} px: {line}."
        )
        remedy = 'Correct "resize.size" or "architecture_args" on the card.'
        taken = channel_mismatch(network, card.channels)
        if taken:
            problem, remedy = f"The network {card.architecture} {taken}.", REMEDY
        raise CardError(where, problem, remedy) from error
    expected = (_PROBE_TILES, len(card.class_names))
    found: object = type(logits).__name__
    if isinstance(logits, Tensor):
        found = tuple(logits.shape)
        if found == expected:
            return logits.float()
    problem = (
        f"The network {card.architecture} gives {found} for two tiles, and the card names"
        f" {expected[1]} classes."
    )
    raise CardError(where, problem, "Name one class for each logit.")


def _refuse_named(card: Card, where: Path | str) -> None:
    if card.split is not None:
        problem = (
            f'"split" is {card.split!r}, a layer that does not run or whose output is no single'
            " tensor."
        )
        raise CardError(where, problem, "Name a layer that gives one activation map.")


def _noise(edge: int) -> Tensor:
    """Return the same two tiles of noise each time.

    Smooth: by pixels that jump some networks amplify rounding a thousandfold.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((_PROBE_TILES, 3, 8, 8), generator=generator)
    smooth = interpolate(coarse, (edge, edge), mode="bilinear", align_corners=False)
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1)
