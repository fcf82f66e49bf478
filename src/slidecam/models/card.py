"""The card of a model bundle.

What a classifier was trained on, what it sees and what its outputs mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen, Predicate, doc

from slidecam.class_names import normal_name
from slidecam.classes import Activation, ClassSet
from slidecam.drawing.style import default_colors
from slidecam.errors import CardError
from slidecam.geometry import COARSEST, COARSEST_VOXEL
from slidecam.models.architectures import ENSEMBLE
from slidecam.models.card_file import CardComplaints, check_together, is_said, read_json_object
from slidecam.models.card_parts import (
    MapEvidence,
    VolumeCard,
    VolumeKeys,
    volume_object,
    with_ends,
)
from slidecam.models.channels import ARGUMENT, COLOURS, GREY, PerChannel, argued_channels
from slidecam.models.stain import Stain  # noqa: TC001  (read_fields reads the types)
from slidecam.settings import hints_of, read_fields, shown
from slidecam.viewing import Profile  # noqa: TC001  (read_fields reads the types)

if TYPE_CHECKING:
    from slidecam.pixels import RGB

Interpolation = Literal["bilinear", "bicubic", "nearest"]

SAFETENSORS = ".safetensors"
WEIGHTS_FILE = f"model{SAFETENSORS}"
CARD_FORMAT = "slidecam-bundle"
CARD_VERSION = 1


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
        For red, green, blue, or for grey: the network is given ``(pixel / 255 - mean) / std``.
    temperature
        What logits are divided by before the activation, found on validation data (Guo et al., ICML
        2017); 1 where probabilities were never calibrated.
    class_biases
        What is added to them then, a number for each class of a softmax; empty for none. They
        change no call; see `ClassSet`.
    calibrated_on
        Validation pictures that both were found on; 0 where it is not known.
    split
        Name of the layer whose output is the activation map; None for ``forward_features`` /
        ``forward_head``.
    licence
        Under which the weights may be used; free text.
    provenance
        Where the weights come from; any JSON object.
    color_profile
        ``srgb``: pictures' ICC profiles are applied, as in its training; ``ignore``: they are not.
    volume
        How it sees volumes (MRI): axis, window of intensities, pooling; None for `VolumeCard`'s
        defaults.
    channels
        3 for a network that is given red, green and blue, 1 for one that is given grey.
    heatmap_evidence
        What was measured of its heatmaps; None where nobody has.
    stain
        How tiles are recoloured to a reference before it sees them; None for not at all.
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
    mean: PerChannel
    std: PerChannel
    class_colors: tuple[RGB, ...] = ()
    interpolation: Interpolation = "bilinear"
    architecture_args: Mapping[str, object] = field(default_factory=dict)
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    class_biases: tuple[float, ...] = ()
    calibrated_on: int = 0
    split: str | None = None
    licence: str = "not stated"
    provenance: Mapping[str, object] = field(default_factory=dict)
    color_profile: Profile = "ignore"
    volume: VolumeCard | None = None
    channels: int = COLOURS
    heatmap_evidence: MapEvidence | None = None
    stain: Stain | None = None
    weights_file: str = WEIGHTS_FILE
    weights_sha256: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(map(normal_name, self.class_names)))
        if not self.class_colors:
            object.__setattr__(self, "class_colors", default_colors(len(self.class_names)))
        # Of networks that can be built for either, and would be built for colours.
        known = self.architecture.startswith(("timm/", "slidecam/"))
        if self.channels == GREY and known and argued_channels(self.architecture_args) is None:
            args = {**self.architecture_args, ARGUMENT: GREY}
            object.__setattr__(self, "architecture_args", args)

    @cached_property
    def classes(self) -> ClassSet:
        """What its outputs mean, and which class they call."""
        return ClassSet(
            self.class_names,
            self.activation,
            self.class_colors,
            self.thresholds,
            self.temperature,
            self.class_biases,
            self.calibrated_on,
        )

    @property
    def has_members(self) -> bool:
        """Whether it is an ensemble whose members' disagreement can be measured."""
        return self.architecture == ENSEMBLE and self.activation != "none"

    @property
    def calibration(self) -> str:
        """Whether its probabilities were calibrated, on how many pictures, and why if not."""
        facts = self.provenance.get("calibration")
        if isinstance(facts, Mapping) and facts.get("note"):
            return f"{self.classes.calibration}. {facts['note']}".removesuffix(".")
        return self.classes.calibration


def _is_plain_name(name: str) -> bool:
    """Whether ``name`` stays in its folder on every system.

    A card must not point at files elsewhere.
    """
    return (
        bool(name)
        and name not in {".", ".."}
        and PurePosixPath(name).name == name == PureWindowsPath(name).name
    )


def _is_digest(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


Pixels = Annotated[int, Ge(1)]
Byte = Annotated[int, Ge(0), Le(255)]
Deviation = Annotated[float, Gt(0)]
Deviations = tuple[Deviation, Deviation, Deviation] | tuple[Deviation]
JsonObject = Annotated[Mapping[str, object], doc("an object")]


@dataclass(frozen=True)
class ResizeKeys:
    """The keys of ``resize``."""

    size: Pixels
    interpolation: Interpolation


@dataclass(frozen=True)
class WeightsKeys:
    """The keys of ``weights``."""

    file: Annotated[
        str,
        Predicate(_is_plain_name),
        doc(f'the name of a file beside the card, without folders: "{WEIGHTS_FILE}"'),
    ]
    sha256: Annotated[
        str,
        Predicate(_is_digest),
        doc("the SHA-256 of the weights, 64 hexadecimal digits"),
    ]


@dataclass(frozen=True, kw_only=True)
class CardKeys:
    """The keys of ``card.json``, and what may stand under each; see `Card`."""

    format: Annotated[str, doc(f'"{CARD_FORMAT}"')]
    version: Annotated[int, doc(f"{CARD_VERSION}")]
    name: Annotated[str, Predicate(is_said), doc("what the classifier is called, a string")]
    architecture: str
    architecture_args: JsonObject | None = None
    class_names: Annotated[tuple[str, ...], MinLen(1)]
    class_colors: tuple[tuple[Byte, Byte, Byte], ...] | None = None
    activation: Activation
    tile_px: Pixels
    spacing_um_px: float | None
    resize: ResizeKeys
    mean: PerChannel
    std: Deviations
    thresholds: tuple[float, ...] | None = None
    temperature: Annotated[float, Gt(0)] | None = None
    class_biases: tuple[float, ...] | None = None
    calibrated_on: Annotated[int, Ge(0)] | None = None
    split: str | None = None
    licence: str
    provenance: JsonObject | None = None
    color_profile: Profile | None = None
    volume: VolumeKeys | None = None
    channels: int | None = None
    heatmap_evidence: MapEvidence | None = None
    stain: Stain | None = None
    weights: WeightsKeys


def read_card(path: Path) -> Card:
    """Return the card in ``path``, a ``card.json``.

    Raises
    ------
    CardError
        If values are missing, have the wrong type or are impossible: all of them at once. Keys that
        are not known are kept in `Card.extra`.
    """
    table = read_json_object(path)
    _check_format(table, path)
    complaints = CardComplaints()
    values = _read_keys(table, complaints)
    weights = values.get("weights")
    if weights is not None and not weights.file.endswith(SAFETENSORS):
        problem = f"is {shown(weights.file)}, and a bundle's weights are safetensors"
        complaints.add("weights.file", problem, "Make the bundle with slidecam bundle.")
    complaints.check(path)
    keys = CardKeys(**values)
    temperature, volume = 1.0, None
    if keys.temperature is not None:
        temperature = keys.temperature
    if keys.volume is not None:
        volume = keys.volume.card()
    return Card(
        name=keys.name,
        architecture=keys.architecture,
        architecture_args=keys.architecture_args or {},
        class_names=keys.class_names,
        class_colors=keys.class_colors or (),
        activation=keys.activation,
        tile_px=keys.tile_px,
        spacing=keys.spacing_um_px,
        input_px=keys.resize.size,
        interpolation=keys.resize.interpolation,
        mean=keys.mean,
        std=keys.std,
        thresholds=keys.thresholds or (),
        temperature=temperature,
        class_biases=keys.class_biases or (),
        calibrated_on=keys.calibrated_on or 0,
        split=keys.split,
        licence=keys.licence,
        provenance=keys.provenance or {},
        color_profile=keys.color_profile or "ignore",
        volume=volume,
        channels=keys.channels or COLOURS,
        heatmap_evidence=keys.heatmap_evidence,
        stain=keys.stain,
        weights_file=keys.weights.file,
        weights_sha256=keys.weights.sha256,
        extra={key: table[key] for key in table if key not in hints_of(CardKeys)},
    )


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
    if card.class_biases:
        values["class_biases"] = list(card.class_biases)
    if card.calibrated_on:
        values["calibrated_on"] = card.calibrated_on
    values["split"] = card.split
    values["licence"] = card.licence
    values["provenance"] = dict(card.provenance)
    if card.color_profile != "ignore":
        values["color_profile"] = card.color_profile
    if card.volume is not None:
        values["volume"] = volume_object(card.volume)
    if card.channels != COLOURS:
        values["channels"] = card.channels
    if card.heatmap_evidence is not None:
        values["heatmap_evidence"] = card.heatmap_evidence.to_json()
    if card.stain is not None:
        values["stain"] = card.stain.to_json()
    values["weights"] = {"file": card.weights_file, "sha256": card.weights_sha256}
    return {**values, **card.extra}


def check_card(card: Card, path: Path) -> None:
    """Refuse a card whose values are impossible, by the rules that it is read by.

    Raises
    ------
    CardError
        Naming ``path``, each wrong key, its value and what may stand there.
    """
    complaints = CardComplaints()
    # The digest is known once the weights are written.
    _read_keys(card_object(replace(card, weights_sha256="0" * 64)), complaints)
    complaints.check(path)


def _check_format(table: Mapping[str, object], path: Path) -> None:
    """Refuse another format or version at once: what its other keys mean is not known."""
    kind, version = table.get("format"), table.get("version")
    if isinstance(kind, str) and kind != CARD_FORMAT:
        problem = f'"format" is {kind!r}, not {CARD_FORMAT!r}.'
        raise CardError(path, problem, "Make the bundle with slidecam bundle.")
    if isinstance(version, int | float) and version != CARD_VERSION:
        problem = f'"version" is {version}, and this slidecam reads {CARD_VERSION}.'
        remedy = "Install a slidecam that knows it, or make the bundle anew."
        raise CardError(path, problem, remedy)


def _read_keys(table: Mapping[str, object], complaints: CardComplaints) -> dict[str, Any]:
    """Return what a card says under each key that is right; complain of all others."""
    filled, coarsest = dict(table), COARSEST
    if table.get("volume") is not None:
        filled["volume"] = with_ends(table["volume"])
        coarsest = COARSEST_VOXEL
    values = read_fields(CardKeys, filled, "", complaints, others=True)
    check_together(values, complaints, coarsest)
    colourless = values.get("channels") == GREY or values.get("volume") is not None
    if values.get("stain") is not None and colourless:
        problem = "stands on the card of a classifier of grey, which has no stains"
        complaints.add("stain", problem, "Leave the key out.")
    return values
