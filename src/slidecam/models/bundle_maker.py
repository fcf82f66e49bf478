"""Bundles from weights that lie about.

The architecture is named, the weights are fitted to it and tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from slidecam.errors import CardError, WeightsError
from slidecam.files import refuse_inputs
from slidecam.models.architectures import TIMM, build_network, full_name
from slidecam.models.bundle import Bundle, save_bundle
from slidecam.models.card import Card, Interpolation, check_card
from slidecam.models.card_file import CARD_FILE
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
from slidecam.models.checkpoints import WeightsFound, read_checkpoint
from slidecam.models.classifier import classifier_for
from slidecam.models.described import completed, described
from slidecam.models.fitting import FittedWeights, Wanted, fitted, network_tensors
from slidecam.models.networks import embedding_length
from slidecam.models.pretrained import WeightsFormat, classifier_names, named_as_timm
from slidecam.models.weights import COUNTER, FIT_REMEDY, few, load_strictly
from slidecam.models.wsinfer import is_hugging_face, is_wsinfer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.classes import Activation
    from slidecam.pixels import RGB
    from slidecam.viewing import Profile

HeadActivation = Literal["relu", "gelu", "silu"]

DENSE, KIMIANET = "slidecam/dense_head", "slidecam/kimianet"
READINGS = "readings"
"""Where a card's provenance keeps what had to be decided to make it, a sentence each."""

MOST_NAMED = 20
"""Names of tensors left out that a card lists."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BundleSpec:
    """What `make_bundle` needs to know; the options of ``slidecam bundle``.

    Attributes
    ----------
    architecture
        timm's name (``resnet50``, ``timm/resnet50``) or one of slidecam's own; empty for what lies
        beside the weights (see `described`), as are all that may be None.
    weights
        File of weights, list of shards or folder of them; see `read_checkpoint`.
    class_names
        One for each logit, in their order; empty for those that lie beside the weights.
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
        What a tile is resized to, and how; None for ``tile_px``, that is not at all, and bilinear.
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
    head_activation
        What stands between the two layers of a head with a hidden one, which no file says; None for
        ReLU.
    trust
        Whether ``weights`` may be a pickle.
    overwrite
        Whether a bundle that is there may be replaced.
    """

    architecture: str
    weights: Path
    class_names: tuple[str, ...]
    spacing: float | None
    tile_px: int | None
    architecture_args: Mapping[str, object] = field(default_factory=dict)
    name: str | None = None
    activation: Activation | None = None
    input_px: int | None = None
    interpolation: Interpolation | None = None
    mean: PerChannel | None = None
    std: PerChannel | None = None
    split: str | None = None
    class_colors: tuple[RGB, ...] = ()
    color_profile: Profile = "ignore"
    licence: str = "not stated"
    provenance: Mapping[str, object] = field(default_factory=dict)
    weights_format: WeightsFormat = "plain"
    weights_prefix: str | None = None
    head_activation: HeadActivation | None = None
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
    refuse_inputs([folder], [weights], whole=True)
    if is_wsinfer(weights) and not is_hugging_face(weights):
        problem = "This folder is a model of WSInfer's, which needs no bundle."
        raise WeightsError(weights, problem, "Pass it as --model (slidecam predict).")
    if GREY in map(len, filter(None, (spec.mean, spec.std))):
        spec = _for_grey(spec)
    checkpoint = read_checkpoint(weights, trust=spec.trust)
    spec, readings = completed(spec, checkpoint, card_path)
    network, card = _built(spec, folder)
    found: Mapping[str, torch.Tensor] = network_tensors(checkpoint.tensors, checkpoint.tables)
    if spec.weights_format == "plain":
        wanted = _wanted(network, len(spec.class_names))
        fit = fitted(checkpoint.tensors, wanted, weights, spec.weights_prefix)
        if fit.hidden is not None:
            spec, said = _with_hidden_layer(spec, network, fit.hidden)
            network, card = _built(spec, folder)
            readings += said
        elif spec.head_activation is not None:
            problem = "The head has no hidden layer for --head-activation to follow."
            raise WeightsError(weights, problem, "Leave it out.")
        found, readings = fit.tensors, readings + fit.readings
        card = _with_origin(card, fit)
    tensors = named_as_timm(found, spec.weights_format, network.state_dict(), weights)
    if _are_grey(spec, network, tensors, weights):
        spec = _for_grey(spec)
        network, grey_card = _built(spec, folder)
        card = replace(grey_card, provenance=card.provenance)
        tensors = named_as_timm(found, spec.weights_format, network.state_dict(), weights)
    if spec.weights_format == "kimianet" and card.architecture != KIMIANET:
        apart = f"KimiaNet has no ReLU before its pooling, as {card.architecture} has"
        readings += (f"{apart}; its own logits are those of --arch {KIMIANET}.",)
    remedy = _remedy(network, tensors, spec, checkpoint)
    load_strictly(network, tensors, weights, remedy or FIT_REMEDY)
    _try(network, card, weights, card_path)
    if readings:
        card = replace(card, provenance={**card.provenance, READINGS: list(readings)})
    return save_bundle(folder, card, tensors, overwrite=spec.overwrite)


def _remedy(
    network: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    spec: BundleSpec,
    whole: WeightsFound,
) -> str:
    """Return what would help weights that do not fit, where that can be seen; else nothing."""
    said = described(whole)
    if said.architecture and said.architecture != full_name(spec.architecture):
        return f"By {said.origin} it is {said.architecture}: leave --arch out to take that."
    if spec.weights_format != "plain":
        return ""
    expected, found = network.state_dict(), network_tensors(whole.tensors, whole.tables)
    for names in ("kimianet", "torchvision"):
        given = named_as_timm(found, names, expected, whole.path)
        if _shapes(given) == _shapes(expected):
            return f"The names are {names}'s: pass --weights-format {names}."
    layers = _wanted(network, 0).classifier
    missing = expected.keys() - tensors.keys()
    if layers and missing and all(name.startswith(layers) for name in missing):
        return "The file holds no classifier; train one on it: slidecam train --weights FILE."
    return ""


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    """Return the shape of each tensor, batch norms' counters left out."""
    return {name: each.shape for name, each in tensors.items() if not name.endswith(COUNTER)}


def _wanted(network: nn.Module, classes: int) -> Wanted:
    """Return what is looked for in a file: a network's tensors, and which are its classifier's."""
    layers = tuple(f"{name}." for name in classifier_names(network))
    embedding = None
    if hasattr(network, "pretrained_cfg"):
        embedding = embedding_length(network)
    return Wanted(network.state_dict(), layers, classes, embedding)


def _with_hidden_layer(
    spec: BundleSpec,
    network: nn.Module,
    hidden: int,
) -> tuple[BundleSpec, tuple[str, ...]]:
    """Return the same for `DenseHead` around the network, and what was decided."""
    inner = dict(spec.architecture_args)
    args: dict[str, object] = {
        "backbone": full_name(spec.architecture).removeprefix(TIMM),
        "hidden": hidden,
        "activation": spec.head_activation or "relu",
    }
    if ARGUMENT in inner:
        args[ARGUMENT] = inner.pop(ARGUMENT)
    if inner:
        args["backbone_args"] = inner
    mean, std = normalisation_of(network)
    readings: tuple[str, ...] = ()
    if spec.head_activation is None:
        assumed = "The file does not say what is between a head's two layers: ReLU is assumed"
        readings = (f"{assumed}; --head-activation says otherwise.",)
    return replace(
        spec,
        architecture=DENSE,
        architecture_args=args,
        mean=spec.mean or mean,
        std=spec.std or std,
    ), readings


def _with_origin(card: Card, fit: FittedWeights) -> Card:
    """Return a card that says where in the file the weights lay, and what of it they are not."""
    origin: dict[str, object] = {}
    if fit.prefix:
        origin["weights_prefix"] = fit.prefix
    if fit.left:
        origin["weights_left_out"] = few(sorted(fit.left), MOST_NAMED)
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
    spec: BundleSpec,
    network: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    weights: Path,
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
    tile_px = spec.tile_px or 0
    input_px = tile_px
    if spec.input_px is not None:
        input_px = spec.input_px
    return Card(
        name=spec.name or folder.resolve().name,
        architecture=architecture,
        architecture_args=spec.architecture_args,
        class_names=spec.class_names,
        class_colors=spec.class_colors,
        activation=spec.activation or activation,
        tile_px=tile_px,
        spacing=spec.spacing,
        input_px=input_px,
        interpolation=spec.interpolation or "bilinear",
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
