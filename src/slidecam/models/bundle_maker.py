"""Bundles from weights that lie about.

The architecture is named, the weights are fitted to it and tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from slidecam.errors import CardError, WeightsError
from slidecam.models.architectures import build_network, full_name
from slidecam.models.bundle import Bundle, save_bundle
from slidecam.models.card import CARD_FILE, Card, Interpolation, check_card
from slidecam.models.channels import (
    ARGUMENT,
    COLOURS,
    GREY,
    REMEDY,
    PerChannel,
    argued_channels,
    channel_problem,
    channels_of,
    first_channels,
    for_grey,
)
from slidecam.models.classifier import classifier_for
from slidecam.models.pretrained import WeightsFormat, named_as_timm
from slidecam.models.weights import FittedWeights, fitted, load_strictly, weights_from_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.classes import Activation
    from slidecam.pixels import RGB
    from slidecam.viewing import Profile

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BundleSpec:
    """What `make_bundle` needs to know; the options of ``slidecam bundle``.

    Attributes
    ----------
    architecture
        timm's name (``resnet50``, ``timm/resnet50``) or one of slidecam's own.
    weights
        File of weights; see `weights_from_file`.
    class_names
        One for each logit, in their order.
    spacing, tile_px
        µm per pixel of the tiles that the network was trained on, and their edge in pixels. Without
        a spacing it sees whole pictures.
    architecture_args
        Keyword arguments of the architecture (``{"pad_type": "same"}``). Without ``in_chans`` the
        shape of the weights' first convolution says whether it sees colours or grey.
    name
        What to call it; None for the folder's name.
    activation
        None for a sigmoid of one class and a softmax of more.
    input_px, interpolation
        What a tile is resized to; None for ``tile_px``, that is not at all.
    mean, std
        Normalisation on a scale of 0 to 1, of red, green, blue or of grey; None for what timm
        states for the architecture, else ImageNet's (of grey, weighed as grey is).
    split
        The layer to explain; None for ``forward_features``.
    class_colors
        Empty for the default palette.
    color_profile
        Whether pictures' ICC profiles are applied, as in `Card`.
    licence, provenance
        Under what and from where.
    weights_format
        Whose names the weights have; see `named_as_timm`.
    weights_prefix
        What the names of the weights begin with, of weights that hold more; None to find it. See
        `fitted`.
    trust
        Whether ``weights`` may be a pickle.
    overwrite
        Whether a bundle that is there may be replaced.
    """

    architecture: str
    weights: Path
    class_names: tuple[str, ...]
    spacing: float | None
    tile_px: int
    architecture_args: Mapping[str, object] = field(default_factory=dict)
    name: str | None = None
    activation: Activation | None = None
    input_px: int | None = None
    interpolation: Interpolation = "bilinear"
    mean: PerChannel | None = None
    std: PerChannel | None = None
    split: str | None = None
    class_colors: tuple[RGB, ...] = ()
    color_profile: Profile = "ignore"
    licence: str = "not stated"
    provenance: Mapping[str, object] = field(default_factory=dict)
    weights_format: WeightsFormat = "plain"
    weights_prefix: str | None = None
    trust: bool = False
    overwrite: bool = False


def make_bundle(spec: BundleSpec, directory: Path | str) -> Bundle:
    """Write a bundle of local weights into ``directory``, having seen it classify a tile.

    Raises
    ------
    CardError
        If the architecture is not known, cannot be built or cannot run on tiles of that size, or
        ``spec`` says something impossible.
    WeightsError
        If the weights cannot be read, do not fit, or give logits that are not finite.
    UntrustedCodeError
        If they are a pickle and ``spec.trust`` is False.
    BundleError
        If there is something in ``directory`` and ``spec.overwrite`` is False.
    """
    folder = Path(directory)
    card_path, weights = folder / CARD_FILE, Path(spec.weights)
    if GREY in map(len, filter(None, (spec.mean, spec.std))):
        spec = _for_grey(spec)
    network, card = _built(spec, folder)
    found = weights_from_file(weights, trust=spec.trust)
    if spec.weights_format == "plain":
        fit = fitted(found, network.state_dict(), weights, spec.weights_prefix)
        found, card = fit.tensors, _with_origin(card, fit)
    tensors = named_as_timm(found, spec.weights_format, network.state_dict(), weights)
    if _are_grey(spec, network, tensors, weights):
        spec = _for_grey(spec)
        network, grey_card = _built(spec, folder)
        card = replace(grey_card, provenance=card.provenance)
        tensors = named_as_timm(found, spec.weights_format, network.state_dict(), weights)
    load_strictly(network, tensors, weights)
    _try(network, card, weights, card_path)
    return save_bundle(folder, card, tensors, overwrite=spec.overwrite)


def _with_origin(card: Card, fit: FittedWeights) -> Card:
    """Return a card that says where in the file the weights lay, and what of it they are not."""
    origin: dict[str, object] = {}
    if fit.prefix:
        origin["weights_prefix"] = fit.prefix
    if fit.left:
        origin["weights_left_out"] = sorted(fit.left)
    return replace(card, provenance={**card.provenance, **origin})


def _built(spec: BundleSpec, folder: Path) -> tuple[nn.Module, Card]:
    """Return the network without its weights, and its card, which is found to be possible."""
    path, architecture = folder / CARD_FILE, full_name(spec.architecture)
    problem = channel_problem(argued_channels(spec.architecture_args) or COLOURS)
    if problem:
        raise CardError(path, f"The network {architecture} is to have {problem}.", REMEDY)
    network = build_network(architecture, spec.architecture_args, len(spec.class_names), path)
    card = _card(spec, network, architecture, folder)
    check_card(card, path)
    return network, card


def _for_grey(spec: BundleSpec) -> BundleSpec:
    """Return the same for a network of one channel, where its channels were not said."""
    if argued_channels(spec.architecture_args) is not None:
        return spec
    return replace(spec, architecture_args={**spec.architecture_args, ARGUMENT: GREY})


def _are_grey(
    spec: BundleSpec, network: nn.Module, tensors: Mapping[str, torch.Tensor], weights: Path
) -> bool:
    """Whether weights begin with a convolution of grey, and the network with one of colours.

    Raises
    ------
    WeightsError
        If they differ in other numbers of channels, or it was said how many the network has.
    """
    first = first_channels(network, tensors)
    if first is None or first.network == first.weights:
        return False
    argued = argued_channels(spec.architecture_args)
    if first.weights == GREY and first.network == COLOURS and argued is None:
        return True
    problem = f"The first convolution ({first.name}) takes"
    if channel_problem(first.weights):
        raise WeightsError(weights, f"{problem} {channel_problem(first.weights)}.", REMEDY)
    problem = f"{problem} {first.weights} channels, and {ARGUMENT} is {argued or COLOURS}."
    raise WeightsError(weights, problem, f"Pass --arch-arg {ARGUMENT}={first.weights}.")


def _card(spec: BundleSpec, network: nn.Module, architecture: str, folder: Path) -> Card:
    channels = channels_of(network, spec.architecture_args)
    mean, std = normalisation_of(network, channels)
    activation: Activation = "softmax"
    if len(spec.class_names) == 1:
        activation = "sigmoid"
    input_px = spec.tile_px
    if spec.input_px is not None:
        input_px = spec.input_px
    return Card(
        name=spec.name or folder.resolve().name,
        architecture=architecture,
        architecture_args=spec.architecture_args,
        class_names=spec.class_names,
        class_colors=spec.class_colors,
        activation=spec.activation or activation,
        tile_px=spec.tile_px,
        spacing=spec.spacing,
        input_px=input_px,
        interpolation=spec.interpolation,
        mean=spec.mean or mean,
        std=spec.std or std,
        split=spec.split,
        color_profile=spec.color_profile,
        channels=channels,
        licence=spec.licence,
        provenance={"weights": Path(spec.weights).name, **spec.provenance},
    )


def normalisation_of(network: nn.Module, channels: int = COLOURS) -> tuple[PerChannel, PerChannel]:
    """Return mean and deviation that timm states for a network's weights, else ImageNet's.

    Of ``channels`` numbers; timm states those of colours, which are weighed as grey is.
    """
    stated: Any = getattr(network, "pretrained_cfg", None) or {}
    mean = tuple(stated.get("mean", IMAGENET_MEAN))
    std = tuple(stated.get("std", IMAGENET_STD))
    if channels == GREY:
        return for_grey(mean), for_grey(std)
    return mean, std


def _try(network: nn.Module, card: Card, weights: Path, card_path: Path) -> None:
    """Classify one grey tile, so that a bundle that is written is one that runs."""
    classifier = classifier_for(network, card, torch.device("cpu"), backend="eager", path=card_path)
    grey = torch.full((1, card.input_px, card.input_px, 3), 128, dtype=torch.uint8)
    if not classifier.run(grey, gradients=False).logits.isfinite().all():
        problem = "With these weights the logits of a grey tile are not finite."
        raise WeightsError(weights, problem, "Check the file, and the mean and std.")
