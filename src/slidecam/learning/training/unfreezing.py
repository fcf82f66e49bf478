"""Which weights of a network are trained, and how the rest is kept still."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from torch.nn.modules.batchnorm import _BatchNorm

from slidecam.errors import RecipeError
from slidecam.models.pretrained import INNER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

Trainable = str | int | tuple[str, ...]


def unfreeze(network: nn.Module, trainable: Trainable) -> tuple[str, ...]:
    """Let the named part of a network be trained and freeze all else.

    Return the names of what is trained.

    Parameters
    ----------
    network
        Changed in place: the ``requires_grad`` of its parameters.
    trainable
        ``all``; ``head``, the classifier's last layer; names of layers, each with everything below
        it; or a number, the last so many layers that hold weights of their own (convolutions,
        norms, linear layers), in the order in which the network names them.

    Raises
    ------
    RecipeError
        If a name is of no layer that holds weights.
    """
    prefixes = _prefixes(network, trainable)
    names = []
    for name, parameter in network.named_parameters():
        chosen = any(_begins(name, prefix) for prefix in prefixes)
        parameter.requires_grad_(chosen)
        if chosen:
            names.append(name)
    return tuple(names)


def head_names(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters of a network's classifier.

    Of a network with a ``backbone`` inside that is everything around it; of timm's what it states
    (``get_classifier``); else the last layer that holds weights, in the order in which the network
    names them.
    """
    if hasattr(network, INNER):
        return tuple(
            name for name, _parameter in network.named_parameters() if not _begins(name, INNER)
        )
    stated = getattr(network, "get_classifier", None)
    classifier = stated() if callable(stated) else None
    found = next((name for name, module in network.named_modules() if module is classifier), "")
    names = [name for name, _parameter in network.named_parameters()]
    chosen = [name for name in names if found and _begins(name, found)]
    last = "".join(_layers(network)[-1:])
    return tuple(chosen or [name for name in names if _begins(name, last)])


def set_modes(network: nn.Module, batch_norm: str) -> None:
    """Let what is trained train, and what is frozen compute as it will after training.

    A layer all of whose weights are frozen is in eval mode, with everything in it: its batch norms
    keep their statistics and it drops nothing. With ``batch_norm`` ``eval`` all batch norms keep
    their statistics.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        still = bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
        if still or (batch_norm == "eval" and isinstance(module, _BatchNorm)):
            module.eval()


def _prefixes(network: nn.Module, trainable: Trainable) -> Sequence[str]:
    if trainable == "all":
        return ("",)
    if trainable == "head":
        return head_names(network)
    if isinstance(trainable, int):
        return _layers(network)[-trainable:]
    names = (trainable,) if isinstance(trainable, str) else trainable
    for name in names:
        _check_layer(network, name)
    return names


def _check_layer(network: nn.Module, name: str) -> None:
    if not any(_begins(parameter, name) for parameter, _value in network.named_parameters()):
        known = [each for each, _module in network.named_modules() if each]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        children = ", ".join(each for each, _module in network.named_children())
        remedy = (
            f"Names like it are {', '.join(near)}."
            if near
            else f"The network's parts are {children}."
        )
        raise RecipeError(
            f"trainable names {name!r}, and no such layer of the network holds weights.", remedy
        )


def _layers(network: nn.Module) -> list[str]:
    """Return the names of the layers with weights of their own.

    A network's own loose weights are none.
    """
    return [
        name
        for name, module in network.named_modules()
        if name and list(module.parameters(recurse=False))
    ]


def _begins(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(f"{prefix}.")
