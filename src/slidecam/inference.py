"""Where pixels meet the model.

Batches in, probabilities and raw class-activation maps out, in one pass.

A batch is copied to the device from pinned memory without waiting; its results are copied back
while the next batch is already computing. On a CPU the same code runs without the overlap.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch

from slidecam.explain.activation_maps import plan_maps
from slidecam.models.backends import too_large
from slidecam.models.classifier import NOT_A_NUMBER
from slidecam.store import TileResults

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from slidecam.explain.activation_maps import MapPlan
    from slidecam.explain.map_request import MapRequest
    from slidecam.models import Classifier
    from slidecam.streaming import TileBatch

    Launch = Callable[[TileBatch], Callable[[], "ScoredBatch"]]

Item = TypeVar("Item")

CPU_BATCH = 16
"""Tiles per batch on a CPU: 8 to 16 were fastest on every network, 64 overflowed the caches."""

LARGEST_BATCH = 512
"""Beyond this a GPU gains nothing and results come late."""


@dataclass(frozen=True)
class ScoredBatch:
    """One batch's tiles with what the classifier made of them, and the seconds that it took.

    ``fitted`` is how many of them the device's memory held at once, where it did not hold all.
    """

    batch: TileBatch
    results: TileResults
    transfer_seconds: float
    model_seconds: float
    fitted: int | None = None


def map_shape(
    classifier: Classifier, request: MapRequest | None
) -> tuple[int, int, int, int] | None:
    """Return (methods, mapped classes, height, width) of a tile's maps, by a pass on an empty one.

    Raises
    ------
    ExplanationError
        If the classifier has not what a method needs.
    """
    plan = _plan(classifier, request)
    if plan is None:
        return None
    edge = classifier.card.input_px
    empty = torch.zeros((1, edge, edge, 3), dtype=torch.uint8, device=classifier.device)
    maps = _score(classifier, empty, plan).maps
    assert maps is not None  # noqa: S101  (for the type checker: there is a plan)
    methods, classes, height, width = maps.shape[1:]
    return methods, classes, height, width


def _plan(classifier: Classifier, request: MapRequest | None) -> MapPlan | None:
    if request is None:
        return None
    return plan_maps(classifier, request.raw, request.classes, request.against)


def find_batch_size(classifier: Classifier, request: MapRequest | None) -> int:
    """Return how many tiles to compute at once.

    `CPU_BATCH`, or what fits into half of the GPU's free memory.
    """
    if classifier.device.type != "cuda":
        return CPU_BATCH
    probe = 8
    before = torch.cuda.memory_allocated(classifier.device)
    torch.cuda.reset_peak_memory_stats(classifier.device)
    edge = classifier.card.input_px
    empty = torch.zeros((probe, edge, edge, 3), dtype=torch.uint8, device=classifier.device)
    _score(classifier, empty, _plan(classifier, request))
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
        `Classifier.ahead` behind what is being computed, so that neither waits for the other.
    """
    launch = partial(_launch, device=_Device(classifier, _plan(classifier, request)))
    if classifier.overlaps:
        yield from _two_at_once(batches, launch)
        return
    for land in _behind(map(launch, batches), classifier.ahead):
        yield land()


def _two_at_once(batches: Iterable[TileBatch], launch: Launch) -> Generator[ScoredBatch]:
    """Score each batch on one of two threads.

    The head, the maps and the bookkeeping of one, which keep a single processor busy, are computed
    while the backbone of the next is.
    """
    ended = 0.0
    with ThreadPoolExecutor(2, "slidecam-score") as pool:
        for future in _behind((pool.submit(_landed, batch, launch) for batch in batches), 1):
            before = ended
            scored, ended = future.result()
            # What two batches share of a second is counted once.
            yield replace(scored, model_seconds=min(scored.model_seconds, ended - before))


def _behind(items: Iterable[Item], ahead: int) -> Iterator[Item]:
    """Yield what is taken, some items behind."""
    taken: deque[Item] = deque()
    for item in items:
        taken.append(item)
        if len(taken) > ahead:
            yield taken.popleft()
    yield from taken


def _landed(batch: TileBatch, launch: Launch) -> tuple[ScoredBatch, float]:
    return launch(batch)(), time.perf_counter()


def _launch(batch: TileBatch, device: _Device) -> Callable[[], ScoredBatch]:
    start = time.perf_counter()
    pixels = _to_device(batch.pixels, device.classifier.device)
    moved = time.perf_counter()
    scores = device.scores(pixels)
    fitted = device.fitted(len(batch.rows))
    landed = [_to_host(tensor) for tensor in scores]
    done = None
    if device.classifier.device.type == "cuda":
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
    launched = time.perf_counter()

    def land() -> ScoredBatch:
        waiting = time.perf_counter()
        if done is not None:
            done.synchronize()
        model = launched - moved + time.perf_counter() - waiting
        return ScoredBatch(batch, _results(batch, landed), moved - start, model, fitted)

    return land


class _Scores(NamedTuple):
    """What a batch of tiles gives; all but the first two may be None."""

    logits: torch.Tensor
    probabilities: torch.Tensor
    maps: torch.Tensor | None
    disagreement: torch.Tensor | None


@dataclass
class _Device:
    """A classifier with its maps, and how many tiles its device's memory holds at once.

    Another program may take of that memory at any time: a batch that does not fit is computed in
    halves, and so are those after it.
    """

    classifier: Classifier
    plan: MapPlan | None
    most: int | None = None

    def fitted(self, tiles: int) -> int | None:
        """Return how many of so many tiles fit, or None if all do."""
        if self.most is None or self.most >= tiles:
            return None
        return self.most

    def scores(self, pixels: torch.Tensor) -> _Scores:
        """Score tiles, in as few parts as fit; DeviceError if not even one does."""
        while (scores := self._in_parts(pixels)) is None:
            if self.classifier.device.type == "cuda":
                torch.cuda.empty_cache()
        return scores

    def _in_parts(self, pixels: torch.Tensor) -> _Scores | None:
        """Return the scores, or None where fewer tiles must be tried at once."""
        tiles = self.most or len(pixels)
        try:
            parts = [
                _score(self.classifier, part, self.plan) for part in torch.split(pixels, tiles)
            ]
        except torch.OutOfMemoryError as error:
            if min(tiles, len(pixels)) == 1:
                raise too_large(f"One tile of {pixels.shape[1]} px") from error
            self.most = min(tiles, len(pixels)) // 2
            return None
        return _Scores(*map(_joined, zip(*parts, strict=True)))


def _joined(parts: Sequence[torch.Tensor | None]) -> Any:  # noqa: ANN401  (as the field has it)
    known = [part for part in parts if part is not None]
    if len(parts) == 1 or not known:
        return parts[0]
    return torch.cat(known)


def _score(classifier: Classifier, pixels: torch.Tensor, plan: MapPlan | None) -> _Scores:
    maps = None
    if plan is None:
        passed = classifier.run(pixels, gradients=False)
    else:
        passed = classifier.run(pixels, gradients=plan.gradients)
        maps = plan(passed)
    logits = passed.logits.detach()
    return _Scores(
        logits,
        classifier.probabilities(logits),
        maps,
        classifier.disagreement(passed),
    )


def _to_device(pixels: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(pixels)
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _to_host(tensor: torch.Tensor | None) -> torch.Tensor | None:
    if tensor is None or tensor.device.type == "cpu":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(
        tensor, non_blocking=True
    )


def _results(batch: TileBatch, landed: Sequence[torch.Tensor | None]) -> TileResults:
    arrays = [None if tensor is None else tensor.numpy() for tensor in landed]
    logits, probabilities, maps, disagreement = arrays
    places = {int(row): place for place, row in enumerate(batch.rows)}
    assert logits is not None  # noqa: S101  (for the type checker: only maps may be None)
    assert probabilities is not None  # noqa: S101
    failures = dict.fromkeys(_not_finite(logits, maps), NOT_A_NUMBER)
    failures |= {places[failure.row]: failure.reason for failure in batch.failures}
    return TileResults(logits, probabilities, maps, failures, disagreement)


def _not_finite(logits: NDArray[np.float32], maps: NDArray[np.float32] | None) -> list[int]:
    finite = np.isfinite(logits).all(axis=1)
    if maps is not None:
        finite &= np.isfinite(maps).all(axis=(1, 2, 3, 4))
    return [int(place) for place in np.flatnonzero(~finite)]
