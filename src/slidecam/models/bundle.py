"""Model bundles: folders that hold a classifier as data, a card beside its weights."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from slidecam.errors import BundleError, CardError, MissingBundleError
from slidecam.files import check_folder, flush, replacing
from slidecam.models.card import (
    WEIGHTS_FILE,
    Card,
    card_object,
    card_text,
    check_card,
    read_card,
)
from slidecam.models.card_file import CARD_FILE
from slidecam.models.weights import (
    check_digest,
    checked_bytes,
    file_digest,
    load_strictly,
    tensors_from_bytes,
    unreadable_as,
)
from slidecam.models.wsinfer import CONFIG_FILE, is_wsinfer, read_wsinfer
from slidecam.objects import as_given, fetched, is_url
from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import torch
    from safetensors import torch as safetensors_torch
    from torch import Tensor, nn

    from slidecam.models import architectures
    from slidecam.models import classifier as classifiers
    from slidecam.models.classifier import Classifier
    from slidecam.models.splits import Precision
else:
    torch = deferred("torch")
    safetensors_torch = deferred("safetensors.torch")
    architectures = deferred("slidecam.models.architectures")
    classifiers = deferred("slidecam.models.classifier")

Kind = Literal["slidecam", "wsinfer", "wsinfer-torchscript"]


@dataclass(frozen=True)
class Bundle:
    """A classifier on disk, whose card is sound and whose weights have the card's digest.

    Attributes
    ----------
    path
        The folder.
    card
        What it says of itself; for a WSInfer folder, what its ``config.json`` amounts to.
    kind
        Which of the three kinds of folder it is.
    """

    path: Path
    card: Card
    kind: Kind

    @property
    def digest(self) -> str:
        """SHA-256 over the card, which holds that of the weights.

        Equal digests give equal predictions.

        The name is left out, since a WSInfer model is called what its folder is called.
        """
        nameless = {**card_object(self.card), "name": None}
        canonical = json.dumps(nameless, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def as_parent(self) -> dict[str, object]:
        """What the provenance of a bundle that is made from it says of it."""
        return {
            "name": self.card.name,
            "digest": self.digest,
            "temperature": self.card.temperature,
            "provenance": dict(self.card.provenance),
        }

    @property
    def card_path(self) -> Path:
        """The file that the card was read from."""
        if self.kind == "slidecam":
            return self.path / CARD_FILE
        return self.path / CONFIG_FILE

    def network(self) -> nn.Module:
        """Return the network with its weights, in eval mode, float32, on the CPU.

        Raises
        ------
        CardError
            If the architecture is not known or cannot be built.
        WeightsError
            If the weights have changed since the bundle was opened, or do not fit.
        """
        path = self.path / self.card.weights_file
        content = checked_bytes(path, self.card.weights_sha256)
        if self.kind == "wsinfer-torchscript":
            return _torchscript(content, path)
        card, count = self.card, len(self.card.class_names)
        network = architectures.build_network(
            card.architecture,
            card.architecture_args,
            count,
            self.card_path,
        )
        load_strictly(network, tensors_from_bytes(content, path), path)
        return network

    def classifier(
        self,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        backend: str = "folded",
    ) -> Classifier:
        """Return the classifier, ready to run; see `classifier_for`.

        Raises
        ------
        CardError, WeightsError
            See `network`; CardError also if the network cannot run on tiles of the card's size.
        DeviceError
            If the device or precision is not to be had.
        """
        place = torch.device(device)
        return classifiers.classifier_for(
            self.network(),
            self.card,
            place,
            precision,
            backend,
            path=self.card_path,
            own=True,
        )


def open_bundle(path: Path | str, *, trust: bool = False) -> Bundle:
    """Return the bundle in a folder, checked as far as it can be without building the network.

    Parameters
    ----------
    path
        A folder with ``card.json``, or one of the WSInfer zoo with ``config.json``; or either file;
        or the URL of such a folder, which is fetched.
    trust
        Whether weights that can run code (TorchScript) may be used.

    Raises
    ------
    MissingBundleError
        If there is no such folder, or nothing in it that could be a bundle.
    UsageError, StoreError
        If there is nothing at its URL, or its server does not answer.
    CardError
        If the card says something impossible.
    WeightsError
        If the weights are missing or have another digest than the card's.
    UntrustedCodeError
        If they can run code and ``trust`` is False.
    """
    given = as_given(path)
    folder = fetched(given) if is_url(given) else Path(path)
    if folder.name in {CARD_FILE, CONFIG_FILE}:
        folder = folder.parent
    if (folder / CARD_FILE).is_file():
        return _open_own(folder)
    if (folder / CONFIG_FILE).is_file():
        card, kind = read_wsinfer(folder, trust=trust)
        return Bundle(folder, card, kind)
    problem = "This is not a folder."
    if folder.is_dir():
        problem = f"The folder holds no {CARD_FILE}."
    remedy = "Name a bundle's folder (slidecam models lists them)."
    raise MissingBundleError(folder, problem, remedy)


def save_bundle(
    directory: Path | str,
    card: Card,
    weights: nn.Module | Mapping[str, Tensor],
    *,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle and return it, opened.

    Parameters
    ----------
    directory
        The folder; its parents are made. Either all of it appears or nothing does.
    card
        What to say of it. Its ``weights_file`` and ``weights_sha256`` are set here.
    weights
        A network, or its state dict.
    overwrite
        Whether the bundle that is there may be replaced. Its other files stay as they are.

    Raises
    ------
    BundleError
        If the folder exists, is not empty and ``overwrite`` is False.
    CardError
        If the card says something impossible.
    UsageError
        If the folder cannot be made.
    """
    folder = Path(directory)
    if not overwrite and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        remedy = "Pass --overwrite to replace the bundle in it."
        raise BundleError(folder, "The folder exists already.", remedy)
    check_card(card, folder / CARD_FILE)
    check_folder(folder.parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write(beside, card, weights)
        _move_into_place(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return open_bundle(folder)


def refuse_foreign(bundle: Bundle) -> None:
    """Refuse a bundle without a card of ours, which could keep nothing; BundleError."""
    if bundle.kind != "slidecam":
        problem = f"The bundle has no {CARD_FILE} that could keep anything."
        remedy = "Leave --card out, or make a bundle of it first (slidecam bundle)."
        raise BundleError(bundle.path, problem, remedy)


def write_card(bundle: Bundle, card: Card) -> Bundle:
    """Give a bundle another card for the same weights, in one step, and return it, opened.

    Raises
    ------
    CardError
        If the card says something impossible.
    OSError
        If it cannot be written.
    """
    path = bundle.path / CARD_FILE
    check_card(card, path)
    with replacing(path) as fresh:
        fresh.write_text(card_text(card), encoding="utf-8", newline="\n")
    return open_bundle(bundle.path)


def find_bundles(
    folders: Iterable[Path | str],
    *,
    trust: bool = False,
) -> list[Bundle | BundleError]:
    """Return the bundles in ``folders`` and right below them, sorted by path within each.

    A folder that looks like a bundle and is none gives the error that says what is wrong; so does
    one that is not there.
    """
    found: list[Bundle | BundleError] = []
    for path in chain.from_iterable(map(_candidates, map(Path, folders))):
        try:
            found.append(open_bundle(path, trust=trust))
        except BundleError as error:
            found.append(error)
    return found


def _open_own(folder: Path) -> Bundle:
    card = read_card(folder / CARD_FILE)
    weights = folder / card.weights_file
    check_digest(weights, file_digest(weights), card.weights_sha256)
    return Bundle(folder, card, "slidecam")


def _candidates(folder: Path) -> Iterator[Path]:
    if _looks_like_one(folder) or not folder.is_dir():
        yield folder
    if folder.is_dir():
        yield from filter(_looks_like_one, sorted(folder.iterdir()))


def _looks_like_one(folder: Path) -> bool:
    return (folder / CARD_FILE).is_file() or is_wsinfer(folder)


def _write(folder: Path, card: Card, weights: nn.Module | Mapping[str, Tensor]) -> None:
    if isinstance(weights, torch.nn.Module):
        weights = weights.state_dict()
    apart = {}
    for name, tensor in weights.items():
        # Cloned: safetensors refuses tensors that share memory, as tied weights do.
        apart[name] = tensor.detach().to("cpu", copy=True).contiguous()
    # Not save_file, which makes the file readable by its owner alone.
    (folder / WEIGHTS_FILE).write_bytes(safetensors_torch.save(apart))
    digest = file_digest(folder / WEIGHTS_FILE)
    sealed = replace(card, weights_file=WEIGHTS_FILE, weights_sha256=digest)
    try:
        text = card_text(sealed)
    except (TypeError, ValueError) as error:
        problem = f"The card cannot be written as JSON: {error}."
        raise CardError(folder, problem, "Use plain JSON values.") from error
    (folder / CARD_FILE).write_text(text, encoding="utf-8", newline="\n")


def _move_into_place(made: Path, folder: Path) -> None:
    flush(made)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()  # Windows renames onto nothing that exists
    if not folder.exists():
        made.chmod(0o755)  # mkdtemp made it private
        made.rename(folder)
        return
    # Weights first: whoever looks in between finds a digest that does not fit, never a wrong
    # network.
    for name in (WEIGHTS_FILE, CARD_FILE):
        os.replace(made / name, folder / name)  # noqa: PTH105  (replaces on Windows as well, and says so)


def _torchscript(content: bytes, path: Path) -> nn.Module:
    load: Callable[..., nn.Module] = torch.jit.load
    try:
        with warnings.catch_warnings():
            # torch calls its own format deprecated; WSInfer's zoo is made of it.
            for kind in (FutureWarning, DeprecationWarning):
                warnings.filterwarnings("ignore", r".*torch\.jit\.load", category=kind)
            network = load(io.BytesIO(content), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise unreadable_as("TorchScript", path, error) from error
    return network.eval()
