"""What lies beside weights and says what they are: timm's and transformers' ``config.json``.

Also what training programs write into a checkpoint: Lightning's ``hyper_parameters``, timm's
``args``, names of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

from annotated_types import Ge, Le

from slidecam.class_names import normal_name
from slidecam.errors import CardError
from slidecam.models.architectures import full_name, is_known
from slidecam.models.card import Card, Deviations, Interpolation, JsonObject, Pixels
from slidecam.models.card_file import CardComplaints, read_json_object
from slidecam.models.channels import ARGUMENT, COLOURS, PerChannel
from slidecam.models.wsinfer import CONFIG_FILE, is_hugging_face
from slidecam.settings import read_fields

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.models.bundle_maker import BundleSpec
    from slidecam.models.checkpoints import WeightsFound

PREPROCESSOR = "preprocessor_config.json"
"""Where transformers keep how pictures are scaled."""

_PLACES = ("hyper_parameters", "datamodule_hyper_parameters", "args", "config", "cfg", "meta")
"""Tables of a checkpoint that hold its program's settings."""

_ARCHITECTURE_KEYS = ("arch", "architecture", "model_name", "model", "backbone", "encoder")
_NAME_KEYS = ("class_names", "classes", "label_names", "labels", "class_to_idx")
_NUMBERED_KEYS = ("idx_to_class", "id2label")
_SIZE_KEYS = ("img_size", "image_size", "input_size", "input_px")
_PIL = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""PIL's numbers of the filters that transformers name."""


Seen = Annotated[int, Ge(1), Le(4096)]
"""Edge of what a network sees, as a recipe has it."""


@dataclass(frozen=True)
class Described:
    """What is said of weights; what is not is empty.

    Attributes
    ----------
    origin
        The file or table that says it.
    architecture, architecture_args
        As a card writes them.
    class_names
        In the logits' order.
    classes
        How many logits; None where that is not said.
    mean, std, input_px, interpolation
        What the network was given.
    crop
        Share of a picture's edge that it was shown.
    """

    origin: str = ""
    architecture: str = ""
    architecture_args: Mapping[str, object] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    classes: int | None = None
    mean: PerChannel | None = None
    std: PerChannel | None = None
    input_px: int | None = None
    interpolation: Interpolation | None = None
    crop: float | None = None
    licence: str = ""


@dataclass(frozen=True)
class _Pictures:
    """The keys of timm's ``pretrained_cfg`` that are read."""

    mean: PerChannel | None = None
    std: Deviations | None = None
    input_size: tuple[Pixels, Seen, Seen] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    num_classes: Annotated[int, Ge(0)] | None = None
    label_names: tuple[str, ...] | None = None
    license: str | None = None


@dataclass(frozen=True)
class _Config:
    """The keys of a ``config.json`` that are read: timm's, then transformers'."""

    architecture: str | None = None
    architectures: tuple[str, ...] | None = None
    num_classes: Annotated[int, Ge(0)] | None = None
    label_names: tuple[str, ...] | None = None
    model_args: JsonObject | None = None
    pretrained_cfg: JsonObject | None = None
    id2label: JsonObject | None = None
    image_size: Seen | None = None


@dataclass(frozen=True)
class _Preprocessor:
    """The keys of ``preprocessor_config.json`` that are read."""

    image_mean: PerChannel | None = None
    image_std: Deviations | None = None
    resample: int | None = None


def described(checkpoint: WeightsFound) -> Described:
    """Return what is said of weights, by the file beside them or else by what lies in them.

    Raises
    ------
    CardError
        If a ``config.json`` says something impossible.
    """
    path = checkpoint.path.parent / CONFIG_FILE
    if is_hugging_face(checkpoint.path.parent):
        return read_config(path)
    return in_checkpoint(checkpoint.facts)


def read_config(path: Path) -> Described:
    """Return what a ``config.json`` of timm's or transformers' says; CardError as above."""
    table = read_json_object(path)
    complaints = CardComplaints()
    config = _Config(**read_fields(_Config, table, "", complaints, others=True))
    pictured: Mapping[str, object] = table
    where = ""
    if config.pretrained_cfg is not None:
        pictured, where = config.pretrained_cfg, "pretrained_cfg"
    pictures = _Pictures(**read_fields(_Pictures, pictured, where, complaints, others=True))
    scaling = _preprocessor(path.parent / PREPROCESSOR, complaints)
    names = config.label_names or pictures.label_names or _numbered(config.id2label)
    complaints.check(path)
    classes = config.num_classes
    if classes is None:
        classes = pictures.num_classes
    if names and classes is not None and len(names) != classes:
        problem = f'"num_classes" is {classes}, and {len(names)} classes are named.'
        raise CardError(path, problem, "Make them agree, or take the file away and pass --classes.")
    size = config.image_size
    if pictures.input_size is not None:
        size = pictures.input_size[-1]
    return Described(
        CONFIG_FILE,
        _network_named(config, path),
        _arguments(config.model_args or {}),
        names,
        classes,
        pictures.mean or scaling.image_mean,
        pictures.std or scaling.image_std,
        size,
        _filter(pictures.interpolation or _PIL.get(scaling.resample or -1), path),
        pictures.crop_pct,
        pictures.license or "",
    )


def _network_named(config: _Config, path: Path) -> str:
    """Return the architecture that a configuration names, where there is one by that name here."""
    if config.architecture is None:
        return ""
    name = full_name(config.architecture)
    if not is_known(name):
        problem = f'"architecture" is {config.architecture!r}, which timm does not know.'
        raise CardError(path, problem, "Pass --arch, the network that the weights are for.")
    return name


def _arguments(given: Mapping[str, object]) -> dict[str, object]:
    """Return a network's arguments without what a card says elsewhere."""
    kept = {}
    for name, value in given.items():
        usual = name == ARGUMENT and value == COLOURS
        if name != "num_classes" and not usual and value is not None:
            kept[name] = value
    return kept


def _preprocessor(path: Path, complaints: CardComplaints) -> _Preprocessor:
    if not path.is_file():
        return _Preprocessor()
    table = read_json_object(path)
    return _Preprocessor(**read_fields(_Preprocessor, table, PREPROCESSOR, complaints, others=True))


def _filter(name: str | None, path: Path) -> Interpolation | None:
    if name is None or name == "random":
        return None
    if name not in get_args(Interpolation):
        known = ", ".join(get_args(Interpolation))
        problem = f'"interpolation" is {name!r}, and tiles are resized by {known}.'
        raise CardError(path, problem, "Write one of these, or take the key out.")
    return cast("Interpolation", name)


def _numbered(table: object) -> tuple[str, ...]:
    """Return the names in a table of names by number, in their order; none of anything else."""
    if not isinstance(table, Mapping) or not all(str(key).isdigit() for key in table):
        return ()
    numbered = {int(key): name for key, name in table.items()}
    if sorted(numbered) != list(range(len(table))):
        return ()
    return _names([numbered[number] for number in sorted(numbered)])


def _names(value: object) -> tuple[str, ...]:
    """Return names out of a list, or out of a table of numbers by name; none of anything else."""
    if isinstance(value, Mapping):
        if not all(isinstance(number, int) for number in value.values()):
            return ()
        return _numbered({number: name for name, number in value.items()})
    if not isinstance(value, list) or not value:
        return ()
    if not all(isinstance(name, str) and name.strip() for name in value):
        return ()
    return tuple(map(normal_name, value))


def in_checkpoint(facts: Mapping[str, object]) -> Described:
    """Return what a training program's settings in a checkpoint say of its network."""
    tables: list[tuple[str, Mapping[Any, object]]] = [("the checkpoint", facts)]
    for place in _PLACES:
        table = facts.get(place)
        if isinstance(table, Mapping):
            tables.append((f"its {place}", table))
    found: dict[str, Any] = {}
    origins: list[str] = []
    for origin, table in tables:
        new = {key: value for key, value in _said_in(table).items() if key not in found}
        if new:
            origins.append(origin)
        found |= new
    return Described(" and ".join(origins), **found)


def _said_in(table: Mapping[Any, object]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    readers: tuple[tuple[str, tuple[str, ...], Callable[[Any], object]], ...] = (
        ("architecture", _ARCHITECTURE_KEYS, _network),
        ("class_names", _NAME_KEYS, _names),
        ("class_names", _NUMBERED_KEYS, _numbered),
        ("mean", ("mean",), _per_channel),
        ("std", ("std",), _per_channel),
        ("input_px", _SIZE_KEYS, _edge),
        ("interpolation", ("interpolation",), _known_filter),
    )
    for field_name, keys, read in readers:
        for key in keys:
            value = read(table.get(key))
            if value:
                found.setdefault(field_name, value)
    return found


def _edge(value: object) -> int | None:
    if isinstance(value, list) and value:
        return _edge(value[-1])
    if isinstance(value, int) and value > 1:
        return value
    return None


def _known_filter(value: object) -> Interpolation | None:
    if isinstance(value, str) and value in get_args(Interpolation):
        return cast("Interpolation", value)
    return None


def _network(name: object) -> str:
    """Return an architecture's full name; nothing where none is called so."""
    if isinstance(name, str) and is_known(full_name(name)):
        return full_name(name)
    return ""


def _per_channel(value: object) -> PerChannel | None:
    """Return one or three numbers from 0 to 1, else None."""
    if not isinstance(value, list) or len(value) not in {1, COLOURS}:
        return None
    if not all(isinstance(number, int | float) and 0 <= number <= 1 for number in value):
        return None
    return cast("PerChannel", tuple(map(float, value)))


def in_words(value: object) -> str:
    """Return a value as a sentence has it."""
    if isinstance(value, tuple):
        return ", ".join(map(in_words, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


OPTIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "architecture": ("Architecture", "--arch"),
        "class_names": ("Classes, in this order", "--classes"),
        "mean": ("Mean", "--mean"),
        "std": ("Deviation", "--std"),
        "input_px": ("Edge that tiles are resized to", "--resize"),
        "interpolation": ("Filter", "--interpolation"),
    }
)
"""What a file beside weights can say, in words, and the option that says it too."""


def _unsaid(spec: BundleSpec, said: Described, readings: list[str]) -> dict[str, Any]:
    """Return what no option says and lies beside the weights; note each, and contradictions."""
    values: dict[str, Any] = {}
    for key, (noun, option) in OPTIONS.items():
        given, beside = getattr(spec, key), getattr(said, key)
        if key == "architecture" and given:
            given = full_name(given)
        if beside and not given:
            values[key] = beside
            source = f"(from {said.origin}); {option} says otherwise."
            readings.append(f"{noun}: {in_words(beside)} {source}")
        elif beside and given != beside:
            against = f"against {in_words(beside)} of {said.origin}."
            readings.append(f"{option} {in_words(given)} was taken, {against}")
    return values


def completed(
    spec: BundleSpec,
    checkpoint: WeightsFound,
    path: Path,
) -> tuple[BundleSpec, tuple[str, ...]]:
    """Return what is to be made, with what was not said taken from what lies beside the weights.

    Also what was decided, a sentence each.

    Raises
    ------
    CardError
        If the architecture, the classes or the edge of tiles are said nowhere.
    """
    said = described(checkpoint)
    readings = list(checkpoint.readings)
    values = _unsaid(spec, said, readings)
    ours = full_name(spec.architecture or said.architecture)
    if said.architecture_args and ours == said.architecture:
        values["architecture_args"] = {**said.architecture_args, **spec.architecture_args}
        listed = in_words(tuple(f"{key}={value}" for key, value in said.architecture_args.items()))
        readings.append(f"Its arguments ({listed}) are from {said.origin}; --arch-arg says more.")
    if said.crop is not None and said.crop < 1:
        cut = (
            f"By {said.origin} the network was shown the middle {said.crop:.1%} of a picture's edge"
        )
        readings.append(f"{cut}, and here it sees a whole tile; a smaller --tile shows less.")
    complete = replace(spec, **values)
    if complete.tile_px is None and complete.input_px is not None:
        complete = replace(complete, tile_px=complete.input_px)
        readings.append(
            f"Tiles are of {complete.tile_px} px, as the network sees; --tile changes it."
        )
    if spec.licence == Card.licence and said.licence:
        complete = replace(complete, licence=said.licence)
    _check_complete(complete, said, path)
    return complete, tuple(readings)


def _check_complete(spec: BundleSpec, said: Described, path: Path) -> None:
    beside = "neither by an option nor beside the weights"
    if not spec.architecture:
        problem = f'"architecture" is said {beside}.'
        raise CardError(path, problem, "Pass --arch, the network that the weights are for.")
    if not spec.class_names:
        count = f", and the network has {said.classes}" if said.classes else ""
        problem = f'"class_names" are said {beside}{count}.'
        raise CardError(path, problem, "Pass --classes, in the order of the logits.")
    if spec.tile_px is None:
        raise CardError(
            path,
            f'"tile_px" is said {beside}.',
            "Pass --tile, a tile's edge in pixels.",
        )
