"""What a classifier's frozen part makes of single tiles of a run.

It is computed once and kept beside the run.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from slidecam.errors import UsageError
from slidecam.files import replacing
from slidecam.models.last_layer import LastLayer, find_last_layer
from slidecam.steps import Step
from slidecam.streaming import StreamSpec, TileStream, plan_batches
from slidecam.tiling import lay_again

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.models import Bundle, Classifier
    from slidecam.runs import Run

BATCH = 16

FORMAT = "slidecam-features-1"

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What a damaged file of features raises; features are computed again then."""


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
