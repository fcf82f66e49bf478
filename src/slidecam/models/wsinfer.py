"""Folders of the WSInfer model zoo: ``config.json`` of specification 1.0, read as a card.

https://github.com/SBU-BMI/wsinfer-zoo, ``schemas/model-config.schema.json``. A model of one output
is a sigmoid; WSInfer applies a softmax to it, which makes every tile 1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, MinLen, Predicate, doc
from safetensors import SafetensorError, safe_open

from slidecam.errors import CardError, MissingBundleError, UntrustedCodeError
from slidecam.models.architectures import TIMM, full_name, is_known
from slidecam.models.card import (
    WEIGHTS_FILE,
    Card,
    Deviations,
    Interpolation,
    JsonObject,
    Pixels,
    check_card,
)
from slidecam.models.card_file import CardComplaints, check_together, read_json_object
from slidecam.models.channels import COLOURS, GREY, IN_WORDS, PerChannel
from slidecam.models.weights import file_digest
from slidecam.registry import deferred
from slidecam.settings import read_fields, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.classes import Activation
    from slidecam.models import light_timm
else:
    light_timm = deferred("slidecam.models.light_timm")

CONFIG_FILE = "config.json"
TORCHSCRIPT_FILE = "torchscript_model.pt"
SPEC_VERSION = "1.0"
HUGGING_FACE = frozenset(("architectures", "pretrained_cfg", "id2label", "num_features"))
"""Keys that tell another ``config.json``: timm's and transformers'."""

_NUMBERED: Mapping[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""PIL's numbers of the filters that torchvision names."""

_Filter = Interpolation | Annotated[int, Predicate(_NUMBERED.__contains__), doc("PIL's 0, 2 or 3")]


@dataclass(frozen=True)
class _Config:
    """The keys of ``config.json`` that are read, and what may stand under each."""

    spec_version: str
    architecture: str
    num_classes: Annotated[int, Ge(1)]
    class_names: Annotated[tuple[str, ...], MinLen(1)]
    patch_size_pixels: Pixels
    spacing_um_px: float
    transform: tuple[JsonObject, ...]


@dataclass(frozen=True)
class _Step:
    """The keys of one step of ``transform``."""

    name: Literal["Resize", "ToTensor", "Normalize"]
    arguments: JsonObject | None = None


@dataclass(frozen=True)
class _Resize:
    """Its arguments; torchvision's default filter is bilinear."""

    size: Pixels
    interpolation: _Filter = "bilinear"
    antialias: Any = None


@dataclass(frozen=True)
class _ToTensor:
    """It has no arguments."""


@dataclass(frozen=True)
class _Normalize:
    """Its arguments."""

    mean: PerChannel
    std: Deviations


_ARGUMENTS = {"Resize": _Resize, "ToTensor": _ToTensor, "Normalize": _Normalize}
_AS_THEY_ARE: Mapping[int, _Normalize] = {
    GREY: _Normalize((0.0,), (1.0,)),
    COLOURS: _Normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def read_wsinfer(
    folder: Path,
    *,
    trust: bool,
) -> tuple[Card, Literal["wsinfer", "wsinfer-torchscript"]]:
    """Return the card that a zoo folder's ``config.json`` amounts to, and which weights are used.

    Parameters
    ----------
    folder
        Holds ``config.json`` and ``model.safetensors`` or ``torchscript_model.pt``. The first is
        preferred where timm knows the architecture, since only that has an activation map and runs
        no code.
    trust
        Whether TorchScript may be loaded.

    Raises
    ------
    CardError
        If the configuration is not of specification 1.0; or asks for another transform than Resize,
        ToTensor and Normalize, or says something impossible: all of it at once.
    UntrustedCodeError
        If only TorchScript is there and ``trust`` is False.
    MissingBundleError
        If there are no weights.
    """
    path = folder / CONFIG_FILE
    table = read_json_object(path)
    version = table.get("spec_version")
    if version is None and HUGGING_FACE & table.keys():
        problem = "This folder is of timm or transformers, and no bundle."
        raise MissingBundleError(folder, problem, f"Make one: slidecam bundle {folder} --out OUT.")
    if isinstance(version, str) and version != SPEC_VERSION:
        problem = f'"spec_version" is {version!r}, not {SPEC_VERSION!r}.'
        raise CardError(path, problem, "Use a model of that specification.")
    complaints = CardComplaints()
    values = read_fields(_Config, table, "", complaints, others=True)
    check_together(values, complaints)
    _check_count(values, complaints)
    steps = _steps(values.get("transform"), complaints)
    complaints.check(path)
    config = _Config(**values)
    weights = _choose_weights(folder, config.architecture)
    script = weights.name == TORCHSCRIPT_FILE
    if script and not trust:
        problem = "The weights are TorchScript, a program that can read and write whatever you can."
        remedy = "Pass --trust if you trust its maker, or use the model's model.safetensors."
        raise UntrustedCodeError(weights, problem, remedy)
    card = _card(config, table, steps, weights)
    check_card(card, path)
    if script:
        return card, "wsinfer-torchscript"
    return card, "wsinfer"


def is_wsinfer(folder: Path) -> bool:
    """Whether ``folder`` looks like one of the zoo's.

    A configuration beside weights of either kind.
    """
    weights = (folder / WEIGHTS_FILE).is_file() or (folder / TORCHSCRIPT_FILE).is_file()
    return weights and (folder / CONFIG_FILE).is_file()


def is_hugging_face(folder: Path) -> bool:
    """Whether a folder's ``config.json`` is timm's or transformers'; CardError if it is no JSON."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        return False
    table = read_json_object(path)
    return "spec_version" not in table and bool(HUGGING_FACE & table.keys())


def _choose_weights(folder: Path, architecture: str) -> Path:
    plain, script = folder / WEIGHTS_FILE, folder / TORCHSCRIPT_FILE
    if plain.is_file() and (is_known(full_name(architecture)) or not script.is_file()):
        return plain
    if script.is_file():
        return script
    problem = f"The folder has {CONFIG_FILE} and no weights."
    raise MissingBundleError(folder, problem, f"Put {WEIGHTS_FILE} beside it.")


def _card(
    config: _Config,
    table: Mapping[str, object],
    steps: Mapping[str, Any],
    weights: Path,
) -> Card:
    resize = steps.get("Resize", _Resize(config.patch_size_pixels))
    channels = _channels(config, steps.get("Normalize"), weights)
    normalize = steps.get("Normalize", _AS_THEY_ARE[channels])
    activation: Activation = "softmax"
    if config.num_classes == 1:
        activation = "sigmoid"
    return Card(
        name=weights.parent.resolve().name,
        architecture=full_name(config.architecture),
        class_names=config.class_names,
        activation=activation,
        tile_px=config.patch_size_pixels,
        spacing=config.spacing_um_px,
        input_px=resize.size,
        interpolation=_NUMBERED.get(resize.interpolation, resize.interpolation),
        mean=normalize.mean,
        std=normalize.std,
        channels=channels,
        licence=str(table.get("license", table.get("licence", "not stated"))),
        provenance={"wsinfer": dict(table)},
        weights_file=weights.name,
        weights_sha256=file_digest(weights),
    )


def _channels(config: _Config, normalize: _Normalize | None, weights: Path) -> int:
    """Return how many channels the network is given: by its weights, else as many as are scaled.

    The zoo's format has no word for it.
    """
    if weights.name == WEIGHTS_FILE:
        found = _first_channels(config.architecture, weights)
        if found is not None and found in IN_WORDS:
            return found
    if normalize is not None:
        return len(normalize.mean)
    return COLOURS


def _first_channels(architecture: str, weights: Path) -> int | None:
    """Return the channels of the first convolution of weights; None where timm does not name it."""
    stated = light_timm.timm.get_pretrained_cfg(full_name(architecture).removeprefix(TIMM))
    name = getattr(stated, "first_conv", None)
    try:
        with safe_open(weights, "pt") as file:
            shape = file.get_slice(f"{name}.weight").get_shape()
    except (SafetensorError, OSError):
        return None
    return int(shape[1])


def _check_count(values: Mapping[str, Any], complaints: CardComplaints) -> None:
    count, names = values.get("num_classes"), values.get("class_names")
    if count is not None and names is not None and len(names) != count:
        problem = f"is {count}, and class_names holds {len(names)}"
        complaints.add("num_classes", problem, "Make them agree.")


def _steps(
    transform: tuple[Mapping[str, object], ...] | None,
    complaints: CardComplaints,
) -> dict[str, Any]:
    """Return the arguments of each step by its name; complain of what cannot be done.

    None of ``transform`` where it was wrong already.
    """
    names: list[str] = []
    steps: dict[str, Any] = {}
    for number, item in enumerate(transform or ()):
        where = f"transform[{number}]"
        step = read_fields(_Step, item, where, complaints, others=True)
        if "name" not in step:
            continue
        name, arguments = step["name"], step.get("arguments") or {}
        names.append(name)
        steps[name] = read_settings(_ARGUMENTS[name], arguments, f"{where}.arguments", complaints)
    if transform is not None and len(names) == len(transform):
        _check_order(names, complaints)
    return steps


def _check_order(names: list[str], complaints: CardComplaints) -> None:
    once = len(set(names)) == len(names) and "ToTensor" in names
    if not once or "Normalize" in names[: names.index("ToTensor")]:
        problem = f"is {', '.join(names) or 'empty'}"
        remedy = "Write Resize, ToTensor, Normalize, in this order and each once."
        complaints.add("transform", problem, remedy)
