"""Which networks a card can name: timm's, and slidecam's own.

One of our own is any ``nn.Module`` class that takes ``num_classes`` and the card's
``architecture_args`` as keywords and has timm's two halves, ``forward_features`` (pixels to
activation map) and ``forward_head`` (map to logits). To add one, write it in a module here and name
it in `ARCHITECTURES`; in another package, name an `Architecture` by an entry point of the group
``slidecam.architectures``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from slidecam.errors import CardError
from slidecam.registry import Entry, Registry, deferred, resolve
from slidecam.settings import names_like

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from slidecam.models import ensemble, light_timm, networks
else:
    torch = deferred("torch")
    ensemble = deferred("slidecam.models.ensemble")
    light_timm = deferred("slidecam.models.light_timm")
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
        Architecture("slidecam/kimianet", f"{_HERE}.architectures:kimianet"),
        Architecture("slidecam/dense_head", f"{_HERE}.networks:DenseHead"),
        Architecture("slidecam/resnet18_gcn", f"{_HERE}.cell_graph:resnet18_gcn"),
        Architecture("slidecam/cell_graph", f"{_HERE}.cell_graph:CellGraph"),
    ),
)
"""Slidecam's own networks, and other packages', by the name that a card gives them."""

ENSEMBLE = "slidecam/ensemble"
"""What a card calls several networks of one of them; see `models.ensemble`. No recipe trains it."""


def full_name(architecture: str) -> str:
    """Return ``architecture`` as cards write it: a bare name is one of timm's."""
    if "/" in architecture:
        return architecture
    return f"{TIMM}{architecture}"


def is_known(architecture: str) -> bool:
    """Whether ``architecture``, as cards write it, can be built."""
    if architecture in ARCHITECTURES:
        return True
    if not architecture.startswith(TIMM):
        return False
    return bool(light_timm.timm.is_model(architecture.removeprefix(TIMM)))


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
    if architecture != ENSEMBLE and not is_known(architecture):
        problem = f'"architecture" is {architecture!r}, which is not known.'
        raise CardError(path, problem, _near(architecture))
    forbidden = networks.forbidden_argument(args)
    if forbidden:
        problem = f'"architecture_args" holds {forbidden!r}, which a card may not set.'
        raise CardError(path, problem, "Leave it out; weights come from the bundle.")
    built = with_layer_classes(args, path)
    try:
        with torch.random.fork_rng(devices=[]):
            return build_member(architecture, built, classes).eval()
    # The boundary of a network, another package's perhaps: timm has no error of its own, and what
    # arguments are refused by is anything.
    except Exception as error:
        problem = f"The network {architecture} cannot be built with {dict(args)}: {error}."
        remedy = 'Correct "architecture_args" (slidecam bundle --arch-arg NAME=VALUE).'
        raise CardError(path, problem, remedy) from error


def build_member(architecture: str, args: Mapping[str, object], classes: int) -> nn.Module:
    """Return a network as it is built, of arguments in which layers' classes stand already.

    Whatever it is refused by is raised as it is; see `build_network`.
    """
    if architecture == ENSEMBLE:
        return _ensemble(classes, **args)  # type: ignore[arg-type]  # a card's arguments
    if architecture in ARCHITECTURES:
        build = resolve(ARCHITECTURES[architecture].network)
        return cast("nn.Module", build(num_classes=classes, **args))
    name = architecture.removeprefix(TIMM)
    if args.get(POOLING) == JOINED:
        return _with_joined_tokens(
            networks.timm_network(name, 0, {**args, POOLING: "token"}),
            classes,
        )
    return networks.timm_network(name, classes, args)


def _ensemble(
    classes: int,
    member: str,
    temperatures: Sequence[float],
    biases: Sequence[Sequence[float]] = (),
    **arguments: object,
) -> nn.Module:
    """Return members of one architecture side by side, as many as there are temperatures.

    Their biases for each class are the card's matter, and what their disagreement is measured with.
    """
    if member == ENSEMBLE or not temperatures or min(temperatures) <= 0:
        raise ValueError("an ensemble has members of another kind, each with a temperature")
    if biases and {len(each) for each in biases} != {classes}:
        raise ValueError("each member has one bias for each class")
    members = [build_member(member, arguments, classes) for _temperature in temperatures]
    return ensemble.Ensemble(members, temperatures)


def kimianet(num_classes: int, **args: object) -> nn.Module:
    """Return DenseNet121 as KimiaNet is: its map is averaged as the last batch norm leaves it.

    timm's and torchvision's DenseNets have a ReLU in between. The names of its weights are timm's.
    """
    network = networks.timm_network("densenet121", num_classes, args)
    network.get_submodule("features.norm5").act = torch.nn.Identity()
    return network


LAYER_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("ELU", "GELU", "Hardswish", "LeakyReLU", "Mish", "PReLU", "ReLU", "ReLU6", "SiLU"),
            "torch.nn",
        ),
        **dict.fromkeys(("BatchNorm2d", "GroupNorm", "LayerNorm", "RMSNorm"), "torch.nn"),
        **dict.fromkeys(("GELUTanh", "QuickGELU"), "timm.layers"),
        **dict.fromkeys(("GroupNorm1", "LayerNorm2d", "RmsNorm", "SimpleNorm"), "timm.layers"),
        **dict.fromkeys(
            ("ConvMlp", "GatedMlp", "GlobalResponseNormMlp", "GluMlp", "Mlp", "SwiGLU"),
            "timm.layers",
        ),
        "SwiGLUPacked": "timm.layers",
    }
)
"""Activations, norms and perceptrons that a card may name, and the module that each is of."""

LAYER_ARGUMENT = "_layer"
"""How the names of timm's arguments end that want a class: ``mlp_layer``, ``act_layer``."""


def with_layer_classes(args: Mapping[str, object], path: Path) -> dict[str, object]:
    """Return a network's arguments with layers' classes in place of their names.

    A name may stand behind its module, as documentation writes it: ``torch.nn.SiLU``. Names in
    small letters are timm's own, and are left to it.

    Raises
    ------
    CardError
        If there is no such layer among `LAYER_CLASSES`.
    """
    built = dict(args)
    for argument, value in args.items():
        if not argument.endswith(LAYER_ARGUMENT) or not isinstance(value, str):
            continue
        module, _dot, name = value.rpartition(".")
        if name in LAYER_CLASSES and module in {"", "nn", LAYER_CLASSES[name]}:
            built[argument] = resolve(f"{LAYER_CLASSES[name]}:{name}")
        elif not value.islower():
            problem = f'"architecture_args" names the {argument} {value!r}, which is not known.'
            otherwise = f"Known are {', '.join(LAYER_CLASSES)}."
            raise CardError(path, problem, names_like(name, list(LAYER_CLASSES), otherwise))
    return built


POOLING, JOINED = "global_pool", "class_token+mean"
"""The argument, and its value for the class token joined to the mean of the patches' tokens, as
Virchow's embedding is; timm has no such pooling."""


def _with_joined_tokens(network: nn.Module, classes: int) -> nn.Module:
    """Return one of timm's transformers with a head on the class token and the patches' mean.

    Registers are part of neither. Its weights have the names that timm gives them.
    """
    prefix = getattr(network, "num_prefix_tokens", 0)
    if not prefix or not hasattr(network, "pool") or not getattr(network, "has_class_token", True):
        raise ValueError(f"{POOLING}={JOINED} needs a transformer with a class token")

    def pool(_network: nn.Module, tokens: Tensor, pool_type: str | None = None) -> Tensor:
        del pool_type
        return torch.cat([tokens[:, 0], tokens[:, prefix:].mean(1)], 1)

    network.__class__ = type("JoinedTokens", (type(network),), {"pool": pool})
    network.head = torch.nn.Linear(2 * networks.embedding_length(network), classes)
    return network


def _near(architecture: str) -> str:
    known = [*ARCHITECTURES, *map(full_name, light_timm.timm.list_models())]
    otherwise = f"Own ones are {', '.join(ARCHITECTURES)}; or timm/NAME."
    return names_like(full_name(architecture), known, otherwise)
