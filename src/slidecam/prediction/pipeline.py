"""The whole way on one page: slides in, events out, every slide's outputs in a folder of its own.

While one slide is on the device, the next one is opened and prefetched, and the last one's outputs
are written: the device waits for neither. Closing the generator stops cleanly; what is committed
stays and a later call resumes it.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slidecam.events import BatchDone, Event, Planned, TileFailed, Warned
from slidecam.explain.facts import said_of_methods
from slidecam.prediction.checks import (
    Failure,
    folder_named,
    found_and_settled,
    let_go,
    let_go_if_stopped,
    listed,
    note_failure,
    note_unopened,
    notes_of,
    slide_boundary,
)
from slidecam.prediction.model import load_model
from slidecam.prediction.work import SlideWork
from slidecam.registry import deferred
from slidecam.runlog import RunLog
from slidecam.runs.spec import PredictSpec
from slidecam.store import Outlet

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from slidecam import inference, streaming
    from slidecam.exchange.manifest import SlideReport
    from slidecam.inference import ScoredBatch
    from slidecam.prediction import outputs, preparation
    from slidecam.prediction.model import LoadedModel, WarmClassifiers
    from slidecam.prediction.work import OpenRun, Timings
    from slidecam.sources.names import FoundSlide
    from slidecam.store import RunStore
else:
    # What takes seconds to load, after all that may be refused.
    inference = deferred("slidecam.inference")
    streaming = deferred("slidecam.streaming")
    outputs = deferred("slidecam.prediction.outputs")
    preparation = deferred("slidecam.prediction.preparation")

THREADS = ("ahead", "commit", "behind")
"""One thread prepares slides, one commits batches, one writes outputs.

The first prepares the next slide, the last writes the outputs of the slide before.
"""

UNFINISHED = 2
"""Classified slides whose outputs are not written yet, at most.

Each holds its file, its lock and its memory. With two the device waits for the outputs of a slide
only where slide after slide takes longer to be written than to be classified.
"""


WRITE_SECONDS = 30.0
"""How long whoever stops a run waits for what is being written: a disk may never answer."""


def predict(
    inputs: str | Path | Sequence[str | Path],
    model: str | Path,
    out: str | Path,
    spec: PredictSpec | None = None,
    warm: WarmClassifiers | None = None,
) -> Generator[Event]:
    """Classify slides in this process, yielding each step as an event; see `slidecam.predict`."""
    spec = spec or PredictSpec()
    with ExitStack() as cleanup:
        outlet = cleanup.enter_context(Outlet.of(folder_named(out)))
        found, completed = found_and_settled(listed(inputs), outlet, spec)
        loaded = load_model(model, completed, warm)
        slides = spec.share_of(found.slides)
        said = said_of_methods(loaded.bundle.card, loaded.methods)
        log = RunLog(outlet, loaded.bundle, completed, slides, said)
        yield log.begun(len(found.slides))
        for message in notes_of(found, loaded, spec):
            yield Warned("", message)
        cleanup.callback(log.write)
        pools = [ThreadPoolExecutor(1, f"slidecam-{name}") for name in THREADS]
        for pool in pools:
            # Whoever stops has waited for what it wants: a thread that is held may never end.
            cleanup.callback(pool.shutdown, wait=False)
        yield from _SlidesOnTheirWay(loaded, completed, log, *pools).through(slides)
    yield from log.warnings()
    yield log.summary()


@dataclass(frozen=True)
class _SlidesOnTheirWay:
    """The way of all slides of one call, on three threads beside the device's."""

    model: LoadedModel
    spec: PredictSpec
    log: RunLog
    ahead: ThreadPoolExecutor
    commit: ThreadPoolExecutor
    behind: ThreadPoolExecutor

    def through(self, slides: Sequence[FoundSlide]) -> Iterator[Event]:
        """Take slide after slide: one is prepared ahead, one on the device, one being written.

        Every stage of a slide ends at its boundary. The log is written out here, on one thread and
        outside of it: no slide fails by a manifest that cannot be written.
        """
        finishing: deque[Future[SlideReport | Failure]] = deque()
        try:
            with closing(_one_ahead(self.ahead, map(self._preparing, slides))) as prepared:
                for number, (slide, work) in enumerate(zip(slides, prepared, strict=True), 1):
                    if isinstance(work, Failure):
                        yield self._ended(work)
                        continue
                    failure = yield from self._classified(slide, work, (number, len(slides)))
                    if failure is not None:
                        yield self._ended(failure)
                    elif work.run is None:
                        self.log.planned(slide)
                    else:
                        finishing.append(self.behind.submit(self._finish, slide, work))
                    while finishing and (len(finishing) > UNFINISHED or finishing[0].done()):
                        yield self._ended(finishing.popleft().result())
            while finishing:
                yield self._ended(finishing.popleft().result())
        finally:
            wait(finishing, WRITE_SECONDS)

    def _ended(self, fate: SlideReport | Failure) -> Event:
        if isinstance(fate, Failure) and fate.claimed:
            return self.log.claimed(fate.event)
        if isinstance(fate, Failure):
            return self.log.failed(fate.event)
        return self.log.finished(fate)

    def _preparing(self, slide: FoundSlide) -> Callable[[], SlideWork | Failure]:
        def job() -> SlideWork | Failure:
            folder, mirror = self.log.out / slide.name, self.log.outlet.slide(slide.name)
            with slide_boundary(slide) as outcome:
                if slide.error is not None:
                    raise slide.error
                if mirror is not None:
                    mirror.begin(self.spec.existing, alone=not self.spec.dry_run)
                return preparation.prepare(slide, folder, self.model, self.spec, mirror)
            failure = outcome.lost()
            # What goes wrong here comes on top of what is reported already.
            with slide_boundary(slide):
                if not self.spec.dry_run:
                    note_unopened(folder, failure, mirror)
                if mirror is not None:
                    mirror.release()
            return failure

        return job

    def _classified(
        self, slide: FoundSlide, work: SlideWork, place: tuple[int, int]
    ) -> Generator[Event, None, Failure | None]:
        """Classify one slide; return its failure, if it did fail. A dry run ends with its plan."""
        with (
            work.timings.at_work(),
            let_go_if_stopped(work),
            slide_boundary(slide) as outcome,
        ):
            yield planned(slide, work, place)
            yield from (Warned(slide.name, message) for message in work.warnings)
            if work.run is None:
                self.log.note(slide.name, work.close())
            else:
                outputs.begin_slide(slide, work)
                yield from score(slide.name, work.run, work.model, self.commit, work.timings)
            return None
        return self._given_up(slide, work, outcome.lost())

    def _finish(self, slide: FoundSlide, work: SlideWork) -> SlideReport | Failure:
        with (
            work.timings.at_work(),
            let_go_if_stopped(work),
            slide_boundary(slide) as outcome,
        ):
            report = outputs.finish_slide(slide, work)
            # Everything is written: that the file cannot be closed is worth a word and no more.
            self.log.note(slide.name, work.close())
            return report
        return self._given_up(slide, work, outcome.lost())

    def _given_up(self, slide: FoundSlide, work: SlideWork, failure: Failure) -> Failure:
        """Note a failure in the slide's folder and let the slide go."""
        if work.run is not None:
            # What goes wrong here comes on top of what is reported already.
            with slide_boundary(slide):
                note_failure(work.folder, failure)
                work.put()
        let_go(work)
        return failure


def _one_ahead(
    pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], SlideWork | Failure]]
) -> Generator[SlideWork | Failure]:
    """Yield each job's result while the next job is at work already.

    On closing, let go of what was not taken.
    """
    ahead: deque[Future[SlideWork | Failure]] = deque()
    try:
        for job in jobs:
            ahead.append(pool.submit(job))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for left in ahead:
            left.cancel()
            left.add_done_callback(_let_go_unused)
        wait(ahead, streaming.LEAVE_SECONDS)


def _let_go_unused(prepared: Future[SlideWork | Failure]) -> None:
    """Let a slide go that was prepared for nobody, whenever its file answers."""
    if prepared.cancelled():
        return
    work = prepared.result()
    if isinstance(work, SlideWork):
        let_go(work)


def score(
    name: str,
    run: OpenRun,
    model: LoadedModel,
    pool: ThreadPoolExecutor,
    timings: Timings,
) -> Generator[Event]:
    """Classify the pending batches of one slide; each is reported once it is on disk."""
    done = run.done
    with closing(inference.classify(run.stream, model.classifier, model.request)) as batches:
        for scored in _committed(batches, run.store, pool, timings):
            done += len(scored.batch.rows)
            boxes = run.boxes[scored.batch.rows]
            for place, reason in scored.results.failures.items():
                x, y, width, height = (int(value) for value in boxes[place])
                yield TileFailed(name, (x, y, width, height), reason)
            planes = None
            if run.planes is not None:
                planes = run.planes[scored.batch.rows]
            probabilities = scored.results.blanked().probabilities
            yield BatchDone(name, done, len(run.store), boxes, probabilities, planes)


def _committed(
    batches: Iterable[ScoredBatch],
    store: RunStore,
    pool: ThreadPoolExecutor,
    timings: Timings,
) -> Iterator[ScoredBatch]:
    """Write each batch while the next is computed; yield it when it is safe."""
    writing: deque[tuple[ScoredBatch, Future[float]]] = deque()
    try:
        for scored in batches:
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


def planned(slide: FoundSlide, work: SlideWork, place: tuple[int, int]) -> Planned:
    """Return what a run says of a slide before its first batch; ``place`` is its number of all."""
    grid = work.grid
    pending, spacing, origin = len(grid), None, ""
    if work.run is not None:
        pending -= work.run.done
    if work.spacing is not None:
        spacing, origin = work.spacing.spacing.mean, work.spacing.origin
    return Planned(
        slide=slide.name,
        path=slide.shown,
        tiles=len(grid),
        candidates=grid.candidates,
        pending=pending,
        spacing=spacing,
        spacing_from=origin,
        tile_px=grid.edge,
        level=grid.level.index,
        planes=work.source.facts.planes,
        readings=work.source.facts.readings,
        number=place[0],
        slides=place[1],
    )
