"""Where pixels meet the model: batches in, probabilities and raw class-activation maps out, in one pass.

A batch is copied to the device from pinned memory without waiting; its results are copied back while the next batch
is already computing. On a CPU the same code runs without the overlap.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from slidecam.errors import DeviceError, ExplanationError
from slidecam.explain import explainer_for
from slidecam.store import TileResults

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from slidecam.explain import Explainer
    from slidecam.models import Card, Classifier
    from slidecam.streaming import TileBatch

CPU_BATCH = 16
"""Tiles per batch on a CPU: 8 to 16 were fastest on every network measured, 64 overflowed the caches."""

LARGEST_BATCH = 512
"""Beyond this a GPU gains nothing and results come late."""

MANY_CLASSES = 16
"""Up to so many classes are mapped unless told otherwise; ImageNet's thousand would fill a disk."""

NOT_A_NUMBER = "the classifier gave a value that is not a finite number"


@dataclass(frozen=True)
class MapRequest:
    """Which explanation to compute along with the predictions.

    Attributes
    ----------
    method
        Name of the explainer, as in ``--heatmap``.
    classes
        Indices of the classes to map, in the order of the maps' first axis.
    """

    method: str
    classes: tuple[int, ...]


@dataclass(frozen=True)
class ScoredBatch:
    """One batch's tiles with what the classifier made of them, and the seconds that it took."""

    batch: TileBatch
    results: TileResults
    transfer_seconds: float
    model_seconds: float


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` prefers a GPU. DeviceError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"there is no device called {name!r}.", "Pass --device auto, cpu or cuda.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"this machine has no {name} device.", "Pass --device cpu, or see slidecam doctor.")
    if device.type not in {"cpu", "cuda"}:
        raise DeviceError(f"device {name!r} is not supported.", "Pass --device auto, cpu or cuda.")
    return device


def request_maps(card: Card, method: str | None, names: Sequence[str], *, has_map: bool) -> MapRequest | None:
    """Settle which classes are mapped and how.

    Parameters
    ----------
    card
        The bundle's card.
    method
        An explainer's name, ``none``, or None for ``gradcam++`` where that is possible and cheap.
    names
        Class names to map; empty for all of them.
    has_map
        Whether the classifier has an activation map at all.

    Raises
    ------
    ExplanationError
        If the method or a class is unknown, or maps were asked for by name and cannot be had.
    """
    if method == "none":
        if names:
            raise ExplanationError("--heatmap none leaves no class to map.", "Leave out one of both options.")
        return None
    by_default = method is None
    if not has_map and by_default:
        return None
    if not has_map:
        raise ExplanationError(
            f"{card.name} has no activation map to explain (TorchScript, or a network of tokens).",
            "Pass --heatmap none, or use a bundle with model.safetensors and a `split` layer in its card.",
        )
    method = method or "gradcam++"
    explainer_for(method)
    if names:
        return MapRequest(method, tuple(_class_index(card, name) for name in names))
    if len(card.class_names) <= MANY_CLASSES:
        return MapRequest(method, tuple(range(len(card.class_names))))
    if by_default:
        return None
    raise ExplanationError(
        f"{card.name} has {len(card.class_names)} classes.",
        f"Name the ones to map with --heatmap-class NAME (all are mapped up to {MANY_CLASSES}).",
    )


def _class_index(card: Card, name: str) -> int:
    if name not in card.class_names:
        known = ", ".join(card.class_names[:MANY_CLASSES])
        raise ExplanationError(f"{card.name} has no class {name!r}.", f"Its classes are: {known}.")
    return card.class_names.index(name)


def map_shape(classifier: Classifier, request: MapRequest | None) -> tuple[int, int, int] | None:
    """Return (mapped classes, height, width) of one tile's maps, found by one pass over an empty tile."""
    if request is None:
        return None
    edge = classifier.card.input_px
    empty = torch.zeros((1, edge, edge, 3), dtype=torch.uint8, device=classifier.device)
    activation = classifier.run(empty, gradients=False).activation
    if activation is None:
        raise ExplanationError(f"{classifier.card.name} gave no activation map.", "Pass --heatmap none.")
    return len(request.classes), int(activation.shape[2]), int(activation.shape[3])


def find_batch_size(classifier: Classifier, request: MapRequest | None) -> int:
    """Return how many tiles to compute at once: `CPU_BATCH`, or what fits into half of the GPU's free memory."""
    if classifier.device.type != "cuda":
        return CPU_BATCH
    probe = 8
    before = torch.cuda.memory_allocated(classifier.device)
    torch.cuda.reset_peak_memory_stats(classifier.device)
    edge = classifier.card.input_px
    _score(classifier, torch.zeros((probe, edge, edge, 3), dtype=torch.uint8, device=classifier.device), request)
    per_tile = max(1, (torch.cuda.max_memory_allocated(classifier.device) - before) // probe)
    free, _total = torch.cuda.mem_get_info(classifier.device)
    fits = max(probe, int(free // 2 // per_tile))
    return min(LARGEST_BATCH, 1 << (fits.bit_length() - 1))


def classify(
    batches: Iterable[TileBatch],
    classifier: Classifier,
    request: MapRequest | None,
) -> Generator[ScoredBatch]:
    """Score every batch, in order.

    Parameters
    ----------
    batches
        Tiles as `TileStream` brings them.
    classifier
        On its device already.
    request
        Maps to compute along with the predictions, or None.

    Yields
    ------
    ScoredBatch
        With a GPU one batch behind what is being computed, so that neither waits for the other.
    """
    ahead = 1 if classifier.device.type == "cuda" else 0
    flying: list[Callable[[], ScoredBatch]] = []
    for batch in batches:
        flying.append(_launch(batch, classifier, request))
        if len(flying) > ahead:
            yield flying.pop(0)()
    for land in flying:
        yield land()


def _launch(batch: TileBatch, classifier: Classifier, request: MapRequest | None) -> Callable[[], ScoredBatch]:
    start = time.perf_counter()
    pixels = _to_device(batch.pixels, classifier.device)
    moved = time.perf_counter()
    try:
        logits, probabilities, maps = _score(classifier, pixels, request)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{len(batch.rows)} tiles of {batch.pixels.shape[1]} px do not fit into the GPU's memory.",
            "Pass a smaller --batch.",
        ) from error
    landed = [_to_host(tensor) for tensor in (logits, probabilities, maps)]
    done = torch.cuda.Event() if classifier.device.type == "cuda" else None  # type: ignore[no-untyped-call]
    if done is not None:
        done.record()
    launched = time.perf_counter()

    def land() -> ScoredBatch:
        waiting = time.perf_counter()
        if done is not None:
            done.synchronize()
        model = launched - moved + time.perf_counter() - waiting
        return ScoredBatch(batch, _results(batch, landed), moved - start, model)

    return land


def _score(
    classifier: Classifier, pixels: torch.Tensor, request: MapRequest | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    passed = classifier.run(pixels, gradients=request is not None)
    maps = None
    if request is not None:
        explain: Explainer = explainer_for(request.method)
        maps = explain(passed, request.classes)
    logits = passed.logits.detach()
    return logits, classifier.probabilities(logits), maps


def _to_device(pixels: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(pixels)
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _to_host(tensor: torch.Tensor | None) -> torch.Tensor | None:
    if tensor is None or tensor.device.type == "cpu":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _results(batch: TileBatch, landed: Sequence[torch.Tensor | None]) -> TileResults:
    logits, probabilities, maps = (None if tensor is None else tensor.numpy() for tensor in landed)
    places = {int(row): place for place, row in enumerate(batch.rows)}
    assert logits is not None  # noqa: S101  (for the type checker: only maps may be None)
    assert probabilities is not None  # noqa: S101
    failures = dict.fromkeys(_not_finite(logits, maps), NOT_A_NUMBER)
    failures |= {places[failure.row]: failure.reason for failure in batch.failures}
    return TileResults(logits, probabilities, maps, failures)


def _not_finite(logits: NDArray[np.float32], maps: NDArray[np.float32] | None) -> list[int]:
    finite = np.isfinite(logits).all(axis=1)
    if maps is not None:
        finite &= np.isfinite(maps).all(axis=(1, 2, 3))
    return [int(place) for place in np.flatnonzero(~finite)]
