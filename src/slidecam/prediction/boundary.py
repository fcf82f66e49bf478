"""Where a slide may fail without the others, and what is noted of it then."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from traceback import TracebackException
from typing import TYPE_CHECKING

from slidecam.errors import RunExistsError, SlidecamError
from slidecam.events import SlideFailed
from slidecam.objects import said
from slidecam.runlog import error_words
from slidecam.runs.record import write_failure
from slidecam.runs.record_parts import RecordedOutcome
from slidecam.store import lock_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slidecam.prediction.work import SlideWork
    from slidecam.sources.names import FoundSlide
    from slidecam.store import Mirror


@dataclass(frozen=True)
class Failure:
    """Why a slide was given up.

    Attributes
    ----------
    event
        What the run says of it.
    traceback
        Where it happened, for whoever mends it; empty where slidecam foresaw the error, whose words
        say all.
    claimed
        Whether another process is at work on the slide, which is no failure.
    """

    event: SlideFailed
    traceback: str = ""
    claimed: bool = False


@dataclass
class Outcome:
    """What came of some stages of a slide; ``failure`` is None where nothing went wrong."""

    failure: Failure | None = None

    def lost(self) -> Failure:
        """Return the failure, where it is known that there is one."""
        assert self.failure is not None  # noqa: S101  (for the type checker: called after one)
        return self.failure


@contextmanager
def slide_boundary(slide: FoundSlide) -> Iterator[Outcome]:
    """Keep to one slide whatever goes wrong with it; the outcome holds its failure.

    That memory ran out is a slide's failure too: the next one may be smaller. What ends the process
    or the call (KeyboardInterrupt, SystemExit, GeneratorExit) passes.
    """
    outcome = Outcome()
    try:
        yield outcome
    # Readers, scikit-image, SciPy, Pillow, zarr and torch promise no list of what they raise, and
    # every list that was kept here had holes: one TypeError ended a night's run.
    except Exception as error:  # noqa: BLE001  (the boundary of a slide: it fails alone, and is recorded)
        outcome.failure = failure_of(slide, error)


def let_go(work: SlideWork) -> None:
    """Close a slide that is done with, or given up for a reason that is recorded already.

    That it cannot be closed changes nothing for anybody.
    """
    with suppress(Exception):
        work.close()


@contextmanager
def let_go_if_stopped(work: SlideWork) -> Iterator[None]:
    """Close a slide if the call itself, or the process, is being ended meanwhile."""
    try:
        yield
    except BaseException:
        let_go(work)
        raise


def failure_of(slide: FoundSlide, error: Exception) -> Failure:
    """Return a slide's failure, worded without what names a patient or opens a server."""
    problem, remedy = error_words(error)
    event = SlideFailed(slide.name, slide.shown, slide.public(said(problem)), remedy)
    if isinstance(error, SlidecamError):
        claimed = isinstance(error, RunExistsError) and error.claimed
        return Failure(event, slide.public(said("\n".join(error.traceback()))), claimed)
    lines = TracebackException.from_exception(error).format()
    return Failure(event, slide.public(said("".join(lines))))


def note_failure(folder: Path, failure: Failure) -> None:
    """Note in ``run.json`` that a slide was given up; the caller holds the folder's lock."""
    outcome = RecordedOutcome(
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=failure.event.problem,
        remedy=failure.event.remedy,
        traceback=tuple(failure.traceback.splitlines()),
    )
    write_failure(folder, outcome)


def note_unopened(folder: Path, failure: Failure, mirror: Mirror | None) -> None:
    """Note the failure of a slide that never came to a run, where it was not foreseen.

    Its folder holds no more than that. Nothing is noted where another process is at work.
    """
    if not failure.traceback:
        return
    with lock_run(folder):
        note_failure(folder, failure)
        if mirror is not None:
            mirror.push()
