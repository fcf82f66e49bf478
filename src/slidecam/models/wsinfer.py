"""Folders of the WSInfer model zoo: ``config.json`` of specification 1.0, read as a card.

https://github.com/SBU-BMI/wsinfer-zoo, ``schemas/model-config.schema.json``. A model of one output
is a sigmoid; WSInfer applies a softmax to it, which makes every tile 1.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from slidecam.errors import MissingBundleError, UntrustedCodeError
from slidecam.models.architectures import full_name, is_known
from slidecam.models.card import WEIGHTS_FILE, Card, Interpolation, check_card
from slidecam.models.fields import JsonFields, is_number, read_json_object
from slidecam.models.weights import file_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.classes import Activation

CONFIG_FILE = "config.json"
TORCHSCRIPT_FILE = "torchscript_model.pt"
SPEC_VERSION = "1.0"

_KNOWN_ARGUMENTS: Mapping[str, frozenset[str]] = {
    "Resize": frozenset({"size", "interpolation", "antialias"}),
    "ToTensor": frozenset(),
    "Normalize": frozenset({"mean", "std"}),
}
_AS_THEY_ARE = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


def read_wsinfer(
    folder: Path, *, trust: bool
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
        If the configuration is not of specification 1.0, asks for another transform than Resize,
        ToTensor and Normalize, or says something impossible.
    UntrustedCodeError
        If only TorchScript is there and ``trust`` is False.
    MissingBundleError
        If there are no weights.
    """
    path = folder / CONFIG_FILE
    fields = read_json_object(path)
    version = fields.text("spec_version", SPEC_VERSION)
    if version != SPEC_VERSION:
        problem = f"is {version!r}, not {SPEC_VERSION!r}"
        raise fields.error("spec_version", problem, "Use a model of that specification.")
    weights = _choose_weights(folder, fields)
    script = weights.name == TORCHSCRIPT_FILE
    if script and not trust:
        problem = "The weights are TorchScript, a program that can read and write whatever you can."
        remedy = "Pass --trust if you trust its maker, or use the model's model.safetensors."
        raise UntrustedCodeError(weights, problem, remedy)
    card = _card(fields, weights)
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


def _choose_weights(folder: Path, fields: JsonFields) -> Path:
    plain, script = folder / WEIGHTS_FILE, folder / TORCHSCRIPT_FILE
    architecture = fields.text("architecture", "resnet50")
    if plain.is_file() and (is_known(full_name(architecture)) or not script.is_file()):
        return plain
    if script.is_file():
        return script
    problem = f"The folder has {CONFIG_FILE} and no weights."
    raise MissingBundleError(folder, problem, f"Put {WEIGHTS_FILE} beside it.")


def _card(fields: JsonFields, weights: Path) -> Card:
    tile_px = fields.whole("patch_size_pixels", 224)
    resize, normalize = _transforms(fields)
    input_px = tile_px
    if resize.values:
        input_px = resize.whole("size", 224)
    activation: Activation = "softmax"
    if fields.whole("num_classes", 2) == 1:
        activation = "sigmoid"
    return Card(
        name=weights.parent.resolve().name,
        architecture=full_name(fields.text("architecture", "resnet50")),
        class_names=_class_names(fields),
        activation=activation,
        tile_px=tile_px,
        spacing=fields.number("spacing_um_px", 0.5),
        input_px=input_px,
        interpolation=_interpolation(resize),
        mean=normalize.three("mean", _AS_THEY_ARE["mean"]),
        std=normalize.three("std", _AS_THEY_ARE["std"]),
        licence=str(fields.values.get("license", fields.values.get("licence", "not stated"))),
        provenance={"wsinfer": dict(fields.values)},
        weights_file=weights.name,
        weights_sha256=file_digest(weights),
    )


def _class_names(fields: JsonFields) -> tuple[str, ...]:
    names, count = (
        fields.texts("class_names", ["Other", "Tumor"]),
        fields.whole("num_classes", 2),
    )
    if len(names) != count:
        problem = f"is {count}, and class_names holds {len(names)}"
        raise fields.error("num_classes", problem, "Make them agree.")
    return names


def _transforms(fields: JsonFields) -> tuple[JsonFields, JsonFields]:
    """Return the arguments of Resize and of Normalize.

    There are none if Resize is absent, and those of one that does nothing if Normalize is.
    """
    items = enumerate(fields.array("transform", []))
    steps = [_step(fields, item, number) for number, item in items]
    arguments = dict(steps)
    names = [name for name, _arguments in steps]
    once = len(arguments) == len(names) and "ToTensor" in names
    if not once or "Normalize" in names[: names.index("ToTensor")]:
        problem = f"is {', '.join(names) or 'empty'}"
        remedy = "Write Resize, ToTensor, Normalize, in this order and each once."
        raise fields.error("transform", problem, remedy)
    nothing = JsonFields(fields.path, {})
    unchanged = JsonFields(fields.path, _AS_THEY_ARE)
    return arguments.get("Resize", nothing), arguments.get("Normalize", unchanged)


def _step(fields: JsonFields, item: object, number: int) -> tuple[str, JsonFields]:
    key = f"transform[{number}]"
    step = JsonFields(fields.path, {key: item}).section(key, {"name": "ToTensor"})
    name = step.text("name", "ToTensor")
    arguments = JsonFields(fields.path, {})
    if step.values.get("arguments"):
        arguments = step.section("arguments", {})
    if name not in _KNOWN_ARGUMENTS:
        problem = f"is {name!r}, which is not known"
        raise step.error("name", problem, f"Known are {', '.join(_KNOWN_ARGUMENTS)}.")
    unknown = sorted(set(arguments.values) - _KNOWN_ARGUMENTS[name])
    if unknown:
        problem = f"holds {unknown[0]!r}, which slidecam cannot do for {name}"
        raise step.error("arguments", problem, "Use a model without it.")
    return name, arguments


def _interpolation(resize: JsonFields) -> Interpolation:
    """Return torchvision's name or PIL's number of a filter as ours.

    Torchvision's default is bilinear.
    """
    value = resize.values.get("interpolation", "bilinear")
    numbered: dict[object, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
    if is_number(value):
        value = numbered.get(value, value)
    for name in numbered.values():
        if value == name:
            return name
    remedy = f"Write one of {', '.join(numbered.values())}."
    raise resize.error("interpolation", f"is {value!r}", remedy)
