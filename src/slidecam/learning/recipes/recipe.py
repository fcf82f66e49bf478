"""Recipes: one short TOML file says everything about a training but where its pictures lie.

A recipe has the tables ``[model]``, ``[data]``, ``[augment]``, ``[train]`` and, where parts are
trained one after another, several ``[[phase]]`` that begin from ``[train]`` and say what differs.
``[features]`` trains the end of a network on the cached output of its frozen beginning, ``[graph]``
a graph of cells, ``[volume]`` is what the card says of volumes, and ``[published]`` what others
reported. Every key has a default but ``model.architecture``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slidecam.errors import RecipeError, SlidecamError
from slidecam.learning.data.augmentation import AugmentationSpec
from slidecam.learning.published import read_published
from slidecam.learning.recipes.tables import (
    DataSpec,
    FeatureSpec,
    GraphSpec,
    ModelSpec,
    Recipe,
    TrainSpec,
)
from slidecam.models.architectures import ARCHITECTURES, TIMM, full_name, is_known
from slidecam.models.card_parts import VolumeCard, VolumeKeys, with_ends
from slidecam.models.channels import ARGUMENT, COLOURS, argued_channels, channel_problem
from slidecam.models.light_timm import timm
from slidecam.parsing import ParseError, toml_in, toml_of, whole_number
from slidecam.settings import Complaints, names_like, nearest, read_settings, shown
from slidecam.viewing import AS_THE_FILE_SAYS

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.viewing import PictureView


TABLES = ("model", "data", "augment", "features", "graph", "train", "phase", "volume", "published")


def read_recipe(
    path: Path, overrides: Sequence[str] = (), seen: PictureView = AS_THE_FILE_SAYS
) -> Recipe:
    """Return the recipe in a file.

    Parameters
    ----------
    path
        A TOML file.
    overrides
        ``key=value`` pairs that are set over it: ``train.epochs=2``, ``phase.0.lr=1e-4``,
        ``augment.flip=true``. Values are TOML where they can be, else text.
    seen
        Which picture of files that hold several; set over ``[data]`` as well.

    Raises
    ------
    RecipeError
        Listing everything that is wrong: keys that are not known, values that cannot be, tables
        that contradict each other.
    """
    table = _table(path)
    complaints = Complaints()
    for pair in overrides:
        _override(table, pair, complaints)
    _see(table, seen, overrides, complaints)
    return _checked(path, table, complaints)


def with_settings(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with ``key=value`` pairs set over it; RecipeError as of `read_recipe`."""
    table = copy.deepcopy(dict(recipe.table))
    complaints = Complaints()
    for pair in overrides:
        _override(table, pair, complaints)
    return _checked(recipe.path, table, complaints)


def _checked(path: Path, table: dict[str, Any], complaints: Complaints) -> Recipe:
    recipe = _recipe(path, table, complaints)
    if recipe is not None:
        check_graph(recipe, complaints)
    if recipe is None or complaints.lines:
        listed = "\n".join(f"  - {line}" for line in complaints.lines)
        problem = f"{len(complaints.lines)} wrong in the recipe ({path}):\n{listed}\n"
        raise RecipeError(problem, "Mend the recipe, or set a value with --set KEY=VALUE.")
    return recipe


def recipe_text(table: Mapping[str, Any]) -> str:
    """Return a recipe's tables as TOML."""
    plain = {key: value for key, value in table.items() if not _is_table(value)}
    blocks = []
    if plain:
        blocks.append(_settings(plain))
    for name, value in table.items():
        if not _is_table(value):
            continue
        if isinstance(value, list):
            blocks += [[f"[[{name}]]", *_settings(each)] for each in value]
        else:
            blocks.append([f"[{name}]", *_settings(value)])
    return "\n\n".join(map("\n".join, blocks)) + "\n"


def _table(path: Path) -> dict[str, Any]:
    try:
        return toml_in(path)
    except OSError as error:
        raise RecipeError(
            f"the recipe cannot be read: {error}.", "Name a recipe, a TOML file.", path
        ) from error
    except ParseError as error:
        raise RecipeError(f"the recipe is not TOML: {error}.", "Mend that line.", path) from error


def _override(
    table: dict[str, Any],
    pair: str,
    complaints: Complaints,
) -> None:
    key, equals, value = pair.partition("=")
    *parents, last = key.strip().split(".")
    place: Any = table
    if parents[:1] == ["phase"] and not isinstance(table.get("phase"), list):
        complaints.add(
            f"--set {pair}",
            "is for a phase, and the recipe has no [[phase]]",
            "Set it in train instead.",
        )
        return
    for name in parents:
        if isinstance(place, list):
            places: dict[int | None, Any] = dict(enumerate(place))
            place = places.get(whole_number(name))
        elif isinstance(place, dict):
            place = place.setdefault(name, {})
    if not equals or not parents or not isinstance(place, dict):
        complaints.add(
            f"--set {pair}",
            "sets no key of a table",
            "Write --set train.epochs=2, or phase.0.epochs=2.",
        )
        return
    place[last] = toml_value(value)


def _see(
    table: dict[str, Any], seen: PictureView, overrides: Sequence[str], complaints: Complaints
) -> None:
    """Set what a view chooses over ``[data]``, in the words of a recipe."""
    said = {pair.partition("=")[0].strip() for pair in overrides}
    place = table.setdefault("data", {}) if seen.chosen else None
    for name, value in seen.chosen.items():
        key = "color_profile" if name == "profile" else name
        if f"data.{key}" in said:
            complaints.add(f"--{name}", f"stands beside --set data.{key}", "Leave one of them out.")
        elif isinstance(place, dict):
            place[key] = list(value) if isinstance(value, tuple) else value


def toml_value(text: str) -> object:
    """Return what TOML reads in a text; the text itself where that is nothing."""
    try:
        value: object = toml_of(f"value = {text}")["value"]
    except ParseError:
        return text.strip()
    return value


def _recipe(
    path: Path,
    table: Mapping[str, Any],
    complaints: Complaints,
) -> Recipe | None:
    known = [f"[{name}]" for name in TABLES]
    for name in table:
        if name not in TABLES:
            complaints.add(f"[{name}]", "is not known", nearest(f"[{name}]", known))
    model = read_settings(ModelSpec, table.get("model", {}), "model", complaints)
    data = read_settings(DataSpec, table.get("data", {}), "data", complaints)
    augment = read_settings(AugmentationSpec, table.get("augment", {}), "augment", complaints)
    features, graph = None, None
    if "features" in table:
        features = read_settings(FeatureSpec, table["features"], "features", complaints)
    if "graph" in table:
        graph = read_settings(GraphSpec, table["graph"], "graph", complaints)
    phases = _phases(table, complaints)
    # Each table that could be read is checked, whatever is wrong in another: all of it is reported
    # at once.
    if model is not None:
        _check_model(model, complaints)
    if data is not None:
        _check_data(data, complaints)
    volume = _volume(table, data, complaints)
    published = read_published(table, complaints)
    if model is not None and data is not None:
        _check_channels(model, data, complaints)
    _check_phases(phases, complaints)
    if features is not None and augment is not None:
        _check_augment(augment, features, table, complaints)
    if model is None or data is None or augment is None or complaints.lines:
        return None
    return Recipe(path, model, data, augment, features, phases, table, graph, volume, published)


def _check_augment(
    augment: AugmentationSpec,
    features: FeatureSpec,
    table: Mapping[str, Any],
    complaints: Complaints,
) -> None:
    """Note what of ``[augment]`` cached features would pass over."""
    if not features.copies and "augment" in table:
        remedy = "Set features.copies above 0, or leave [augment] out."
        complaints.add("[augment]", "has no meaning with features.copies = 0", remedy)
    if augment.classes:
        remedy = "Leave augment.classes or [features] out: cached copies are of all classes."
        complaints.add("augment.classes", "has no meaning beside [features]", remedy)


def _volume(
    table: Mapping[str, Any], data: DataSpec | None, complaints: Complaints
) -> VolumeCard | None:
    """Return what the recipe's card will say of volumes; a class that it names is of the data."""
    if "volume" not in table:
        return None
    keys = read_settings(VolumeKeys, with_ends(table["volume"]), "volume", complaints)
    if keys is None:
        return None
    if data is not None:
        keys.check(data.classes, "softmax", complaints)
    return keys.card()


def _phases(table: Mapping[str, Any], complaints: Complaints) -> tuple[TrainSpec, ...]:
    common, listed = table.get("train", {}), table.get("phase", [{}])
    first = read_settings(TrainSpec, common, "train", complaints)
    if first is None:
        return ()
    if not isinstance(listed, list) or not listed:
        complaints.add("phase", f"is {shown(listed)}", "Write each phase as a [[phase]] table.")
        return ()
    if listed == [{}]:
        return (first,)
    phases = []
    for number, own in enumerate(listed):
        settings = own
        if isinstance(own, Mapping):
            settings = {**common, **own}
        phases.append(read_settings(TrainSpec, settings, f"phase.{number}", complaints))
    return tuple(filter(None, phases))


def _check_model(model: ModelSpec, complaints: Complaints) -> None:
    if not is_known(full_name(model.architecture)):
        known = [*ARCHITECTURES, *timm.list_models()]
        own = f"Own ones are {', '.join(ARCHITECTURES)}."
        complaints.add(
            "model.architecture",
            f"is {shown(model.architecture)}, which is no network known here",
            names_like(model.architecture.removeprefix(TIMM), known, own),
        )


def _check_channels(model: ModelSpec, data: DataSpec, complaints: Complaints) -> None:
    channels = argued_channels(model.architecture_args) or COLOURS
    problem = channel_problem(channels)
    if problem:
        remedy = f"Write {ARGUMENT} = 3 (red, green, blue) or {ARGUMENT} = 1 (grey)."
        complaints.add("model.architecture_args", f"asks for {problem}", remedy)
        return
    for key in ("mean", "std"):
        found = getattr(data, key)
        if found and len(found) != channels:
            problem = f"is {shown(found)}, and the network has {channels} channels ({ARGUMENT})"
            complaints.add(f"data.{key}", problem, "Write one number for each, or leave it out.")


def _check_data(data: DataSpec, complaints: Complaints) -> None:
    parts: tuple[tuple[str, Callable[[], object]], ...] = (
        ("data", lambda: data.reading),
        ("data.train, val and test", lambda: data.parting),
        ("data.repeat", lambda: data.times(())),
        ("data.channels", lambda: data.seen),
    )
    for key, part in parts:
        try:
            part()
        except SlidecamError as error:
            complaints.add(key, f"says: {error.clause}", error.remedy)
    if len(data.classes) == 1 or len(set(data.classes)) < len(data.classes):
        complaints.add(
            "data.classes",
            f"is {shown(data.classes)}",
            "Write two or more different names, or none.",
        )
    if (data.spacing is None) != (data.tile_px is None):
        complaints.add(
            "data.spacing and tile_px",
            "are not both there",
            "Write both for tiles of slides, or neither.",
        )


def _check_phases(phases: Sequence[TrainSpec], complaints: Complaints) -> None:
    for key in ("seed", "monitor"):
        if len({getattr(phase, key) for phase in phases}) > 1:
            complaints.add(
                f"phase.{key}",
                "differs between phases",
                f"Write {key} once, in [train].",
            )
    for number, phase in enumerate(phases):
        if phase.monitor == "last" and phase.patience:
            complaints.add(
                "train.patience",
                f"is {phase.patience}",
                "With monitor = last it must be 0.",
            )
        if isinstance(phase.trainable, str) and phase.trainable not in {"all", "head"}:
            where = f"phase.{number}"
            if len(phases) == 1:
                where = "train"
            remedy = f'Write "all", "head", a number of layers, or a list: ["{phase.trainable}"].'
            complaints.add(f"{where}.trainable", f"is {shown(phase.trainable)}", remedy)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
    )


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        return f"{{ {', '.join(_settings(value))} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def _settings(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


GRAPHS = frozenset({"slidecam/resnet18_gcn", "slidecam/cell_graph"})
"""Architectures that ``[graph]`` trains, and nothing else does."""

SIZES = ("nodes", "neighbours", "hidden", "dropout")
"""Arguments of theirs that the data and ``[graph]`` decide."""


def check_graph(recipe: Recipe, complaints: Complaints) -> None:
    """Note what does not go with a ``[graph]``, or with a graph's architecture without one."""
    is_graph = full_name(recipe.model.architecture) in GRAPHS
    if recipe.graph is None:
        if is_graph:
            remedy = "Write a [graph] table; an empty one takes the study's values."
            complaints.add(
                "[graph]",
                f"is missing, and {recipe.model.architecture} is a graph of cells",
                remedy,
            )
        return
    if not is_graph:
        remedy = f"Write one of {', '.join(sorted(GRAPHS))}, or leave [graph] out."
        complaints.add(
            "model.architecture",
            f'is "{recipe.model.architecture}", which has no graph',
            remedy,
        )
    for name in ("augment", "features", "phase"):
        if name in recipe.table:
            remedy = "Leave it out: the embedder of a graph is not trained."
            complaints.add(f"[{name}]", "has no meaning beside [graph]", remedy)
    for key in recipe.table.get("train", {}):
        if key != "seed":
            complaints.add(
                f"train.{key}",
                "has no meaning beside [graph]",
                "Write it into [graph], or leave it out.",
            )
    for key in SIZES:
        if key in recipe.model.architecture_args:
            complaints.add(
                f"model.architecture_args.{key}",
                "is decided elsewhere",
                "Leave it out; see [graph].",
            )
