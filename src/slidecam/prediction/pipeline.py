"""The whole way on one page: slides in, events out, every slide's outputs in a folder of its own.

While one slide is on the device, the next one is opened and prefetched, and the last one's outputs
are written: the device waits for neither. Closing the generator stops cleanly; what is committed
stays and a later call resumes it.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from slidecam.events import Event, Planned, Waiting, Warned
from slidecam.explain.facts import said_of_methods
from slidecam.prediction.boundary import (
    Failure,
    let_go,
    let_go_if_stopped,
    note_failure,
    note_unopened,
    slide_boundary,
)
from slidecam.prediction.checks import folder_named, found_and_settled, listed, notes_of
from slidecam.prediction.lanes import Lane, LaneJob, TimeLimit
from slidecam.prediction.model import load_model
from slidecam.prediction.scoring import WRITE_SECONDS, score
from slidecam.prediction.work import SlideWork
from slidecam.registry import deferred
from slidecam.runlog import RunLog
from slidecam.runs.spec import PredictSpec
from slidecam.sources.apart import expect
from slidecam.store import Outlet

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from slidecam import inference, streaming
    from slidecam.exchange.manifest import SlideReport
    from slidecam.prediction import outputs, preparation
    from slidecam.prediction.model import LoadedModel, WarmClassifiers
    from slidecam.sources.names import FoundSlide

    Preparing = LaneJob[SlideWork | Failure]
    Writing = LaneJob[SlideReport | Failure]
else:
    # What takes seconds to load, after all that may be refused.
    inference = deferred("slidecam.inference")
    streaming = deferred("slidecam.streaming")
    outputs = deferred("slidecam.prediction.outputs")
    preparation = deferred("slidecam.prediction.preparation")

LANES = ("ahead", "behind")
"""One thread prepares the next slide, one writes the outputs of the slide before."""

UNFINISHED = 2
"""Classified slides whose outputs are not written yet, at most.

Each holds its file, its lock and its memory. With two the device waits for the outputs of a slide
only where slide after slide takes longer to be written than to be classified.
"""


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
        found, completed = found_and_settled(listed(inputs), model, outlet, spec)
        slides = spec.share_of(found.slides)
        for slide in slides[:1]:
            expect(slide.path, spec.reader)
        loaded = load_model(model, completed, warm)
        said = said_of_methods(loaded.bundle.card, loaded.methods)
        log = RunLog(outlet, loaded.bundle, completed, slides, said)
        # Before the first event: whoever hears of a call may end it at once.
        cleanup.callback(log.write)
        yield log.begun(len(found.slides))
        for message in notes_of(found, loaded, spec):
            yield Warned("", message)
        commit = ThreadPoolExecutor(1, "slidecam-commit")
        # While the first slide is prepared.
        commit.submit(import_module, outputs.__name__)
        # Whoever stops has waited for what it wants: a thread that is held may never end.
        cleanup.callback(commit.shutdown, wait=False)
        lanes = list(map(Lane, LANES))
        for lane in lanes:
            cleanup.callback(lane.shutdown)
        yield from _SlidesOnTheirWay(loaded, completed, log, commit, *lanes).through(slides)
    yield from log.warnings()
    yield log.summary()


@dataclass(frozen=True)
class _SlidesOnTheirWay:
    """The way of all slides of one call, on three threads beside the device's."""

    model: LoadedModel
    spec: PredictSpec
    log: RunLog
    commit: ThreadPoolExecutor
    ahead: Lane
    behind: Lane

    def through(self, slides: Sequence[FoundSlide]) -> Iterator[Event]:
        """Take slide after slide: one is prepared ahead, one on the device, one being written.

        Every stage of a slide ends at its boundary. The log is written out here, on one thread and
        outside of it: no slide fails by a manifest that cannot be written.
        """
        finishing: deque[Writing] = deque()
        try:
            with closing(_one_ahead(self.ahead, map(self._preparing, slides))) as prepared:
                for number, slide in enumerate(slides, 1):
                    work = yield from _next_of(prepared)
                    if isinstance(work, Failure):
                        yield self._ended(work)
                        continue
                    failure = yield from self._classified(slide, work, (number, len(slides)))
                    if failure is not None:
                        yield self._ended(failure)
                    elif work.run is None:
                        self.log.planned(slide)
                    else:
                        finishing.append(self._finishing(slide, work))
                    while finishing and (len(finishing) > UNFINISHED or finishing[0].future.done()):
                        yield from self._written(finishing)
            while finishing:
                yield from self._written(finishing)
        finally:
            wait([job.future for job in finishing], WRITE_SECONDS)

    def _written(self, finishing: deque[Writing]) -> Iterator[Event]:
        """Wait for the outputs of the first slide, and say what became of it."""
        job = finishing[0]
        with slide_boundary(job.slide) as outcome:
            yield from job.awaited()
        finishing.popleft()
        if outcome.failure is None:
            yield self._ended(job.future.result())
            return
        job.given_up.set()
        self.behind.leave()
        yield self._ended(outcome.failure)

    def _limit(self, slide: FoundSlide) -> TimeLimit:
        return TimeLimit(slide.name, slide.shown, self.spec.slide_timeout)

    def _ended(self, fate: SlideReport | Failure) -> Event:
        if isinstance(fate, Failure) and fate.claimed:
            return self.log.claimed(fate.event)
        if isinstance(fate, Failure):
            return self.log.failed(fate.event)
        return self.log.finished(fate)

    def _preparing(self, slide: FoundSlide) -> LaneJob[SlideWork | Failure]:
        def work() -> SlideWork | Failure:
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

        return LaneJob(slide, "opened", self._limit(slide), work)

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
                limit = self._limit(slide)
                yield from score(limit, work.run, work.model, self.commit, work.timings)
            return None
        return self._given_up(slide, work, outcome.lost())

    def _finishing(self, slide: FoundSlide, work: SlideWork) -> Writing:
        job: Writing = LaneJob(
            slide,
            "written",
            self._limit(slide),
            lambda: self._finish(slide, work, job),
            work.timings.seconds,
        )
        return self.behind.submit(job)

    def _finish(self, slide: FoundSlide, work: SlideWork, job: Writing) -> SlideReport | Failure:
        with (
            work.timings.at_work(),
            let_go_if_stopped(work),
            slide_boundary(slide) as outcome,
        ):
            report = outputs.finish_slide(slide, work)
            if job.given_up.is_set():  # it is reported as failed, and says no other than that
                raise job.limit.given_up("written")
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


def _one_ahead(lane: Lane, jobs: Iterable[Preparing]) -> Generator[Waiting | SlideWork | Failure]:
    """Yield each job's result while the next job is at work already, and heartbeats before it.

    On closing, let go of what was not taken.
    """
    ahead: deque[Preparing] = deque()
    try:
        for job in jobs:
            ahead.append(lane.submit(job))
            if len(ahead) > 1:
                yield from _first_of(lane, ahead)
        while ahead:
            yield from _first_of(lane, ahead)
    finally:
        for left in ahead:
            left.future.cancel()
            left.future.add_done_callback(_let_go_unused)
        wait([left.future for left in ahead], streaming.LEAVE_SECONDS)


def _first_of(lane: Lane, ahead: deque[Preparing]) -> Iterator[Waiting | SlideWork | Failure]:
    """Yield heartbeats, and the first job's result or that it took too long."""
    job = ahead[0]
    with slide_boundary(job.slide) as outcome:
        yield from job.awaited()
    ahead.popleft()
    if outcome.failure is None:
        yield job.future.result()
        return
    lane.leave()
    job.future.add_done_callback(_let_go_unused)
    yield outcome.failure


def _next_of(
    prepared: Iterator[Waiting | SlideWork | Failure],
) -> Generator[Waiting, None, SlideWork | Failure]:
    """Hand heartbeats on, and return the slide that they were for."""
    for each in prepared:
        if not isinstance(each, Waiting):
            return each
        yield each
    raise AssertionError("there is a result for each slide")


def _let_go_unused(prepared: Future[SlideWork | Failure]) -> None:
    """Let a slide go that was prepared for nobody, whenever its file answers."""
    if prepared.cancelled():
        return
    work = prepared.result()
    if isinstance(work, SlideWork):
        let_go(work)


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
