"""Weights: read from files without running anything, checked against the network they are for."""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError

from slidecam.errors import UntrustedCodeError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

SAFETENSORS = ".safetensors"
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
"""Endings of files that PyTorch pickles."""

_NESTINGS = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_BEST = "best/"
"""What names of the best weights begin with in a checkpoint of `slidecam train`."""

_SHOWN = 4
_COUNTER = "num_batches_tracked"
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
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    check_digest(path, hashlib.sha256(content).hexdigest(), sha256)
    return content


def check_digest(path: Path, found: str, expected: str) -> None:
    """Refuse a file that is not the one its card was written for; WeightsError."""
    if found != expected:
        problem = f"its SHA-256 is {found[:12]}…, and the card says {expected[:12]}…."
        raise WeightsError(
            path, problem, "The file is damaged or belongs to another card; copy the bundle again."
        )


def tensors_from_bytes(content: bytes, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; WeightsError if it is none."""
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(content)
    except SafetensorError as error:
        problem = f"is not readable as safetensors: {error}."
        raise WeightsError(
            path, problem, "The file is damaged or of another kind; copy it again."
        ) from error
    return tensors


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
        raise WeightsError(
            path, f"{path.suffix or 'no ending'} is not a kind of weights.", f"Known are {known}."
        )
    if not path.is_file():
        raise WeightsError(path, "cannot be read: there is no such file.", "Check the path.")
    if path.suffix != SAFETENSORS and not trust:
        raise UntrustedCodeError(
            path,
            "is a pickle, and unpickling can run any code that its maker put there.",
            "Pass --trust if you trust its maker (only tensors are unpickled), or convert it to"
            " safetensors.",
        )


def load_strictly(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy ``tensors`` into ``network``: all that it has, no other, each of its shape; float16 too.

    Raises
    ------
    WeightsError
        Listing the first few that are missing, unknown or of another shape or kind. The network is
        unchanged.
    """
    expected = network.state_dict()
    problems = [
        *_listed(
            "is missing", [n for n in expected if n not in tensors and not n.endswith(_COUNTER)]
        ),
        *_listed("is not in the network", sorted(name for name in tensors if name not in expected)),
        *_listed(
            "", [_misfit(n, tensors[n], expected[n]) for n in expected if n in tensors], few=_SHOWN
        ),
    ]
    if problems:
        remedy = "Check the architecture, its arguments and the number of classes."
        raise WeightsError(
            path, f"the weights do not fit the network: {'; '.join(problems)}.", remedy
        )
    network.load_state_dict(dict(tensors), strict=True)


def _misfit(name: str, given: Tensor, wanted: Tensor) -> str:
    if given.shape != wanted.shape:
        return f"{name} is {_shape(given)}, the network's is {_shape(wanted)}"
    if given.is_floating_point() != wanted.is_floating_point():
        return f"{name} holds {given.dtype}, the network's {wanted.dtype}"
    return ""


def _listed(problem: str, names: Sequence[str], few: int = _SHOWN) -> list[str]:
    found = [name for name in names if name]
    shown = [f"{name} {problem}".strip() for name in found[:few]]
    if len(found) > few:
        return [*shown, f"and {len(found) - few} more"]
    return shown


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
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        problem = f"holds more than tensors, or is damaged: {str(error).splitlines()[0]}"
        raise WeightsError(path, problem, "Save its state_dict() alone, as safetensors.") from error
    return _state_dict(content, path)


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    tensors = _tensors_of(content)
    if not tensors and isinstance(content, dict):
        nested = (_tensors_of(content[key]) for key in _NESTINGS if key in content)
        tensors = next(filter(None, nested), {})
    if not tensors:
        raise WeightsError(
            path, "holds no state dict.", f"Save one, alone or under {', '.join(_NESTINGS)}."
        )
    return tensors


def _tensors_of(content: object) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        return {}
    return dict(content)


def _best_of_training(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the best weights of a checkpoint that marks them so; all tensors of any other file."""
    best = {
        name.removeprefix(_BEST): tensor
        for name, tensor in tensors.items()
        if name.startswith(_BEST)
    }
    return best or tensors


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return _without_prefix(
                {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
            )
    return tensors


def _unreadable(path: Path, error: OSError) -> WeightsError:
    reason = error.strerror or str(error)
    return WeightsError(
        path, f"the weights cannot be read: {reason}.", "Put the file beside its card."
    )
