"""The card of a model bundle.

What a classifier was trained on, what it sees and what its outputs mean.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Literal, get_args

from slidecam.classes import (
    CALLED_FROM,
    Activation,
    ClassSet,
    broken_name,
    doubled_name,
    normal_name,
)
from slidecam.drawing.style import default_colors
from slidecam.geometry import COARSEST, FINEST
from slidecam.models.fields import JsonFields, is_number, read_json_object
from slidecam.models.volume_card import (
    VolumeCard,
    check_volume_card,
    read_volume_card,
    volume_object,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slidecam.pixels import RGB

Interpolation = Literal["bilinear", "bicubic", "nearest"]

CARD_FILE = "card.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FORMAT = "slidecam-bundle"
CARD_VERSION = 1

COARSEST_VOXEL = 20_000.0
"""What `COARSEST` is to slides, for the cards of classifiers that see tiles of volumes."""


@dataclass(frozen=True)
class Card:
    """What a bundle says of its classifier; ``card.json`` in memory.

    Attributes
    ----------
    name
        What people call the classifier.
    architecture, architecture_args
        ``timm/<name>`` or one of slidecam's own (``slidecam/pocket_resnet``), and its keyword
        arguments.
    class_names, class_colors
        One unique name, in NFC, and one colour (red, green, blue, 0-255) for each logit, in the
        logits' order.
    activation
        What turns logits into probabilities. A classifier of one logit is a sigmoid, or a score.
    thresholds
        Output from which each class is called, where classes stand for themselves: of a sigmoid or
        of one logit. Empty for 0.5 each, and wherever the largest is called.
    tile_px, spacing
        Edge of a tile in pixels, at ``spacing`` µm per pixel. Without a spacing the classifier sees
        whole pictures (an MRI slice, an ultrasound frame, a cell): a picture of whatever size is
        one tile.
    input_px, interpolation
        Edge of what the network sees, and how a tile is resized to it, once.
    mean, std
        For red, green, blue: the network is given ``(pixel / 255 - mean) / std``.
    temperature
        What logits are divided by before the activation, found on validation data (Guo et al., ICML
        2017); 1 where probabilities were never calibrated.
    split
        Name of the layer whose output is the activation map; None for ``forward_features`` /
        ``forward_head``.
    licence
        Under which the weights may be used; free text.
    provenance
        Where the weights come from; any JSON object.
    volume
        How it sees volumes (MRI): axis, window of intensities, pooling; None for `VolumeCard`'s
        defaults.
    weights_file, weights_sha256
        The file beside the card and its digest in hexadecimal.
    extra
        Keys that this version does not know. They mean nothing to it, and are written back
        unchanged.
    """

    name: str
    architecture: str
    class_names: tuple[str, ...]
    activation: Activation
    tile_px: int
    spacing: float | None
    input_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    class_colors: tuple[RGB, ...] = ()
    interpolation: Interpolation = "bilinear"
    architecture_args: Mapping[str, object] = field(default_factory=dict)
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    split: str | None = None
    licence: str = "not stated"
    provenance: Mapping[str, object] = field(default_factory=dict)
    volume: VolumeCard | None = None
    weights_file: str = WEIGHTS_FILE
    weights_sha256: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(map(normal_name, self.class_names)))
        if not self.class_colors:
            object.__setattr__(self, "class_colors", default_colors(len(self.class_names)))

    @cached_property
    def classes(self) -> ClassSet:
        """What its outputs mean, and which class they call."""
        return ClassSet(
            self.class_names,
            self.activation,
            self.class_colors,
            self.thresholds,
            self.temperature,
        )


def read_card(path: Path) -> Card:
    """Return the card in ``path``, a ``card.json``.

    Raises
    ------
    CardError
        If a value is missing, has the wrong type or is impossible. Keys that are not known are kept
        in `Card.extra`.
    """
    fields = read_json_object(path)
    _check_format(fields)
    weights = fields.section("weights", {"file": WEIGHTS_FILE, "sha256": "…"})
    resize = fields.section("resize", {"size": 224, "interpolation": "bilinear"})
    spacing, temperature, split = None, 1.0, None
    if fields.values.get("spacing_um_px", 0) is not None:  # null is no spacing, no key an error
        spacing = fields.number("spacing_um_px", 0.5)
    if fields.has("temperature"):
        temperature = fields.number("temperature", 1.0)
    if fields.has("split"):
        split = fields.text("split", "layer4")
    card = Card(
        name=fields.text("name", "colorectal tissue"),
        architecture=fields.text("architecture", "timm/resnet50"),
        architecture_args=_optional_object(fields, "architecture_args"),
        class_names=fields.texts("class_names", ["stroma", "tumour"]),
        class_colors=_read_colors(fields),
        activation=fields.text("activation", "softmax"),  # type: ignore[arg-type]  # checked by check_card
        tile_px=fields.whole("tile_px", 224),
        spacing=spacing,
        input_px=resize.whole("size", 224),
        interpolation=resize.text("interpolation", "bilinear"),  # type: ignore[arg-type]  # checked by check_card
        mean=fields.three("mean", [0.485, 0.456, 0.406]),
        std=fields.three("std", [0.229, 0.224, 0.225]),
        thresholds=_read_thresholds(fields),
        temperature=temperature,
        split=split,
        licence=fields.text("licence", "CC-BY-4.0"),
        provenance=_optional_object(fields, "provenance"),
        volume=read_volume_card(fields),
        weights_file=weights.text("file", WEIGHTS_FILE),
        weights_sha256=weights.text("sha256", "…"),
        extra={key: fields.values[key] for key in fields.values if key not in _KEYS},
    )
    check_card(card, path)
    _check_digest(card, path)
    return card


def card_text(card: Card) -> str:
    """Return the text of ``card.json``."""
    return json.dumps(card_object(card), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def card_object(card: Card) -> dict[str, object]:
    """Return what ``card.json`` holds, as JSON values."""
    values: dict[str, object] = {
        "format": CARD_FORMAT,
        "version": CARD_VERSION,
        "name": card.name,
        "architecture": card.architecture,
        "architecture_args": dict(card.architecture_args),
        "class_names": list(card.class_names),
        "class_colors": list(map(list, card.class_colors)),
        "activation": card.activation,
        "tile_px": card.tile_px,
        "spacing_um_px": card.spacing,
        "resize": {"size": card.input_px, "interpolation": card.interpolation},
        "mean": list(card.mean),
        "std": list(card.std),
    }
    # What a card of an earlier version does not have is left out where it changes nothing.
    if card.thresholds:
        values["thresholds"] = list(card.thresholds)
    if card.temperature != 1:
        values["temperature"] = card.temperature
    values["split"] = card.split
    values["licence"] = card.licence
    values["provenance"] = dict(card.provenance)
    if card.volume is not None:
        values["volume"] = volume_object(card.volume)
    values["weights"] = {"file": card.weights_file, "sha256": card.weights_sha256}
    return {**values, **card.extra}


def check_card(card: Card, path: Path) -> None:
    """Refuse a card whose values are impossible.

    Raises
    ------
    CardError
        Naming ``path``, the key, the value and what may stand there.
    """
    fields = JsonFields(path, card_object(card))
    _check_classes(card, fields)
    _check_choices(card, fields)
    _check_thresholds(card, fields)
    _check_sizes(card, fields)
    _check_normalisation(card, fields)
    if card.volume is not None:
        check_volume_card(card.volume, fields)
    if not _is_plain_name(card.weights_file):
        problem = f"is {card.weights_file!r}, not the name of a file beside the card"
        raise fields.error("weights.file", problem, f"Write {WEIGHTS_FILE!r}, without folders.")


_PLAIN = Card("", "", (), "none", 1, 1.0, 1, (0, 0, 0), (1, 1, 1))
_KEYS = frozenset(
    card_object(
        replace(_PLAIN, thresholds=(CALLED_FROM,), temperature=2.0, volume=VolumeCard()),
    )
)


def _check_format(fields: JsonFields) -> None:
    kind, version = (
        fields.text("format", CARD_FORMAT),
        fields.whole("version", CARD_VERSION),
    )
    if kind != CARD_FORMAT:
        problem = f"is {kind!r}, not {CARD_FORMAT!r}"
        raise fields.error("format", problem, "Make the bundle with slidecam bundle.")
    if version != CARD_VERSION:
        problem = f"is {version}, and this slidecam reads {CARD_VERSION}"
        remedy = "Install a slidecam that knows it, or make the bundle anew."
        raise fields.error("version", problem, remedy)


def _optional_object(fields: JsonFields, key: str) -> Mapping[str, object]:
    if fields.has(key):
        return fields.section(key, {}).values
    return {}


def _read_colors(fields: JsonFields) -> tuple[RGB, ...]:
    if not fields.values.get("class_colors"):
        return ()
    colors = fields.array("class_colors", [[213, 94, 0]])
    return tuple(_read_color(fields, color) for color in colors)


def _read_thresholds(fields: JsonFields) -> tuple[float, ...]:
    if not fields.has("thresholds"):
        return ()
    values = fields.array("thresholds", [CALLED_FROM])
    numbers = tuple(float(value) for value in values if is_number(value))
    if len(numbers) != len(values):
        problem = f"is {json.dumps(values)}, not a list of numbers"
        raise fields.error("thresholds", problem, "Write one each class.")
    return numbers


def _read_color(fields: JsonFields, color: object) -> RGB:
    parts: list[int] = []
    if isinstance(color, list):
        parts = [int(part) for part in color if is_number(part)]
    if len(parts) != 3 or parts != color:  # noqa: PLR2004  (red, green, blue)
        problem = f"holds {json.dumps(color)}, not a colour"
        remedy = "Write three whole numbers 0-255, for example [213, 94, 0]."
        raise fields.error("class_colors", problem, remedy)
    return parts[0], parts[1], parts[2]


def _check_digest(card: Card, path: Path) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", card.weights_sha256):
        problem = f"is {card.weights_sha256!r}, not 64 hexadecimal digits"
        raise JsonFields(path, {}).error(
            "weights.sha256", problem, f"Write the SHA-256 of {card.weights_file}."
        )


def _check_classes(card: Card, fields: JsonFields) -> None:
    if not card.class_names or not all(name.strip() for name in card.class_names):
        problem = f"is {list(card.class_names)}: empty, or with an empty name"
        raise fields.error("class_names", problem, "Write one name for each logit of the network.")
    broken = broken_name(card.class_names)
    if broken is not None:
        problem = f"names {broken!r}, with a line break or a control character"
        raise fields.error("class_names", problem, "Write each name on one line.")
    twice = doubled_name(card.class_names)
    if twice is not None:
        remedy = "Give every class a name of its own."
        raise fields.error("class_names", f"names {twice!r} twice", remedy)
    _check_colors(card.class_colors, len(card.class_names), fields)


def _check_colors(colors: Sequence[RGB], classes: int, fields: JsonFields) -> None:
    if len(colors) != classes:
        problem = f"holds {len(colors)} colours for {classes} classes"
        remedy = "Write one colour for each class, or leave the key out."
        raise fields.error("class_colors", problem, remedy)
    for color in colors:
        if min(color) < 0 or max(color) > 255:  # noqa: PLR2004  (one byte)
            problem = f"holds {list(color)}"
            raise fields.error("class_colors", problem, "Write numbers from 0 to 255.")


def _check_choices(card: Card, fields: JsonFields) -> None:
    if not card.name.strip():
        raise fields.error("name", "is empty", "Write what the classifier is called.")
    fields.check_choice("activation", card.activation, get_args(Activation))
    if card.activation == "softmax" and len(card.class_names) == 1:
        problem = 'is "softmax" with one class, whose probability is then always 1'
        raise fields.error("activation", problem, 'Write "sigmoid", or name every class.')
    fields.check_choice("resize.interpolation", card.interpolation, get_args(Interpolation))


def _check_thresholds(card: Card, fields: JsonFields) -> None:
    if not card.thresholds:
        return
    count = len(card.class_names)
    if len(card.thresholds) != count:
        problem = f"holds {len(card.thresholds)} numbers for {count} classes"
        remedy = "Write one number for each class, or leave the key out."
        raise fields.error("thresholds", problem, remedy)
    if not card.classes.has_thresholds:
        problem = f"stands beside several classes of {card.activation!r}, whose largest is called"
        raise fields.error("thresholds", problem, "Leave the key out.")
    if card.activation == "sigmoid" and not all(0 < value <= 1 for value in card.thresholds):
        problem = f"is {list(card.thresholds)}, and a probability is from 0 to 1"
        raise fields.error("thresholds", problem, "Write numbers above 0, and 1 at most.")


def _check_sizes(card: Card, fields: JsonFields) -> None:
    for key, pixels in (("tile_px", card.tile_px), ("resize.size", card.input_px)):
        if pixels < 1:
            remedy = "Write the edge in pixels, at least 1, for example 224."
            raise fields.error(key, f"is {pixels}", remedy)
    coarsest = COARSEST_VOXEL
    if card.volume is None:
        coarsest = COARSEST
    if card.spacing is not None and not FINEST <= card.spacing <= coarsest:
        problem = f"is {card.spacing:g} µm per pixel, which is outside {FINEST:g} to {coarsest:g}"
        remedy = "Write the spacing of the tiles that the network was trained on."
        raise fields.error("spacing_um_px", problem, remedy)
    if not card.temperature > 0:
        remedy = "Write a number above 0; 1 changes nothing."
        raise fields.error("temperature", f"is {card.temperature}", remedy)


def _check_normalisation(card: Card, fields: JsonFields) -> None:
    if not all(map(is_number, card.mean)):
        remedy = "Write three finite numbers, on a scale of 0 to 1."
        raise fields.error("mean", f"is {list(card.mean)}", remedy)
    if not all(map(is_number, card.std)) or min(card.std) <= 0:
        remedy = "Write three numbers above 0; 1 leaves pixels as they are."
        raise fields.error("std", f"is {list(card.std)}", remedy)


def _is_plain_name(name: str) -> bool:
    """Whether ``name`` stays in its folder on every system.

    A card must not point at files elsewhere.
    """
    return (
        bool(name)
        and name not in {".", ".."}
        and PurePosixPath(name).name == name == PureWindowsPath(name).name
    )
