"""Several slides in one call of the pipeline, as the viewer follows it. It knows no Qt.

The pipeline takes them one after another, and goes on with the next one where one fails: nothing
of that is done here.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slidecam.errors import SlidecamError
from slidecam.events import (
    BatchDone,
    Finished,
    Planned,
    SlideFailed,
    SlideFinished,
    Started,
    Waiting,
    Warned,
)
from slidecam.plugin.job import EVERY, Rate, Said, Silent
from slidecam.plugin.pausing import Pausable
from slidecam.plugin.tasks import UNFORESEEN
from slidecam.prediction.pipeline import predict

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from slidecam.events import Event
    from slidecam.runs.spec import PredictSpec

_LOG = logging.getLogger(__name__)

NAMED = 5
"""Failures that the summary names; of more it says how many."""


@dataclass(frozen=True)
class CohortStep:
    """How far several slides are.

    Attributes
    ----------
    slide
        The one that is classified.
    number, slides
        Its place among all, from 1, and how many there are.
    done, tiles
        Of its tiles.
    """

    slide: str
    number: int
    slides: int
    done: int
    tiles: int


@dataclass(frozen=True)
class CohortEnded:
    """What became of several slides.

    Attributes
    ----------
    slides
        How many there are.
    finished
        Those with a result, in their order.
    passed_over
        Those without one that did not fail, each with the reason: no tissue, another process.
    failed
        Those that failed, each with its problem and remedy.
    folder
        Where results lie.
    stopped
        Whether it was stopped before the last one.
    problem
        What kept all of them from being classified.
    """

    slides: int
    finished: tuple[str, ...]
    passed_over: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    folder: Path
    stopped: bool = False
    problem: str = ""

    @property
    def in_words(self) -> str:
        """What became of them, those that failed by name."""
        if self.problem:
            return self.problem
        how = "Stopped"
        if not self.stopped:
            how = "Done"
        parts = [f"{how}: {len(self.finished)} of {self.slides} slides are classified"]
        if self.failed:
            parts.append(f"{len(self.failed)} failed: {_listed(self.failed)}")
        if self.passed_over:
            parts.append(f"{len(self.passed_over)} passed over: {_listed(self.passed_over)}")
        return f"{'. '.join(parts)}. All results: {self.folder}"

    @property
    def failures(self) -> str:
        """What failed, in words; nothing where nothing did."""
        if self.problem or not self.failed:
            return self.problem
        return f"{len(self.failed)} of {self.slides} slides failed: {_listed(self.failed)}."


def _listed(slides: Sequence[tuple[str, str]]) -> str:
    said = [f"{name} ({reason.rstrip('.')})" for name, reason in slides[:NAMED]]
    if len(slides) > NAMED:
        said.append(f"and {len(slides) - NAMED} more")
    return "; ".join(said)


class CohortJob(Pausable):
    """Several slides, classified by one call that can be paused and stopped.

    Parameters
    ----------
    inputs
        Slides, and folders of slides.
    bundle, out, spec
        As `predict` takes them.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        bundle: Path,
        out: Path,
        spec: PredictSpec,
    ) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        self.bundle, self.out, self.spec = bundle, out, spec
        self._rate = Rate(time.monotonic)
        self._slides = 0
        self._planned: Planned | None = None
        self._finished: list[str] = []
        self._passed_over: list[tuple[str, str]] = []
        self._failed: list[tuple[str, str]] = []
        self._is_over = False

    def updates(self) -> Generator[CohortStep | Said | Silent | CohortEnded]:
        """Classify, and report it; the last update is `CohortEnded`, whatever went wrong."""
        problem = ""
        try:
            with closing(predict(self.inputs, self.bundle, self.out, self.spec)) as events:
                for event in events:
                    self._count(event)
                    yield from self._updates_of(event)
                    self.wait_while_held()
                    if self.is_to_stop:
                        break
        except SlidecamError as error:
            problem = str(error)
        # The boundary of a call in the viewer, as that of one slide's run.
        except Exception as error:  # noqa: BLE001  (its end is said)
            _LOG.exception("the run of several slides failed")
            problem = f"{type(error).__name__}: {error}. {UNFORESEEN}"
        yield CohortEnded(
            self._slides,
            tuple(self._finished),
            tuple(self._passed_over),
            tuple(self._failed),
            self.out,
            stopped=not self._is_over,
            problem=problem,
        )

    def _count(self, event: Event) -> None:
        if isinstance(event, Started):
            self._slides = event.slides
        elif isinstance(event, Planned):
            self._planned = event
        elif isinstance(event, SlideFailed):
            self._failed.append((event.slide, f"{event.problem} {event.remedy}".strip()))
        elif isinstance(event, SlideFinished) and event.status in {"done", "partly"}:
            self._finished.append(event.slide)
        elif isinstance(event, SlideFinished):
            self._passed_over.append((event.slide, event.reason or event.status))
        elif isinstance(event, Finished):
            self._is_over = True

    def _updates_of(self, event: Event) -> Iterator[CohortStep | Said | Silent]:
        planned = self._planned
        if isinstance(event, Warned) and not event.slide:
            # What is of one slide stands in its run.json and in the report.
            yield Said(event.message)
        elif isinstance(event, Waiting):
            yield Silent(event.message)
        elif isinstance(event, Planned):
            done = event.tiles - event.pending
            yield CohortStep(event.slide, event.number, event.slides, done, event.tiles)
        elif isinstance(event, BatchDone) and planned is not None and self._rate.is_due(EVERY):
            step = planned.slide, planned.number, planned.slides
            yield CohortStep(*step, event.done, event.total)
