"""Weights: read from files without running anything, checked against the network they are for."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile, is_zipfile

from safetensors import SafetensorError

from slidecam.errors import UntrustedCodeError, WeightsError
from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from safetensors import torch as safetensors_torch
    from torch import Tensor, nn
else:
    torch = deferred("torch")
    safetensors_torch = deferred("safetensors.torch")

SAFETENSORS = ".safetensors"
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
"""Endings of files that PyTorch pickles."""

_TO_TORCHSCRIPT = (
    'torch.jit.trace(network.eval(), torch.rand(1, 3, 224, 224)).save("torchscript_model.pt")'
)
_SAVE_MODEL = 'safetensors.torch.save_model(network, "weights.safetensors")'
_BESIDE = "The last makes what --model reads with --trust, beside a WSInfer config.json."
FOREIGN: Mapping[str, tuple[str, str]] = {
    ".onnx": (
        "an ONNX graph, whose layers are folded and have no network's names",
        f"in the program that exported it, import safetensors.torch; {_SAVE_MODEL}.",
    ),
    ".pkl": (
        "a pickle of fastai or of another program, which holds code",
        f'network = fastai.learner.load_learner("FILE").model; {_TO_TORCHSCRIPT}. {_BESIDE}',
    ),
}
"""What a file of another program's is, by its ending, and the Python that makes what is read."""

_MONAI = Path("configs", "metadata.json")
_OF_MONAI = (
    "network = monai.bundle.ConfigParser(monai.bundle.ConfigParser.load_config_file("
    '"FOLDER/configs/inference.json")).get_parsed_content("network_def");'
    ' network.load_state_dict(torch.load("FOLDER/models/model.pt"));'
    f" {_TO_TORCHSCRIPT}. {_BESIDE}"
)

SHOWN = 4
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
    content = content_of(path)
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
    # Of kinds of numbers that torch has none for, safetensors says by a KeyError.
    except (SafetensorError, KeyError) as error:
        raise unreadable_as("safetensors", path, error) from error
    return tensors


def unreadable_as(kind: str, path: Path, error: Exception) -> WeightsError:
    """Return the error of a file of weights that is not of the kind that it should be."""
    problem = f"The file is not readable as {kind}: {str(error).splitlines()[0]}."
    return WeightsError(path, problem, "It is damaged or of another kind; copy it again.")


def check_weights_file(path: Path, *, trust: bool = False) -> None:
    """Refuse a file that `read_checkpoint` would refuse whatever it holds, without opening it.

    Parameters
    ----------
    path
        Of safetensors, or one that PyTorch pickled (`PICKLES`).
    trust
        Whether a pickle may be opened.

    Raises
    ------
    UntrustedCodeError
        If it is a pickle and ``trust`` is False.
    WeightsError
        If there is no such file, or it is none of weights.
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


FIT_REMEDY = "Check the architecture, its arguments and the number of classes."


def load_strictly(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    path: Path,
    remedy: str = FIT_REMEDY,
) -> None:
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
    problems = [*few(missing), *few(unknown), *few(misfits)]
    if problems:
        problem = f"The weights do not fit the network: {'; '.join(problems)}."
        raise WeightsError(path, problem, remedy)
    network.load_state_dict(dict(tensors), strict=True)


def _misfits(name: str, given: Tensor, wanted: Tensor) -> list[str]:
    if given.shape != wanted.shape:
        return [f"{name} is {shape_in_words(given)}, the network's is {shape_in_words(wanted)}"]
    if given.is_floating_point() != wanted.is_floating_point():
        return [f"{name} holds {given.dtype}, the network's {wanted.dtype}"]
    return []


def few(problems: list[str], shown: int = SHOWN) -> list[str]:
    """Return the first few of many, and how many more there are."""
    if len(problems) > shown:
        return [*problems[:shown], f"and {len(problems) - shown} more"]
    return problems


def shape_in_words(tensor: Tensor) -> str:
    """Return the lengths of a tensor's axes."""
    return " x ".join(map(str, tensor.shape)) or "a scalar"


def content_of(path: Path) -> bytes:
    """Return what a file holds; WeightsError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> WeightsError:
    reason = error.strerror or str(error)
    problem = f"The weights cannot be read: {reason}."
    return WeightsError(path, problem, "Put the file beside its card.")


def refuse_foreign(path: Path) -> None:
    """Refuse another program's file or folder, with the Python that makes what is read of it.

    Raises
    ------
    WeightsError
        If it is ONNX, fastai's, or a bundle of MONAI.
    """
    if (path / _MONAI).is_file():
        problem = "This is a bundle of MONAI, whose network is made by its own configuration."
        raise WeightsError(path, problem, f"Three lines of Python: {_OF_MONAI}")
    if path.suffix in FOREIGN:
        what, lines = FOREIGN[path.suffix]
        raise WeightsError(path, f"This is {what}.", f"Two lines of Python: {lines}")


def check_archive(path: Path) -> None:
    """Refuse a TorchScript program, which torch warns of in its own words, and a broken archive.

    Raises
    ------
    WeightsError
        With the Python that makes safetensors of it.
    """
    try:
        if not is_zipfile(path):
            return
        with ZipFile(path) as archive:
            names = archive.namelist()
    # The last is raised of a version of ZIP that nobody has written.
    except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(path, f"The file is damaged: {error}.", "Copy it again.") from error
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        remedy = (
            'Two lines of Python: tensors = torch.jit.load("FILE").state_dict();'
            ' safetensors.torch.save_file(tensors, "weights.safetensors"). Or --model takes it, as'
            " torchscript_model.pt beside a WSInfer config.json, with --trust."
        )
        raise WeightsError(path, "This is TorchScript, a program and no weights.", remedy)


def more_than_tensors(path: Path, what: str) -> WeightsError:
    """Return the error of a pickle that holds a program's objects, which are never made."""
    problem = f"The file holds more than tensors and settings, or is damaged. {what.rstrip('.')}."
    remedy = (
        "If you trust its maker, two lines of Python in the program that wrote it:"
        f' network = torch.load("FILE", weights_only=False); {_SAVE_MODEL}.'
    )
    return WeightsError(path, problem, remedy)


def first_line(error: Exception) -> str:
    """Return what an error says, without the advice and the colours that torch gives it."""
    cause = re.search(r"WeightsUnpickler error: ([^\n\x1b]+)", str(error))
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found:
        return f"It holds objects of {found[1]}"
    if cause:
        return cause[1].strip().rstrip(".,")
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return line.split("\x1b")[0].partition(". ")[0].strip().rstrip(".,")
