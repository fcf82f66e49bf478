"""The threads beside the device's, one job of one slide after another, and how long each may take.

Whoever waits for a job is awake meanwhile: it says that a slide is silent, gives one up that takes
too long, and goes on with the others on another thread.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from slidecam.errors import SlideFailedError
from slidecam.events import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slidecam.sources.names import FoundSlide

T = TypeVar("T")

HEARTBEAT_SECONDS = 30.0
"""After so long a silence an event says which slide is waited for, and again after as long."""

_ALLOW_MORE = "See that its disk or share answers, or allow more by --slide-timeout."


@dataclass(frozen=True)
class TimeLimit:
    """How long the work on one slide may take: ``seconds``, or None for as long as it likes."""

    slide: str
    path: str
    seconds: float | None

    def pause(self, spent: float) -> float:
        """Return how long to wait before the next look."""
        if self.seconds is None:
            return HEARTBEAT_SECONDS
        return min(HEARTBEAT_SECONDS, max(0.0, self.seconds - spent))

    def refuse_late(self, spent: float, stage: str) -> None:
        """Give a slide up that took too long; SlideFailedError. ``stage`` is what was done."""
        if self.seconds is not None and spent >= self.seconds:
            raise self.given_up(stage)

    def given_up(self, stage: str) -> SlideFailedError:
        """Return the error of a slide that is given up; ``stage`` is what was done."""
        problem = f"The slide was given up after {self.seconds:g} s, while it was {stage}"
        return SlideFailedError(self.path, problem, _ALLOW_MORE)

    def waiting(
        self, is_there: Callable[[float], bool], spent: Callable[[], float], stage: str
    ) -> Iterator[Waiting]:
        """Yield a heartbeat for as long as something is waited for.

        Parameters
        ----------
        is_there
            Waits for so many seconds, and returns whether it came.
        spent
            Returns the seconds of work on the slide so far.
        stage
            What is done with the slide: ``opened``, ``classified``, ``written``.

        Raises
        ------
        SlideFailedError
            If the slide takes too long.
        """
        begun = heard = monotonic()
        while not is_there(self.pause(spent())):
            self.refuse_late(spent(), stage)
            now = monotonic()
            if now - heard >= HEARTBEAT_SECONDS:
                heard = now
                yield Waiting(self.slide, stage, round(now - begun, 1))


@dataclass
class LaneJob(Generic[T]):
    """What a lane is to do for one slide.

    Attributes
    ----------
    slide, stage, limit
        For whom, what it is called, and how long it may take.
    work
        Does it.
    before
        Seconds of work on the slide before.
    given_up
        Set where nobody waits for it any more: what it comes to does not count then.
    """

    slide: FoundSlide
    stage: str
    limit: TimeLimit
    work: Callable[[], T]
    before: float = 0.0
    future: Future[T] = field(default_factory=Future)
    given_up: Event = field(default_factory=Event)
    _begun: float | None = None

    def run(self) -> T:
        """Do it, on the lane's thread."""
        self._begun = monotonic()
        return self.work()

    @property
    def spent(self) -> float:
        """Seconds of work on the slide until now; while it waits for its turn, those of before."""
        if self._begun is None:
            return self.before
        return self.before + monotonic() - self._begun

    def awaited(self) -> Iterator[Waiting]:
        """Yield a heartbeat until it is done; SlideFailedError if it takes too long."""
        yield from self.limit.waiting(self._is_done, lambda: self.spent, self.stage)

    def _is_done(self, seconds: float) -> bool:
        return not wait([self.future], seconds).not_done


class Lane:
    """One thread for one job after another, left for a fresh one where a job does not end."""

    def __init__(self, name: str) -> None:
        self._name = f"slidecam-{name}"
        self._pool = ThreadPoolExecutor(1, self._name)
        self._jobs: list[LaneJob[Any]] = []

    def submit(self, job: LaneJob[T]) -> LaneJob[T]:
        """Put a job behind those that wait."""
        self._jobs = [each for each in self._jobs if not each.future.done()]
        job.future = self._pool.submit(job.run)
        self._jobs.append(job)
        return job

    def leave(self) -> None:
        """Leave the job that is being done, and go on with those that wait for it."""
        self.shutdown()
        self._pool = ThreadPoolExecutor(1, self._name)
        for job in self._jobs:
            if job.future.cancel():
                job.future = self._pool.submit(job.run)

    def shutdown(self) -> None:
        """Take no more; nobody waits for a job that is being done."""
        self._pool.shutdown(wait=False)
