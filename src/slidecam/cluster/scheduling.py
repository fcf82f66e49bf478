"""Who gives out the work: which task goes next, what became of it, what the run says of it.

A slide is opened and laid out by one task, classified by one for each part of its store, and
written out by a last one; a small slide is one task in all. Few tasks are with the cluster at a
time, so that the scheduler's memory does not grow with the slides. This process holds the lock of
each slide that is begun, and notes what became of it.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from distributed.scheduler import KilledWorker

from slidecam.cluster.connecting import workers_of
from slidecam.cluster.messages import Lost, PartDone, SlidePlanned, Unwritten
from slidecam.cluster.working import classify_part, finish, plan_slide
from slidecam.errors import SlidecamError
from slidecam.events import BatchDone, SlideFailed, Warned
from slidecam.locks import LOCK_FILE
from slidecam.prediction.boundary import Failure, failure_of, note_failure, slide_boundary
from slidecam.prediction.work import Timings
from slidecam.store import RunStore, lock_run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from distributed import Client, Future
    from numpy.typing import NDArray

    from slidecam.cluster.messages import Call, SlideJob
    from slidecam.events import Event
    from slidecam.exchange.manifest import SlideReport
    from slidecam.locks import FolderLock
    from slidecam.runlog import RunLog

TRIES = 3
"""How often a task is tried: where it came to nothing, and then on two other workers."""

LEAST_WINDOW = 16
"""Tasks that are given out at least, so that a cluster that grows sees that there is work."""

GPU_SHARE = 0.5
"""What a part takes of a worker's ``GPU``: one is on the device while the next is decoded."""

LOOK_EVERY = 5.0
"""Seconds without an answer after which it is looked whether anybody is at work."""

FIRST, SECOND = 2_000_000, 1_000_000
"""Priorities, to which a slide's number counts: what ends a slide, and what is of a begun one."""

ALL_ENDED = "The workers that it was given to ended, one after the other."
SEE_LOGS = (
    "See the workers' logs: memory may have run out. Pass a smaller --batch or --memory, then"
    " repeat the call with --resume."
)

LARGEST = 10**12
"""Batches of a slide, if nobody can count them."""

Part = tuple[int, int]


class SchedulerLostError(Exception):
    """The scheduler ended, or cannot be reached; it never leaves this room."""


@dataclass(frozen=True)
class _Results:
    """What a slide's results are read from while it is going on."""

    store: RunStore
    boxes: NDArray[np.int64]
    planes: NDArray[np.int64] | None

    @classmethod
    def open(cls, folder: Path) -> _Results:
        store = RunStore.open(folder)
        planes = None
        if store.is_volume:
            planes = store.planes
        return cls(store, store.boxes, planes)


@dataclass
class _Open:
    """A slide that is begun: its lock, the parts that wait, and what came of the others."""

    job: SlideJob
    lock: FolderLock | None
    waiting: deque[Part] = field(default_factory=deque)
    flying: int = 0
    done: int = 0
    total: int = 0
    timings: Timings = field(default_factory=Timings)
    results: _Results | None = None
    planned: bool = False
    failure: Failure | None = None


@dataclass(frozen=True)
class _Task:
    """One task: whose it is, which part, where it came to nothing, and what was pending then."""

    slide: _Open
    stage: Callable[..., Any]
    part: Part | None = None
    tried: tuple[str, ...] = ()
    pending: float = math.inf


class Scheduling:
    """The work of one call on a cluster.

    Parameters
    ----------
    client
        Of the cluster.
    call, jobs
        What is to be done.
    log
        Where each slide's fate is noted.
    on_gpu
        Whether workers have a ``GPU`` among their resources, and no other is to be used.
    """

    def __init__(
        self, client: Client, call: Call, jobs: Sequence[SlideJob], log: RunLog, *, on_gpu: bool
    ) -> None:
        self._client, self._call, self._log, self._on_gpu = client, call, log, on_gpu
        self._unopened = deque(jobs)
        self._open: list[_Open] = []
        self._ready: deque[_Task] = deque()
        self._flying: dict[str, tuple[_Task, Future[Any]]] = {}
        self._landed: SimpleQueue[str] = SimpleQueue()
        self._alone = False

    def events(self) -> Iterator[Event]:
        """Give out all of the work, and yield what becomes of it.

        Raises
        ------
        SchedulerLostError
            If the scheduler ended.
        """
        while self._unopened or self._open or self._flying:
            yield from self._fill()
            if not self._flying:
                continue
            key = yield from self._next()
            task, future = self._flying.pop(key)
            task.slide.flying -= 1
            yield from self._ended(task, future)
            future.release()

    def stop(self) -> None:
        """Take back what is given out, and let the slides go."""
        futures = [future for _task, future in self._flying.values()]
        self._flying.clear()
        with suppress(Exception):  # a scheduler that is gone has nothing left to take back
            self._client.cancel(futures, force=True)

    def release(self) -> None:
        """Let other processes in."""
        for each in self._open:
            if each.lock is not None:
                each.lock.release()
        self._open.clear()

    # Giving out

    def _fill(self) -> Iterator[Event]:
        window = self._window()
        while len(self._flying) < window:
            task = self._next_task()
            if task is not None:
                self._submit(task)
            elif self._unopened and len(self._open) < window:
                yield from self._begin(self._unopened.popleft())
            else:
                return

    def _window(self) -> int:
        threads = 0
        for worker in workers_of(self._client).values():
            threads += worker["nthreads"]
        return max(LEAST_WINDOW, 2 * threads)

    def _next_task(self) -> _Task | None:
        if self._ready:
            return self._ready.popleft()
        for each in self._open:
            if each.waiting and each.failure is None:
                return _Task(each, classify_part, each.waiting.popleft())
        return None

    def _begin(self, job: SlideJob) -> Iterator[Event]:
        """Keep other processes out of a slide, and give out its first task."""
        lock = None
        with slide_boundary(job.slide) as outcome:
            if job.slide.error is not None:
                raise job.slide.error
            if not self._call.spec.dry_run:
                lock = lock_run(self._log.out / job.name)
        if outcome.failure is not None:
            yield self._note(outcome.failure)
            return
        if lock is not None and lock.note:
            yield Warned(job.name, lock.note)
        begun = _Open(job, lock)
        self._open.append(begun)
        self._ready.append(_Task(begun, plan_slide))

    def _submit(self, task: _Task) -> None:
        slide, arguments = task.slide, [self._call, task.slide.job]
        priority = -slide.job.number
        if task.part is not None:
            arguments.append(task.part)
            priority += SECOND
        elif task.stage is finish:
            arguments.append(slide.timings)
            priority += FIRST
        options: dict[str, Any] = {"priority": priority, "pure": False, "retries": 0}
        if self._on_gpu:
            # Nothing of it where no batch is classified, but on such a worker.
            options["resources"] = {"GPU": GPU_SHARE if task.stage is not finish else 0}
        others = list(workers_of(self._client).keys() - set(task.tried))
        if task.tried and others:
            options |= {"workers": others, "allow_other_workers": True}
        future = self._client.submit(task.stage, *arguments, **options)
        slide.flying += 1
        self._flying[str(future.key)] = task, future
        future.add_done_callback(self._on_landing)

    def _on_landing(self, future: Future[Any]) -> None:
        self._landed.put(str(future.key))

    # What comes back

    def _next(self) -> Generator[Event, None, str]:
        """Return the key of a task that has come to its end."""
        while True:
            try:
                key = self._landed.get(timeout=LOOK_EVERY)
            except Empty:
                yield from self._look()
                continue
            if key in self._flying:
                return key

    def _look(self) -> Iterator[Event]:
        if self._client.status != "running":
            raise SchedulerLostError
        alone = not workers_of(self._client)
        if alone and not self._alone:
            yield Warned("", "No worker is left in the cluster; the run waits for one.")
        self._alone = alone

    def _ended(self, task: _Task, future: Future[Any]) -> Iterator[Event]:
        if future.status == "cancelled":
            raise SchedulerLostError
        if future.status == "error":
            self._raised(task, future)
            yield from self._go_on(task.slide)
            return
        result = future.result()
        if isinstance(result, Lost):
            self._lost(task, result)
        elif isinstance(result, SlidePlanned):
            yield from self._planned(task.slide, result)
        elif isinstance(result, PartDone):
            yield from self._part_done(task.slide, result)
        elif isinstance(result, Unwritten):
            task.slide.waiting.extend(result.parts)
        else:
            yield from self._over(task.slide, result)
            return
        yield from self._go_on(task.slide)

    def _raised(self, task: _Task, future: Future[Any]) -> None:
        """Take note of a task that its workers did not live to answer, several of them."""
        error = future.exception()
        slide = task.slide.job.slide
        if not isinstance(error, KilledWorker):
            self._lost(task, Lost(failure_of(slide, error), "", final=False))
            return
        pending = self._pending(task)
        if pending < task.pending:
            # They had come on with it: they ended for another reason.
            self._ready.append(replace(task, pending=pending, tried=()))
            return
        event = SlideFailed(slide.name, slide.shown, ALL_ENDED, SEE_LOGS)
        self._lost(task, Lost(Failure(event), "", final=True))

    def _pending(self, task: _Task) -> float:
        """Return how many batches of a task are not committed."""
        low, high = task.part or (0, math.inf)
        try:
            left = RunStore.open(self._log.out / task.slide.job.name).uncommitted_batches()
        except (OSError, SlidecamError):
            # It was not begun.
            return LARGEST
        pending = 0
        for batch in left:
            pending += low <= batch < high
        return pending

    def _lost(self, task: _Task, lost: Lost) -> None:
        tried = (*task.tried, lost.worker)
        if lost.final or len(tried) >= TRIES:
            task.slide.failure = lost.failure
            task.slide.waiting.clear()
        else:
            self._ready.append(replace(task, tried=tried))

    def _planned(self, slide: _Open, plan: SlidePlanned) -> Iterator[Event]:
        slide.planned = True
        slide.total = plan.event.tiles
        slide.done = plan.event.tiles - plan.event.pending
        slide.timings = plan.timings
        yield plan.event
        for message in plan.warnings:
            yield Warned(slide.job.name, message)
        if self._call.spec.dry_run:
            self._log.planned(slide.job.slide)
            self._let_go(slide)
            return
        slide.waiting.extend(plan.parts)
        if plan.done is not None:
            yield from self._batches(slide, plan.done)
        if plan.report is not None:
            yield from self._over(slide, plan.report)

    def _part_done(self, slide: _Open, part: PartDone) -> Iterator[Event]:
        slide.timings.include(part.timings)
        yield from self._batches(slide, part)

    def _batches(self, slide: _Open, part: PartDone) -> Iterator[Event]:
        """Yield what is new of a slide; its numbers are read where they lie."""
        yield from part.failures
        if not part.batches:
            return
        if slide.results is None:
            slide.results = _Results.open(self._log.out / slide.job.name)
        results = slide.results
        rows, probabilities = results.store.read_batches(part.batches)
        slide.done += len(rows)
        planes = None
        if results.planes is not None:
            planes = results.planes[rows]
        boxes = results.boxes[rows]
        yield BatchDone(slide.job.name, slide.done, slide.total, boxes, probabilities, planes)

    def _go_on(self, slide: _Open) -> Iterator[Event]:
        """Give out what ends a slide, where nothing else of it is left."""
        if slide not in self._open or slide.flying or slide.waiting:
            return
        for task in self._ready:
            if task.slide is slide:
                return
        if slide.failure is not None:
            yield self._given_up(slide, slide.failure)
        elif slide.planned:
            self._ready.append(_Task(slide, finish))

    def _over(self, slide: _Open, report: SlideReport) -> Iterator[Event]:
        self._let_go(slide)
        yield self._log.finished(report)

    def _given_up(self, slide: _Open, failure: Failure) -> Event:
        folder = self._log.out / slide.job.name
        # What goes wrong here comes on top of what is reported already.
        with slide_boundary(slide.job.slide):
            if slide.planned or failure.traceback:
                note_failure(folder, failure)
        self._let_go(slide)
        if not slide.planned and not self._call.spec.dry_run:
            with suppress(OSError):
                # Nothing came into it but our lock.
                if list(folder.iterdir()) == [folder / LOCK_FILE]:
                    (folder / LOCK_FILE).unlink()
                    folder.rmdir()
        return self._note(failure)

    def _note(self, failure: Failure) -> Event:
        if failure.claimed:
            return self._log.claimed(failure.event)
        return self._log.failed(failure.event)

    def _let_go(self, slide: _Open) -> None:
        self._open.remove(slide)
        if slide.lock is not None:
            slide.lock.release()
