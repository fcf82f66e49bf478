"""Weights of another task as a start: all of a network but its classifier, which begins anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from slidecam.models.weight_formats import named_as_timm
from slidecam.models.weights import load_strictly, weights_from_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from slidecam.models.weight_formats import WeightsFormat

INNER = "backbone"
"""What our own architectures call the timm network inside them."""


def load_pretrained(
    network: nn.Module, path: Path, *, weights_format: WeightsFormat = "plain", trust: bool = False
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
    heads = _classifier_names(part)
    kept = {name: tensor for name, tensor in part.state_dict().items() if _within(name, heads)}
    trunk = {name: tensor for name, tensor in part.state_dict().items() if name not in kept}
    renamed = named_as_timm(tensors, weights_format, trunk, path)
    given = {name: tensor for name, tensor in renamed.items() if not _within(name, heads)}
    load_strictly(part, kept | given, path)
    taken = {prefix + name for name in trunk}
    return tuple(name for name in network.state_dict() if name not in taken)


def _part_for(network: nn.Module, names: Iterable[str]) -> tuple[nn.Module, str]:
    """Return what the file is for, and the prefix of its names there.

    It is for the network or for the timm network inside it.
    """
    inner = getattr(network, INNER, None)
    prefix = f"{INNER}."
    if not isinstance(inner, nn.Module) or any(name.startswith(prefix) for name in names):
        return network, ""
    return inner, prefix


def _classifier_names(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that give logits.

    Those that timm states, else the last linear layer.

    timm states them of a network built without a classifier, too: a file that has one is read
    without it.
    """
    config: Any = getattr(network, "pretrained_cfg", None) or {}
    stated = config.get("classifier")
    if stated:
        return (stated,) if isinstance(stated, str) else tuple(stated)
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return tuple(linear[-1:])


def _within(name: str, layers: Iterable[str]) -> bool:
    return any(name.startswith(f"{layer}.") for layer in layers)
