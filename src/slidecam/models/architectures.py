"""Which networks a card can name: timm's, and slidecam's own.

One of our own is any ``nn.Module`` class that takes ``num_classes`` and the card's
``architecture_args`` as keywords and has timm's two halves, ``forward_features`` (pixels to
activation map) and ``forward_head`` (map to logits). To add one, write it in a module here and name
it in `ARCHITECTURES`; in another package, name an `Architecture` by an entry point of the group
``slidecam.architectures``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from slidecam.errors import CardError
from slidecam.registry import Entry, Registry, deferred, resolve
from slidecam.settings import names_like

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import timm
    import torch
    from torch import nn

    from slidecam.models import networks
else:
    timm = deferred("timm")
    torch = deferred("torch")
    networks = deferred("slidecam.models.networks")

TIMM = "timm/"


@dataclass(frozen=True)
class Architecture(Entry):
    """A network that cards can name.

    Attributes
    ----------
    network
        The ``nn.Module`` class, or what makes one; or its ``module:attribute``. It takes
        ``num_classes`` and the card's ``architecture_args`` as keywords.
    """

    network: Callable[..., nn.Module] | str


_HERE = "slidecam.models"

ARCHITECTURES: Registry[Architecture] = Registry(
    "slidecam.architectures",
    Architecture,
    (
        Architecture("slidecam/pocket_resnet", f"{_HERE}.networks:PocketResNet"),
        Architecture("slidecam/simple_cnn", f"{_HERE}.networks:SimpleCNN"),
        Architecture("slidecam/dala_resnet50", f"{_HERE}.networks:DALAResNet50"),
        Architecture("slidecam/dense_head", f"{_HERE}.networks:DenseHead"),
        Architecture("slidecam/resnet18_gcn", f"{_HERE}.cell_graph:resnet18_gcn"),
        Architecture("slidecam/cell_graph", f"{_HERE}.cell_graph:CellGraph"),
    ),
)
"""Slidecam's own networks, and other packages', by the name that a card gives them."""


def full_name(architecture: str) -> str:
    """Return ``architecture`` as cards write it: a bare name is one of timm's."""
    if "/" in architecture:
        return architecture
    return f"{TIMM}{architecture}"


def is_known(architecture: str) -> bool:
    """Whether ``architecture``, as cards write it, can be built."""
    if architecture in ARCHITECTURES:
        return True
    return architecture.startswith(TIMM) and bool(timm.is_model(architecture.removeprefix(TIMM)))


def build_network(
    architecture: str,
    args: Mapping[str, object],
    classes: int,
    path: Path,
) -> nn.Module:
    """Return the network with weights that mean nothing yet, in eval mode, on the CPU.

    Parameters
    ----------
    architecture, args
        As on the card.
    classes
        Number of logits.
    path
        The card, for messages.

    Raises
    ------
    CardError
        If there is no such architecture, or it cannot be built from ``args``.

    Notes
    -----
    Nothing is fetched: timm is given names it has code for, never hub addresses. The global random
    state is left as it was.
    """
    if not is_known(architecture):
        problem = f'"architecture" is {architecture!r}, which is not known.'
        raise CardError(path, problem, _near(architecture))
    forbidden = networks.forbidden_argument(args)
    if forbidden:
        problem = f'"architecture_args" holds {forbidden!r}, which a card may not set.'
        raise CardError(path, problem, "Leave it out; weights come from the bundle.")
    try:
        with torch.random.fork_rng(devices=[]):
            return _build(architecture, args, classes).eval()
    # The boundary of a network, another package's perhaps: timm has no error of its own, and what
    # arguments are refused by is anything.
    except Exception as error:
        problem = f"The network {architecture} cannot be built with {dict(args)}: {error}."
        remedy = 'Correct "architecture_args" (slidecam bundle --arch-arg NAME=VALUE).'
        raise CardError(path, problem, remedy) from error


def _build(architecture: str, args: Mapping[str, object], classes: int) -> nn.Module:
    if architecture in ARCHITECTURES:
        build = resolve(ARCHITECTURES[architecture].network)
        return cast("nn.Module", build(num_classes=classes, **args))
    return networks.timm_network(architecture.removeprefix(TIMM), classes, args)


def _near(architecture: str) -> str:
    known = [*ARCHITECTURES, *map(full_name, timm.list_models())]
    otherwise = f"Own ones are {', '.join(ARCHITECTURES)}; or timm/NAME."
    return names_like(full_name(architecture), known, otherwise)
