"""Checkpoints as training programs leave them, read without running anything.

A pickle goes through torch's restricted unpickler. What settings lie in it (``argparse.Namespace``,
OmegaConf, NumPy's scalars) become `Settings`, which hold what was pickled and do nothing.
"""

from __future__ import annotations

import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Self
from zipfile import is_zipfile

from slidecam.errors import WeightsError
from slidecam.files import refuse_unnameable
from slidecam.models.fitting import network_tensors
from slidecam.models.weights import (
    PICKLES,
    SAFETENSORS,
    check_archive,
    check_weights_file,
    content_of,
    few,
    first_line,
    more_than_tensors,
    refuse_foreign,
    tensors_from_bytes,
)
from slidecam.parsing import ParseError, json_of
from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import Tensor
else:
    torch = deferred("torch")

INDEX = ".index.json"
"""What the names of lists of shards end with."""

USUAL_FILES = (
    f"model{SAFETENSORS}",
    f"model{SAFETENSORS}{INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
)
"""Where Hugging Face's programs keep weights, in the order in which they look for them."""

_BEST = "best/"
"""What names of the best weights begin with in a checkpoint of `slidecam train`."""

_SETTINGS = frozenset(
    (
        *("argparse", "collections", "datetime", "enum", "lightning", "lightning_fabric", "numpy"),
        *("omegaconf", "pathlib", "pytorch_lightning", "timm", "torchmetrics", "typing", "yacs"),
    )
)
"""Packages whose objects training programs keep beside weights; none of their code is run."""

_TYPES = frozenset(f"builtins.{kind}" for kind in ("bool", "dict", "float", "int", "list", "str"))
"""Classes that OmegaConf notes as the types of its values."""

_MACHINERY = frozenset(("callbacks", "loops", "lr_schedulers", "opt", "optimizer", "optimizers"))
"""Tables of a checkpoint that go on with a training, and hold no network."""

_DEEPEST, _LONGEST = 3, 2048
"""How deep settings are read, and how many of a table or list."""

_MOST = 10_000
"""Tables in a file."""

_SAVE = "Save one: torch.save(network.state_dict(), FILE)."


class Settings:
    """What was pickled of a program's own object: its arguments and its state."""

    def __init__(self, *arguments: object, **_named: object) -> None:
        self.arguments: tuple[object, ...] = arguments
        self.state: object = {}

    def __new__(cls, *_arguments: object, **_named: object) -> Self:
        """Return one with nothing in it; an unpickler makes it so, and gives it a state then."""
        made = super().__new__(cls)
        made.arguments, made.state = (), {}
        return made

    def __setstate__(self, state: object) -> None:
        """Keep a state as it is."""
        self.state = state

    def __hash__(self) -> int:
        """Return a number by which one is a key, as an unpickled one may be."""
        return id(self)


@dataclass(frozen=True)
class WeightsFound:
    """What a file of weights holds, or a list of shards.

    Attributes
    ----------
    path
        The file that was read.
    tensors
        By their names; those of nested tables begin with the tables' names
        (``state_dict.conv1.weight``).
    tables
        Names of the tables in the file that hold tensors, each with its dot.
    facts
        All else at its top, as plain values: a training program's settings, names of classes.
    readings
        What had to be decided to read it, a sentence each.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    tables: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    readings: tuple[str, ...] = ()


def read_checkpoint(path: Path, *, trust: bool = False) -> WeightsFound:
    """Return what lies in a file of weights, in a list of shards, or in a folder of either.

    Parameters
    ----------
    path
        A safetensors file, with ``trust`` one that PyTorch pickled, a ``….index.json``, or a
        folder of Hugging Face's. A shard that a list beside it names stands for all of them.
    trust
        Whether a pickle may be opened. Even then only tensors and plain values are unpickled.

    Raises
    ------
    UntrustedCodeError
        If it is a pickle and ``trust`` is False.
    WeightsError
        If it cannot be read, is another program's, lists what is not there or holds no tensors.
    """
    found, readings = weights_in(path)
    if found.name.endswith(INDEX):
        return _of_shards(found, readings, trust=trust)
    checkpoint = _of_file(found, trust=trust)
    return replace(checkpoint, readings=readings)


def weights_from_file(path: Path, *, trust: bool = False) -> dict[str, Tensor]:
    """Return the tensors of a weights file by their names in the network.

    A state dict inside ``state_dict``, ``model`` and the like is found; a prefix that all names
    share (``module.``) is taken off. Of a training's checkpoint it is the best weights. Parameters
    and errors as of `read_checkpoint`.
    """
    found = read_checkpoint(path, trust=trust)
    return network_tensors(found.tensors, found.tables)


def weights_in(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the file that stands for ``path``, and what was decided; errors as above."""
    if path.is_dir():
        return _of_folder(path)
    refuse_foreign(path)
    for index in sorted(path.parent.glob(f"*{INDEX}")):
        if path.is_file() and path.name in _listed(index).values():
            said = f"The file {path.name} is a shard of {index.name}, which was read"
            return index, (f"{said} with all others; name a file without a list to read less.",)
    return path, ()


def _of_folder(folder: Path) -> tuple[Path, tuple[str, ...]]:
    refuse_foreign(folder)
    there = [name for name in USUAL_FILES if (folder / name).is_file()]
    if not there:
        kinds = {SAFETENSORS, *PICKLES}
        there = sorted(path.name for path in folder.iterdir() if path.suffix in kinds)
        if len(there) != 1:
            problem = f"The folder holds none of {', '.join(USUAL_FILES)}."
            if there:
                problem = f"The folder holds {len(there)} files of weights: {', '.join(there)}."
            raise WeightsError(folder, problem, "Name the file of weights itself.")
    if len(there) > 1:
        others = ", ".join(there[1:])
        said = f"Of the folder's weights {there[0]} was read, and {others} was not."
        return folder / there[0], (f"{said} Name a file to read another.",)
    return folder / there[0], ()


def _listed(index: Path) -> dict[str, str]:
    """Return the shard of each tensor as a list says it; WeightsError if it is none."""
    remedy = "Copy the list and its shards again, or name one file of weights."
    try:
        table = json_of(content_of(index))
    except ParseError as error:
        raise WeightsError(index, f"The list of shards is no JSON: {error}.", remedy) from error
    shards = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise WeightsError(index, "The list of shards holds no weight_map.", remedy)
    for name, shard in shards.items():
        if not isinstance(shard, str) or not _is_beside(shard):
            problem = f"The list of shards says that {name} lies in {shard!r}."
            raise WeightsError(index, problem, "Shards lie beside their list; mend it.")
    return shards


def _is_beside(name: str) -> bool:
    plain = PurePosixPath(name).name == name == PureWindowsPath(name).name
    return plain and bool(name) and name not in {".", ".."}


def _of_shards(index: Path, readings: tuple[str, ...], *, trust: bool) -> WeightsFound:
    listed = _listed(index)
    tensors: dict[str, Tensor] = {}
    unlisted: list[str] = []
    for shard in sorted(set(listed.values())):
        path = index.parent / shard
        refuse_unnameable(path)
        if not path.is_file():
            problem = f"The shard {shard} is missing, in which {_names_in(listed, shard)} lie."
            raise WeightsError(index, problem, "Copy it beside the list.")
        for name, tensor in _of_file(path, trust=trust).tensors.items():
            if listed.get(name) == shard:
                tensors[name] = tensor
            else:
                unlisted.append(name)
    missing = sorted(listed.keys() - tensors.keys())
    if missing:
        problem = f"The list of shards names what they do not hold: {'; '.join(few(missing))}."
        raise WeightsError(index, problem, "The list or a shard is damaged; copy both again.")
    if unlisted:
        said = f"The shards hold {len(unlisted)} tensors more than {index.name} lists, left out"
        readings += (f"{said}: {'; '.join(few(unlisted))}. Name a shard alone to read it.",)
    return WeightsFound(index, tensors, readings=readings)


def _names_in(listed: Mapping[str, str], shard: str) -> str:
    names = [name for name, place in listed.items() if place == shard]
    return "; ".join(few(names))


def _of_file(path: Path, *, trust: bool) -> WeightsFound:
    check_weights_file(path, trust=trust)
    if path.suffix == SAFETENSORS:
        tensors = tensors_from_bytes(content_of(path), path)
        return WeightsFound(path, _best_of_training(tensors))
    content = _unpickled(path)
    if not isinstance(content, Mapping):
        raise more_than_tensors(path, f"It is a {type(content).__name__} and no table.")
    found, tables = _flattened(content, path)
    if not found:
        raise WeightsError(path, "The file holds no state dict.", _SAVE)
    facts = {}
    for key, value in content.items():
        holds_weights = isinstance(value, torch.Tensor) or f"{key}." in tables
        if isinstance(key, str) and not holds_weights:
            facts[key] = plain(value)
    return WeightsFound(path, found, tuple(tables), facts)


def _best_of_training(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the best weights of a checkpoint that marks them so; all tensors of any other file."""
    best = {}
    for name, tensor in tensors.items():
        if name.startswith(_BEST):
            best[name.removeprefix(_BEST)] = tensor
    return best or tensors


def _flattened(content: Mapping[Any, object], path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of a table and of those in it, and the names of the tables they lie in."""
    found: dict[str, Tensor] = {}
    tables: list[str] = []
    network = {key: value for key, value in content.items() if key not in _MACHINERY}
    waiting: list[tuple[str, Mapping[Any, object]]] = [("", network)]
    while waiting:
        under, table = waiting.pop(0)
        if len(tables) > _MOST:
            raise WeightsError(path, "The file holds tables in tables without end.", _SAVE)
        tables.append(under)
        for key, value in table.items():
            if not isinstance(key, str):
                continue
            name = f"{under}{key}"
            if isinstance(value, Mapping):
                waiting.append((f"{name}.", value))
            elif isinstance(value, torch.Tensor):
                _check_tensor(name, value, path)
                if name in found:
                    raise WeightsError(path, f"The file holds two tensors {name}.", _SAVE)
                found[name] = value

    def holds_some(under: str) -> bool:
        return any(name.startswith(under) for name in found)

    return found, list(filter(holds_some, tables[1:]))


def _check_tensor(name: str, tensor: Tensor, path: Path) -> None:
    dense = tensor.layout is torch.strided and tensor.device.type == "cpu"
    if not dense or tensor.is_quantized:
        problem = f"{name} is no plain tensor of numbers ({tensor.layout}, {tensor.dtype})."
        raise WeightsError(path, problem, "Save a dense network of floating point numbers.")


def plain(value: object, depth: int = 0) -> object:
    """Return a value without any object in it, up to some depth and length.

    None for what has no plain form.
    """
    if depth > _DEEPEST:
        return None
    if isinstance(value, Settings):
        return _of_settings(value, depth)
    if isinstance(value, Mapping):
        table = {}
        for key, item in islice(value.items(), _LONGEST):
            if isinstance(key, str | int):
                table[key] = plain(item, depth + 1)
        return table
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item, depth + 1) for item in islice(value, _LONGEST)]
    return None


def _of_settings(value: Settings, depth: int) -> object:
    """Return what settings hold: OmegaConf's tables keep it under ``_content`` and ``_val``."""
    state = value.state
    if not isinstance(state, Mapping):
        return None
    for key in ("_content", "_val"):
        if key in state:
            return plain(state[key], depth + 1)
    return plain(state, depth + 1)


def _unpickled(path: Path) -> object:
    check_archive(path)
    try:
        with warnings.catch_warnings(), _nothing_allowed():
            # torch's advice to who wrote the file; nothing of it concerns who reads it.
            warnings.simplefilter("ignore")
            inert: list[Any] = list(map(_stand_in, _program_objects(path)))
            with torch.serialization.safe_globals(inert):
                return torch.load(path, map_location="cpu", weights_only=True)
    # The boundary of a file that may hold anything: torch's unpickler is a machine of stacks, which
    # a damaged file leaves by IndexError, KeyError, TypeError, AttributeError and MemoryError too.
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise more_than_tensors(path, first_line(error)) from error
    except Exception as error:
        problem = f"The file is damaged or cut off: {first_line(error)}."
        raise WeightsError(path, problem, "Copy it again.") from error


def _stand_in(name: str) -> tuple[Any, str]:
    if name == "collections.defaultdict":
        # Empty, and without the function that would make its values.
        return lambda *_arguments: OrderedDict(), name
    return Settings, name


@contextmanager
def _nothing_allowed() -> Iterator[None]:
    """Forget for a while which classes other packages let torch's unpickler make."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


def _program_objects(path: Path) -> list[str]:
    """Return the names of settings' classes in a pickle, for which `Settings` stand in.

    Raises
    ------
    WeightsError
        If it holds objects of other classes.
    """
    if not is_zipfile(path):
        return ["argparse.Namespace"]
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    foreign = [name for name in sorted(names) if name.partition(".")[0] not in _SETTINGS]
    foreign = [name for name in foreign if name not in _TYPES]
    if foreign:
        raise more_than_tensors(path, f"It holds objects of {'; '.join(few(foreign))}")
    return names
