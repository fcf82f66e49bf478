"""A slide's batches through the classifier and onto disk, each told once it is safe."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, wait
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from slidecam.events import BatchDone, TileFailed, Waiting, Warned
from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from concurrent.futures import ThreadPoolExecutor

    from slidecam import inference
    from slidecam.events import Event
    from slidecam.inference import ScoredBatch
    from slidecam.prediction.lanes import TimeLimit
    from slidecam.prediction.model import LoadedModel
    from slidecam.prediction.work import OpenRun, Timings
    from slidecam.store import RunStore
else:
    # It takes seconds to load, after all that may be refused.
    inference = deferred("slidecam.inference")

WRITE_SECONDS = 30.0
"""How long whoever stops a run waits for what is being written: a disk may never answer."""


def score(
    limit: TimeLimit,
    run: OpenRun,
    model: LoadedModel,
    pool: ThreadPoolExecutor,
    timings: Timings,
) -> Generator[Event]:
    """Classify the pending batches of one slide; each is reported once it is on disk.

    SlideFailedError if the slide takes longer than its limit.
    """
    name, done, in_parts = limit.slide, run.done, False
    with closing(inference.classify(run.stream, model.classifier, model.request)) as batches:
        brought = _brought(batches, limit, run, model, timings)
        for scored in _committed(brought, run.store, pool, timings):
            if isinstance(scored, Waiting):
                yield scored
                continue
            done += len(scored.batch.rows)
            if scored.fitted is not None and not in_parts:
                in_parts = True
                yield Warned(name, _in_parts(scored))
            boxes = run.boxes[scored.batch.rows]
            for place, reason in scored.results.failures.items():
                x, y, width, height = (int(value) for value in boxes[place])
                yield TileFailed(name, (x, y, width, height), reason)
            planes = None
            if run.planes is not None:
                planes = run.planes[scored.batch.rows]
            probabilities = scored.results.blanked().probabilities
            yield BatchDone(name, done, len(run.store), boxes, probabilities, planes)
            limit.refuse_late(timings.seconds, "classified")


def _in_parts(scored: ScoredBatch) -> str:
    return (
        f"The device's memory held {scored.fitted} tiles at once, not {len(scored.batch.rows)}:"
        " batches are computed in parts, which can change last digits. --batch names a smaller one."
    )


def _brought(
    batches: Iterator[ScoredBatch],
    limit: TimeLimit,
    run: OpenRun,
    model: LoadedModel,
    timings: Timings,
) -> Iterator[ScoredBatch | Waiting]:
    """Yield the scored batches, and heartbeats while pixels are waited for."""
    wanted = 1 + model.classifier.ahead
    while True:
        is_ready = partial(run.stream.is_ready, batches=wanted)
        yield from limit.waiting(is_ready, lambda: timings.seconds, "classified")
        scored = next(batches, None)
        if scored is None:
            return
        yield scored
        wanted = 1


def _committed(
    batches: Iterable[ScoredBatch | Waiting],
    store: RunStore,
    pool: ThreadPoolExecutor,
    timings: Timings,
) -> Iterator[ScoredBatch | Waiting]:
    """Write each batch while the next is computed; yield it when it is safe."""
    writing: deque[tuple[ScoredBatch, Future[float]]] = deque()
    try:
        for scored in batches:
            if isinstance(scored, Waiting):
                yield scored
                continue
            timings.add(scored)
            writing.append((scored, pool.submit(_commit, store, scored)))
            if len(writing) > 1:
                yield _landed(writing, timings)
        while writing:
            yield _landed(writing, timings)
    finally:
        wait([future for _scored, future in writing], WRITE_SECONDS)


def _commit(store: RunStore, scored: ScoredBatch) -> float:
    start = time.perf_counter()
    store.commit(scored.batch.index, scored.results)
    return time.perf_counter() - start


def _landed(writing: deque[tuple[ScoredBatch, Future[float]]], timings: Timings) -> ScoredBatch:
    scored, future = writing.popleft()
    timings.write += future.result()
    return scored
