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
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch

from slidecam.errors import DeviceError, ExplanationError
from slidecam.explain.activation_maps import plan_maps
from slidecam.explain.catalogue import (
    heatmap_methods,
    method_for,
    slide_methods,
    title_of,
)
from slidecam.explain.facts import usual_methods
from slidecam.models.classifier import NOT_A_NUMBER
from slidecam.store import TileResults

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from slidecam.explain.activation_maps import MapPlan
    from slidecam.models import Card, Classifier
    from slidecam.streaming import TileBatch

    Launch = Callable[[TileBatch], Callable[[], "ScoredBatch"]]

Item = TypeVar("Item")

CPU_BATCH = 16
"""Tiles per batch on a CPU: 8 to 16 were fastest on every network, 64 overflowed the caches."""

LARGEST_BATCH = 512
"""Beyond this a GPU gains nothing and results come late."""

MANY_CLASSES = 16
"""Up to so many classes are mapped where none is named; ImageNet's thousand would fill a disk."""


@dataclass(frozen=True)
class MapRequest:
    """Which explanations to compute along with the predictions.

    Attributes
    ----------
    methods
        Names, as in ``--heatmap``; the first is the one that is shown first.
    classes
        Indices of the classes to map, in the order of the maps' axis of classes.
    against
        Index of the class that the others are compared with, for Finer-CAM; None for the other one
        of two.
    """

    methods: tuple[str, ...]
    classes: tuple[int, ...]
    against: int | None = None

    @property
    def raw(self) -> tuple[str, ...]:
        """The methods whose raw maps are kept, in the order of the maps' axis of methods."""
        return tuple(dict.fromkeys(method_for(name).raw for name in self.methods))

    def place(self, method: str) -> int:
        """Return where a method's raw maps lie on that axis."""
        return self.raw.index(method_for(method).raw)


@dataclass(frozen=True)
class ScoredBatch:
    """One batch's tiles with what the classifier made of them, and the seconds that it took."""

    batch: TileBatch
    results: TileResults
    transfer_seconds: float
    model_seconds: float


def request_maps(
    card: Card,
    methods: str | None,
    names: Sequence[str],
    against: str | None = None,
    *,
    has_map: bool,
    linear: bool = False,
    cause: str = "",
) -> MapRequest | None:
    """Settle which classes are mapped and how.

    Parameters
    ----------
    card
        The bundle's card.
    methods
        Names of `slide_methods`, separated by commas; ``none``; or None for `usual_methods` where
        they are possible and cheap.
    names
        Class names to map; empty for all of them (but ``against``).
    against
        Name of the class that Finer-CAM compares with.
    has_map
        Whether the classifier has an activation map at all.
    linear
        Whether one linear layer makes the logits of its average.
    cause
        Why there is no map: `Classifier.no_map`.

    Raises
    ------
    ExplanationError
        If a method or a class is unknown, or maps are named and cannot be had.
    """
    if methods is not None and not heatmap_methods(methods):
        if names or against:
            raise ExplanationError(
                "--heatmap none leaves no class to map.",
                "Leave out one of both options.",
            )
        return None
    if not has_map and methods is None:
        return None
    if not has_map:
        raise ExplanationError(
            f"The model {card.name} has no activation map to explain: {cause}.",
            "Pass --heatmap none, or use a bundle with model.safetensors and a `split` layer in its"
            " card.",
        )
    wanted = usual_methods(card, linear=linear)
    if methods is not None:
        wanted = heatmap_methods(methods)
    rival = _rival(card, wanted, against)
    classes = _classes(card, names, rival, by_default=methods is None)
    if classes is None:
        return None
    return MapRequest(wanted, classes, rival)


def _rival(card: Card, methods: Sequence[str], against: str | None) -> int | None:
    comparing = [name for name in methods if method_for(name).compares]
    if against is not None and not comparing:
        known = sorted(name for name, method in slide_methods().items() if method.compares)
        raise ExplanationError(
            f"--heatmap {','.join(methods)} compares no classes, as --heatmap-against"
            f" {against} wants.",
            f"Pass --heatmap {' or '.join(known)} with it, or leave it out.",
        )
    if comparing and against is None and len(card.class_names) != 2:  # noqa: PLR2004  (a class and the other one)
        raise ExplanationError(
            f"{title_of(comparing[0])} compares two classes, and {card.name} has"
            f" {len(card.class_names)}.",
            f"Name the one to compare with: --heatmap-against {card.class_names[-1]!r}.",
        )
    if against is None:
        return None
    return _class_index(card, against)


def _classes(
    card: Card, names: Sequence[str], rival: int | None, *, by_default: bool
) -> tuple[int, ...] | None:
    """Return the indices of the classes to map.

    None where no class is named and there are too many.
    """
    if names:
        chosen = tuple(dict.fromkeys(_class_index(card, name) for name in names))
        if rival in chosen:
            problem = f"{card.class_names[rival]!r} cannot be compared with itself."
            raise ExplanationError(
                problem,
                "Leave it out of --heatmap-class, or pass another --heatmap-against.",
            )
        return chosen
    if len(card.class_names) <= MANY_CLASSES:
        return tuple(index for index in range(len(card.class_names)) if index != rival)
    if by_default:
        return None
    raise ExplanationError(
        f"The model {card.name} has {len(card.class_names)} classes.",
        f"Name the ones to map with --heatmap-class NAME (all are mapped up to {MANY_CLASSES}).",
    )


def _class_index(card: Card, name: str) -> int:
    if name not in card.classes:
        known = ", ".join(card.class_names[:MANY_CLASSES])
        raise ExplanationError(
            f"The model {card.name} has no class {name!r}.", f"Its classes are: {known}."
        )
    return card.classes.index(name)


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
    launch = partial(_launch, classifier=classifier, plan=_plan(classifier, request))
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


def _launch(
    batch: TileBatch, classifier: Classifier, plan: MapPlan | None
) -> Callable[[], ScoredBatch]:
    start = time.perf_counter()
    pixels = _to_device(batch.pixels, classifier.device)
    moved = time.perf_counter()
    try:
        scores = _score(classifier, pixels, plan)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{len(batch.rows)} tiles of {batch.pixels.shape[1]} px do not fit into the GPU's"
            " memory.",
            "Pass a smaller --batch.",
        ) from error
    landed = [_to_host(tensor) for tensor in scores]
    done = None
    if classifier.device.type == "cuda":
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
    launched = time.perf_counter()

    def land() -> ScoredBatch:
        waiting = time.perf_counter()
        if done is not None:
            done.synchronize()
        model = launched - moved + time.perf_counter() - waiting
        return ScoredBatch(batch, _results(batch, landed), moved - start, model)

    return land


class _Scores(NamedTuple):
    """What a batch of tiles gives; all but the first two may be None."""

    logits: torch.Tensor
    probabilities: torch.Tensor
    maps: torch.Tensor | None
    disagreement: torch.Tensor | None


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
