"""What a classifier's frozen part makes of single tiles of a run, and the layer that follows it.

The linear layer that a network ends with is found by trying. What comes to it is computed once and
kept beside the run.
"""

from __future__ import annotations

import json
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from slidecam.errors import BundleError, UsageError
from slidecam.files import replacing
from slidecam.models.architectures import build_network
from slidecam.models.weights import load_strictly
from slidecam.steps import Step
from slidecam.streaming import StreamSpec, TileStream, plan_batches
from slidecam.tiling import lay_again

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.models import Bundle, Classifier
    from slidecam.runs import Run

BATCH = 16

FORMAT = "slidecam-features-1"

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What a damaged file of features raises; features are computed again then."""


AGREEMENT = 1e-5
"""How far the layer's outputs may be from the network's logits, relative to the largest."""


@dataclass(frozen=True, eq=False)
class LastLayer:
    """``logits = weight @ features + bias``, whatever made the features.

    Attributes
    ----------
    name
        Of the layer in the network.
    weight
        (K, D), float32, on the CPU.
    bias
        (K,), float32, on the CPU; None where the layer has none.
    """

    name: str
    weight: Tensor
    bias: Tensor | None

    def embed(self, classifier: Classifier, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, D) and logits (B, K) of tiles as `Classifier.run` takes them.

        Both are float32 on the CPU.
        """
        inputs: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            _watch(classifier.network, self.name, hooks, inputs, {})
            passed = classifier.run(pixels, gradients=False)
        return inputs[self.name].detach().float().cpu(), passed.logits.detach().cpu()


def find_last_layer(classifier: Classifier, bundle: Bundle) -> LastLayer:
    """Return the linear layer whose outputs are a classifier's logits.

    Raises
    ------
    BundleError
        If there is none: TorchScript, or a network that does more to its logits.
    """
    edge, generator = classifier.card.input_px, torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (2, edge, edge, 3), generator=generator).to(torch.uint8)
    outputs: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, module in classifier.network.named_modules():
            if isinstance(module, nn.Linear):
                _watch(classifier.network, name, hooks, {}, outputs)
        logits = classifier.run(noise.to(classifier.device), gradients=False).logits
    found = [name for name, output in outputs.items() if _same(output, logits)]
    if not found:
        raise BundleError(
            bundle.path,
            f"The network {classifier.card.architecture} does not end with a linear layer that"
            " could be taught by itself.",
            "Train a classifier instead: slidecam tiles, then slidecam train.",
        )
    layer = classifier.network.get_submodule(found[-1])
    weight, bias = layer.weight.detach().float().cpu(), layer.bias  # type: ignore[operator]  # a linear layer's
    if isinstance(bias, torch.Tensor):
        return LastLayer(found[-1], weight, bias.detach().float().cpu())
    return LastLayer(found[-1], weight, None)


def _watch(
    network: nn.Module,
    name: str,
    hooks: ExitStack,
    inputs: dict[str, Tensor],
    outputs: dict[str, Tensor],
) -> None:
    """Note what a layer is given and returns, until the hooks are removed."""

    def note(_layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        inputs[name], outputs[name] = given[0], output

    hooks.callback(network.get_submodule(name).register_forward_hook(note).remove)


def _same(output: Tensor, logits: Tensor) -> bool:
    if output.shape != logits.shape:
        return False
    most = AGREEMENT * logits.abs().max().clamp(min=AGREEMENT)
    return bool((output.float() - logits).abs().max() <= most)


def with_last_layer(bundle: Bundle, layer: LastLayer) -> Mapping[str, Tensor]:
    """Return a bundle's weights with another last layer, which may have more classes.

    Raises
    ------
    BundleError
        If its architecture cannot be built with so many, or its weights call the layer something
        else.
    """
    weights = dict(bundle.network().state_dict())
    taught = {f"{layer.name}.weight": layer.weight}
    if layer.bias is not None:
        taught[f"{layer.name}.bias"] = layer.bias
    unknown = sorted(taught.keys() - weights.keys())
    if unknown:
        problem = f"The bundle's weights hold no {unknown[0]}."
        raise BundleError(bundle.path, problem, "Train a classifier instead.")
    for name, tensor in taught.items():
        weights[name] = tensor.to(weights[name].dtype)
    card, path = bundle.card, bundle.card_path
    network = build_network(card.architecture, card.architecture_args, len(layer.weight), path)
    load_strictly(network, weights, path)
    return weights


@dataclass(frozen=True, eq=False)
class TunableClassifier:
    """A run's classifier on its device, with the layer that can be taught."""

    bundle: Bundle
    classifier: Classifier
    layer: LastLayer


@dataclass(frozen=True, eq=False)
class Features:
    """What is known of some tiles.

    Attributes
    ----------
    rows
        int64, (M,), ascending: tiles of the run.
    values
        float32, (M, D): what the last layer is given.
    logits
        float32, (M, K): what it makes of that.
    computed
        How many of them were computed just now, and not found on disk.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float32]
    logits: NDArray[np.float32]
    computed: int = 0

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the features of some tiles, all of them known, (len(rows), D)."""
        return self.values[np.searchsorted(self.rows, rows)].astype(np.float64)


def open_tunable(run: Run, device: torch.device, *, trust: bool = False) -> TunableClassifier:
    """Return a run's classifier, ready to be taught.

    Raises
    ------
    BundleError
        If it cannot be loaded, or has no last layer.
    RunMismatchError
        If another bundle lies where the run's lay.
    UsageError
        If it sees whole pictures, or its outputs are scores.
    """
    bundle = run.open_bundle(trust=trust)
    card = bundle.card
    if card.spacing is None:
        raise UsageError(
            f"The model {card.name} sees whole pictures, no tiles.",
            "Train on a folder of pictures instead.",
        )
    if card.activation == "none":
        raise UsageError(
            f"The model {card.name} gives scores and no probabilities.",
            "Teach a classifier instead.",
        )
    classifier = bundle.classifier(device)
    return TunableClassifier(bundle, classifier, find_last_layer(classifier, bundle))


def embed_tiles(
    run: Run,
    model: TunableClassifier,
    rows: NDArray[np.int64],
) -> Generator[Step, None, Features]:
    """Return the features of tiles: those kept beside the run, and the others computed and kept.

    Parameters
    ----------
    run
        Whose tiles; its slide is opened only if some have to be computed.
    model
        Of `open_tunable`.
    rows
        int64, (M,), in any order. Tiles that cannot be read are left out of what is returned.

    Raises
    ------
    StoreError
        If the slide is another one than was classified.
    SourceError
        If it cannot be opened.
    """
    path = run.folder / f"features-{model.bundle.digest[:16]}.npz"
    kept = _read(path, run, model)
    wanted = np.unique(rows)
    missing = np.setdiff1d(wanted, kept.rows)
    if len(missing):
        fresh = yield from _computed(run, model, missing)
        kept = _merged(kept, fresh)
        _write(path, kept, run, model)
    places = np.flatnonzero(np.isin(kept.rows, wanted))
    return Features(kept.rows[places], kept.values[places], kept.logits[places], len(missing))


def _computed(
    run: Run,
    model: TunableClassifier,
    rows: NDArray[np.int64],
) -> Generator[Step, None, Features]:
    card, layer = model.bundle.card, model.layer
    values = np.zeros((len(rows), layer.weight.shape[1]), np.float32)
    logits = np.full((len(rows), len(layer.weight)), np.nan, np.float32)
    with run.open_slide() as source:
        grid = lay_again(
            source.facts,
            run.tiles.boxes[rows],
            run.steps,
            card.input_px,
            run.grid_kind,
        )
        batches = list(enumerate(plan_batches(source, grid, BATCH)))
        done = 0
        with TileStream(
            source, grid, batches, StreamSpec(BATCH, interpolation=card.interpolation)
        ) as stream:
            for batch in stream:
                pixels = torch.from_numpy(batch.pixels).to(model.classifier.device)
                features, found = layer.embed(model.classifier, pixels)
                values[batch.rows], logits[batch.rows] = features.numpy(), found.numpy()
                logits[[failure.row for failure in batch.failures]] = np.nan
                done += len(batch.rows)
                yield Step("embedding", done, len(rows))
    known = np.isfinite(logits).all(axis=1)
    return Features(rows[known], values[known], logits[known])


def _merged(one: Features, other: Features) -> Features:
    rows = np.concatenate([one.rows, other.rows])
    order = np.argsort(rows)
    values, logits = (
        np.concatenate([one.values, other.values]),
        np.concatenate([one.logits, other.logits]),
    )
    return Features(rows[order], values[order], logits[order])


def _facts(run: Run, model: TunableClassifier) -> str:
    """Return what features hang on; the backend too, since its rounding is its own."""
    facts = {
        "format": FORMAT,
        "bundle": model.bundle.digest,
        "tiles": run.identity,
        "layer": model.layer.name,
        "backend": model.classifier.backend,
    }
    return json.dumps(facts, sort_keys=True)


def _read(path: Path, run: Run, model: TunableClassifier) -> Features:
    classes, length = model.layer.weight.shape
    empty = Features(
        np.zeros(0, np.int64),
        np.zeros((0, length), np.float32),
        np.zeros((0, classes), np.float32),
    )
    try:
        # Opened here: numpy leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if str(file["facts"]) != _facts(run, model):
                return empty
            return Features(file["rows"], file["features"], file["logits"])
    except UNREADABLE:
        return empty


def _write(path: Path, known: Features, run: Run, model: TunableClassifier) -> None:
    with replacing(path) as fresh, fresh.open("wb") as file:
        facts = np.array(_facts(run, model))
        np.savez(
            file,
            facts=facts,
            rows=known.rows,
            features=known.values,
            logits=known.logits,
        )
