"""Weights of another task as a start: all of a network but its classifier, which begins anew.

Other programs' weights are renamed as timm names its layers first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import Tensor, nn

from slidecam.errors import WeightsError
from slidecam.models.channels import COLOURS, GREY, first_convolution
from slidecam.models.checkpoints import weights_from_file
from slidecam.models.light_timm import timm
from slidecam.models.weights import COUNTER, load_strictly

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


WeightsFormat = Literal["plain", "torchvision", "kimianet"]

_HEAD_TENSORS = 2
"""Weight and bias of the last layer, whose shape is another task's."""

_LEGACY_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")
_KIMIANET_FEATURES = re.compile(r"^(?:model\.)?0\.")
_KIMIANET_HEAD = re.compile(r"^fc_4\.")


def named_as_timm(
    tensors: Mapping[str, Tensor],
    weights_format: WeightsFormat,
    expected: Mapping[str, Tensor],
    path: Path,
) -> dict[str, Tensor]:
    """Return tensors of a file under the names that timm's network has for them.

    Parameters
    ----------
    tensors
        As `weights_from_file` gives them.
    weights_format
        ``plain``: the names are timm's. ``torchvision``: torchvision's, which for ResNets and
        DenseNets are timm's (the DenseNet files on its site have names older than that: ``norm.1``
        for ``norm1``), and which elsewhere (MobileNetV2, EfficientNet) are matched by order, if all
        kinds and shapes agree. ``kimianet``: KimiaNet's ``KimiaNetPyTorchWeights.pth``, a
        DenseNet121 under ``model.0`` and a layer ``fc_4`` of 30 TCGA diagnoses.
    expected
        What of the network's own state dict is to come from the file: all of it, or all but the
        classifier.
    path
        The file, for messages.

    Raises
    ------
    WeightsError
        If there is no such format. Names that fit nothing are left as they are, for `load_strictly`
        to tell of.

    Notes
    -----
    KimiaNet averages its map as the last batch norm leaves it, and timm's DenseNet121 as the ReLU
    after it does. With a classifier that is trained anew that is no matter; the 30 diagnoses'
    logits are KimiaNet's own with the architecture ``slidecam/kimianet``.
    """
    if weights_format not in get_args(WeightsFormat):
        problem = f"{weights_format!r} is not a known format of weights."
        raise WeightsError(path, problem, f"Use one of {', '.join(get_args(WeightsFormat))}.")
    if weights_format == "torchvision":
        return _from_torchvision(tensors, expected)
    renamed = dict(tensors)
    if weights_format == "kimianet":
        for name in tensors:
            ours = _KIMIANET_FEATURES.sub("features.", name)
            renamed[_KIMIANET_HEAD.sub("classifier.", ours)] = renamed.pop(name)
    return renamed


def _from_torchvision(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    renamed = {_LEGACY_DENSENET.sub(r"\1\2", name): tensors[name] for name in tensors}
    if len(renamed.keys() & expected.keys()) > _HEAD_TENSORS:
        return renamed
    return _matched_by_order(renamed, expected)


def _matched_by_order(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return ``tensors`` under the names of ``expected``, if the two match.

    They match if both list the same kinds and shapes in the same order.

    Both list their layers as they run, so that equal sequences are equal networks. A last layer
    that is not expected is left out. Where the sequences differ, the names stay.
    """
    theirs = [name for name in tensors if not name.endswith(COUNTER)]
    ours = [name for name in expected if not name.endswith(COUNTER)]
    if len(theirs) - len(ours) not in {0, _HEAD_TENSORS}:
        return dict(tensors)
    matched = {}
    for name, old in zip(ours, theirs, strict=False):
        tensor = tensors[old]
        same_kind = name.rpartition(".")[2] == old.rpartition(".")[2]
        if not same_kind or tensor.shape != expected[name].shape:
            return dict(tensors)
        matched[name] = tensor
    return matched


INNER = "backbone"
"""What our own architectures call the timm network inside them."""


def load_pretrained(
    network: nn.Module,
    path: Path,
    *,
    weights_format: WeightsFormat = "plain",
    trust: bool = False,
) -> tuple[str, ...]:
    """Copy weights of another task from a file into ``network``, and leave its classifier as it is.

    Parameters
    ----------
    network
        timm's, or one of ours. If it has a timm network inside (``backbone``) and the file's names
        do not say so, the file is for that.
    path, trust
        As for `weights_from_file`.
    weights_format
        Whose names the file has; see `named_as_timm`.

    Returns
    -------
    tuple of str
        Names in ``network`` that keep the values they had: the classifier's, and what is around an
        inner network.

    Raises
    ------
    UntrustedCodeError
        If the file is a pickle and ``trust`` is False.
    WeightsError
        If it cannot be read, or does not fit but for the classifier. The network is unchanged then.
    """
    tensors = weights_from_file(path, trust=trust)
    part, prefix = _part_for(network, tensors)
    heads = classifier_names(part)
    kept, trunk = _parted(part.state_dict(), heads)
    renamed = _for_channels(part, tensors, weights_format, trunk, path)
    _theirs, given = _parted(renamed, heads)
    load_strictly(part, kept | given, path)
    taken = {prefix + name for name in trunk}
    return tuple(name for name in network.state_dict() if name not in taken)


def _for_channels(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    weights_format: WeightsFormat,
    trunk: Mapping[str, Tensor],
    path: Path,
) -> dict[str, Tensor]:
    """Return a file's tensors by timm's names, those of colours fitted to a network of grey.

    The first convolution is summed over red, green and blue then, as timm does it.
    """
    named = named_as_timm(tensors, weights_format, trunk, path)
    found = first_convolution(network)
    if found is None or found[1].in_channels != GREY:
        return named
    name = f"{found[0]}.weight"
    if name not in named and name in trunk:
        # Names that are matched by the order of shapes: those of a network of colours.
        coloured = {**trunk, name: trunk[name].expand(-1, COLOURS, -1, -1)}
        named = named_as_timm(tensors, weights_format, coloured, path)
    if name in named and named[name].shape[1] == COLOURS:
        named[name] = timm.models.adapt_input_conv(GREY, named[name])
    return named


def _part_for(network: nn.Module, names: Iterable[str]) -> tuple[nn.Module, str]:
    """Return what the file is for, and the prefix of its names there.

    It is for the network or for the timm network inside it.
    """
    inner = getattr(network, INNER, None)
    prefix = f"{INNER}."
    if not isinstance(inner, nn.Module) or any(name.startswith(prefix) for name in names):
        return network, ""
    return inner, prefix


def classifier_names(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that give logits.

    Those that timm states, else the last linear layer.

    timm states them of a network built without a classifier, too: a file that has one is read
    without it.
    """
    config: Any = getattr(network, "pretrained_cfg", None) or {}
    stated = config.get("classifier")
    if stated:
        if isinstance(stated, str):
            return (stated,)
        return tuple(stated)
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return tuple(linear[-1:])


def _parted(
    tensors: Mapping[str, Tensor],
    layers: tuple[str, ...],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of some layers, and the rest."""
    prefixes = tuple(f"{layer}." for layer in layers)
    inside, rest = {}, {}
    for name, tensor in tensors.items():
        if name.startswith(prefixes):
            inside[name] = tensor
        else:
            rest[name] = tensor
    return inside, rest
