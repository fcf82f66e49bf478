"""Weights: read from files without running anything, checked against the network they are for."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from dataclasses import dataclass
from itertools import filterfalse
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from slidecam.errors import UntrustedCodeError, WeightsError
from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from safetensors import torch as safetensors_torch
    from torch import Tensor, nn
else:
    torch = deferred("torch")
    safetensors_torch = deferred("safetensors.torch")

SAFETENSORS = ".safetensors"
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
"""Endings of files that PyTorch pickles."""

_NESTINGS = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_BEST = "best/"
"""What names of the best weights begin with in a checkpoint of `slidecam train`."""

_NO_LAYERS = ("criterion", "loss", "metric", "train_", "val_", "valid_", "test_", "optimizer")
"""What names of tensors begin with that training code keeps beside a network."""

_SHOWN = 4
COUNTER = "num_batches_tracked"
"""Batch norm's step counter: old files lack it, and inference never reads it."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; WeightsError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def checked_bytes(path: Path, sha256: str) -> bytes:
    """Return the content of ``path``, loaded next; WeightsError if its SHA-256 is another."""
    content = _content(path)
    check_digest(path, hashlib.sha256(content).hexdigest(), sha256)
    return content


def check_digest(path: Path, found: str, expected: str) -> None:
    """Refuse a file that is not the one its card was written for; WeightsError."""
    if found != expected:
        problem = f"Its SHA-256 is {found[:12]}…, and the card says {expected[:12]}…."
        remedy = "The file is damaged or belongs to another card; copy the bundle again."
        raise WeightsError(path, problem, remedy)


def tensors_from_bytes(content: bytes, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; WeightsError if it is none."""
    try:
        tensors: dict[str, Tensor] = safetensors_torch.load(content)
    except SafetensorError as error:
        raise unreadable_as("safetensors", path, error) from error
    return tensors


def unreadable_as(kind: str, path: Path, error: Exception) -> WeightsError:
    """Return the error of a file of weights that is not of the kind that it should be."""
    problem = f"The file is not readable as {kind}: {str(error).splitlines()[0]}."
    return WeightsError(path, problem, "It is damaged or of another kind; copy it again.")


def weights_from_file(path: Path, *, trust: bool = False) -> dict[str, Tensor]:
    """Return the tensors of a weights file by their names in the network.

    Parameters
    ----------
    path
        A safetensors file, or with ``trust`` one that PyTorch pickled (`PICKLES`). A state dict
        inside ``state_dict``, ``model`` and the like is found; a prefix that all names share
        (``module.``) is taken off. Of a training's checkpoint it is the best weights.
    trust
        Whether a pickle may be opened. Even then only tensors and plain containers are unpickled.

    Raises
    ------
    UntrustedCodeError
        If it is a pickle and ``trust`` is False.
    WeightsError
        If it cannot be read or holds no tensors.
    """
    check_weights_file(path, trust=trust)
    if path.suffix == SAFETENSORS:
        return _without_prefix(_best_of_training(tensors_from_bytes(_content(path), path)))
    return _without_prefix(_unpickled(path))


def check_weights_file(path: Path, *, trust: bool = False) -> None:
    """Refuse a file that `weights_from_file` would refuse whatever it holds, without opening it.

    Errors as there.
    """
    if path.suffix not in {SAFETENSORS, *PICKLES}:
        known = ", ".join((SAFETENSORS, *PICKLES))
        ending = path.suffix or "no ending"
        raise WeightsError(path, f"{ending} is not a kind of weights.", f"Known are {known}.")
    if not path.is_file():
        problem = "The weights cannot be read: there is no such file."
        raise WeightsError(path, problem, "Check the path.")
    if path.suffix != SAFETENSORS and not trust:
        raise UntrustedCodeError(
            path,
            "The file is a pickle, and unpickling can run any code that its maker put there.",
            "Pass --trust if you trust its maker (only tensors are unpickled), or convert it to"
            " safetensors.",
        )


@dataclass(frozen=True)
class FittedWeights:
    """The weights of one network out of a file that may hold more.

    Attributes
    ----------
    tensors
        By their names in the network.
    prefix
        What their names begin with in the file.
    left
        Names in the file that are not this network's.
    """

    tensors: dict[str, Tensor]
    prefix: str = ""
    left: tuple[str, ...] = ()


def fitted(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    path: Path,
    prefix: str | None = None,
) -> FittedWeights:
    """Return a network's weights out of a file's, wherever in it they lie.

    Parameters
    ----------
    tensors, path
        As the file has them, and the file.
    expected
        The network's own.
    prefix
        What the names begin with; None to look for it. Names that fit nowhere are left as they are,
        for `load_strictly` to tell of.

    Raises
    ------
    WeightsError
        If several networks in the file fit, no name begins with ``prefix``, or the file holds other
        tensors beside the network which may be a part of it.
    """
    if prefix is not None:
        if not any(name.startswith(prefix) for name in tensors):
            begins = ", ".join(sorted({name.partition(".")[0] + "." for name in tensors})[:_SHOWN])
            problem = f"No name in the weights begins with {prefix!r}: they begin with {begins}."
            raise WeightsError(path, problem, "Correct --weights-prefix.")
        return _under(tensors, prefix)
    whole = _whole_networks(tensors, expected)
    if not whole:
        return FittedWeights(_renamed_nearest(tensors, expected))
    if len(whole) > 1:
        where = ", ".join(map(repr, whole))
        problem = (
            f"The weights hold {len(whole)} networks that fit; their names begin with {where}."
        )
        raise WeightsError(path, problem, "Pass one of these as --weights-prefix.")
    found = _under(tensors, whole[0])
    if not found.prefix:
        found = _without_strangers(found, expected)
    doubtful = list(filterfalse(_is_no_layer, found.left))
    if doubtful:
        listed = "; ".join(_few(doubtful))
        under = f"under {found.prefix!r} " if found.prefix else ""
        problem = f"Beside the network {under}the weights hold what may be a part of it: {listed}."
        remedy = "Name the architecture that has them too, or pass --weights-prefix"
        raise WeightsError(path, problem, f"{remedy} {found.prefix or repr('')} to leave them out.")
    return found


def _whole_networks(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return the prefixes under which every name of the network lies."""
    wanted = [name for name in expected if not name.endswith(COUNTER)]
    longest = max(wanted, key=len)
    found = []
    for name in tensors:
        prefix = name.removesuffix(longest)
        if prefix == name or not (not prefix or prefix.endswith(".")):
            continue
        if all(f"{prefix}{each}" in tensors for each in wanted):
            found.append(prefix)
    return found


def _renamed_nearest(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return tensors without the prefix that most of a network lies under, where there is one.

    What is missing and what is too much is told by names that people know then.
    """
    prefixes: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for place in range(1, len(parts)):
            if ".".join(parts[place:]) in expected:
                prefixes[".".join(parts[:place]) + "."] += 1
    for prefix, count in prefixes.most_common(1):
        if 2 * count > len(expected):
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> FittedWeights:
    own, left = {}, []
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            own[name.removeprefix(prefix)] = tensor
        else:
            left.append(name)
    return FittedWeights(own, prefix, tuple(left))


def _without_strangers(found: FittedWeights, expected: Mapping[str, Tensor]) -> FittedWeights:
    """Return weights without what is no layer of any network, of names without a prefix."""
    left = tuple(sorted(filter(_is_no_layer, found.tensors.keys() - expected.keys())))
    own = dict(found.tensors)
    for name in left:
        del own[name]
    return FittedWeights(own, left=left)


def _is_no_layer(name: str) -> bool:
    return name.startswith(_NO_LAYERS)


def load_strictly(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy ``tensors`` into ``network``: all that it has, no other, each of its shape; float16 too.

    Raises
    ------
    WeightsError
        Listing the first few that are missing, unknown or of another shape or kind. The network is
        unchanged.
    """
    expected = network.state_dict()
    missing, misfits = [], []
    for name, wanted in expected.items():
        if name in tensors:
            misfits += _misfits(name, tensors[name], wanted)
        elif not name.endswith(COUNTER):
            missing.append(f"{name} is missing")
    unknown = [f"{name} is not in the network" for name in sorted(tensors.keys() - expected.keys())]
    problems = [*_few(missing), *_few(unknown), *_few(misfits)]
    if problems:
        problem = f"The weights do not fit the network: {'; '.join(problems)}."
        remedy = "Check the architecture, its arguments and the number of classes."
        raise WeightsError(path, problem, remedy)
    network.load_state_dict(dict(tensors), strict=True)


def _misfits(name: str, given: Tensor, wanted: Tensor) -> list[str]:
    if given.shape != wanted.shape:
        return [f"{name} is {_shape(given)}, the network's is {_shape(wanted)}"]
    if given.is_floating_point() != wanted.is_floating_point():
        return [f"{name} holds {given.dtype}, the network's {wanted.dtype}"]
    return []


def _few(problems: list[str]) -> list[str]:
    if len(problems) > _SHOWN:
        return [*problems[:_SHOWN], f"and {len(problems) - _SHOWN} more"]
    return problems


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a scalar"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unpickled(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
    ) as error:
        line = str(error).splitlines()[0]
        problem = f"The file holds more than tensors, or is damaged: {line}"
        raise WeightsError(path, problem, "Save its state_dict() alone, as safetensors.") from error
    tensors = _tensors_of(content)
    if not tensors and isinstance(content, dict):
        nested = (_tensors_of(content.get(key)) for key in _NESTINGS)
        tensors = next(filter(None, nested), {})
    if not tensors:
        remedy = f"Save one, alone or under {', '.join(_NESTINGS)}."
        raise WeightsError(path, "The file holds no state dict.", remedy)
    return tensors


def _tensors_of(content: object) -> dict[str, Tensor]:
    if not isinstance(content, dict):
        return {}
    for value in content.values():
        if not isinstance(value, torch.Tensor):
            return {}
    return dict(content)


def _best_of_training(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the best weights of a checkpoint that marks them so; all tensors of any other file."""
    best = {}
    for name, tensor in tensors.items():
        if name.startswith(_BEST):
            best[name.removeprefix(_BEST)] = tensor
    return best or tensors


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            shorter = {name.removeprefix(prefix): tensors[name] for name in tensors}
            return _without_prefix(shorter)
    return tensors


def _unreadable(path: Path, error: OSError) -> WeightsError:
    reason = error.strerror or str(error)
    problem = f"The weights cannot be read: {reason}."
    return WeightsError(path, problem, "Put the file beside its card.")
