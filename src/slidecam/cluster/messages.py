"""What travels between the process that gives out work and the workers that do it.

Plain values alone: paths, settings, counts and words. Pixels and maps stay where they are read and
computed; results go from the worker to the run's folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from slidecam.prediction.work import Timings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.events import Planned, TileFailed
    from slidecam.exchange.manifest import SlideReport
    from slidecam.prediction.boundary import Failure
    from slidecam.prediction.model import RunsBy
    from slidecam.runs.spec import PredictSpec
    from slidecam.sources.names import FoundSlide


MARK = ".cluster-"
"""How the names of files begin that say that a cluster is at work in a folder."""


@dataclass(frozen=True)
class Call:
    """One call of `predict`, as each of its tasks carries it.

    Attributes
    ----------
    key
        What tells it from other calls; a file of this name lies in ``out`` while it goes on.
    version
        Of slidecam, where the call was made.
    model, digest
        The bundle's absolute path, and its digest there.
    out
        The folder of all results, absolute.
    spec
        The settings.
    batch
        Tiles per batch, settled once for all workers; None before that.
    runs_by
        What runs the network, settled with it.
    """

    key: str
    version: str
    model: str
    digest: str
    out: Path
    spec: PredictSpec
    batch: int | None = None
    runs_by: RunsBy | None = None

    def spec_of(self, job: SlideJob) -> PredictSpec:
        """Return the settings with the rows of tables that are of one slide."""
        return replace(self.spec, spacings=job.spacings, shown=job.shown)

    @property
    def mark(self) -> Path:
        """The file that shows whether a worker sees the same folder."""
        return self.out / f"{MARK}{self.key}"


@dataclass(frozen=True)
class SlideJob:
    """One slide of a call, which of how many it is, and its rows of the call's tables."""

    slide: FoundSlide
    number: int
    slides: int
    spacings: Mapping[str, float]
    shown: Mapping[str, tuple[int, int]]

    @property
    def name(self) -> str:
        """The slide's name."""
        return self.slide.name


@dataclass(frozen=True)
class Refused:
    """What is wrong with a whole call, on a worker: its words, and whether the call was wrong."""

    problem: str
    remedy: str
    usage: bool


@dataclass(frozen=True)
class Settled:
    """What holds for all slides of a call.

    Tiles per batch, what runs the network, methods, what to know of it.
    """

    batch: int
    runs_by: RunsBy
    methods: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Lost:
    """A task that came to nothing.

    Attributes
    ----------
    failure
        As the slide's failure, if it is tried no more.
    worker
        Where it was tried.
    final
        Whether it is of no use to try it elsewhere: slidecam foresaw it, and it is of the slide.
    """

    failure: Failure
    worker: str
    final: bool


@dataclass(frozen=True)
class PartDone:
    """Some batches of a slide, classified and committed.

    Attributes
    ----------
    batches
        Their indices.
    failures
        Their tiles that failed.
    timings
        What they took.
    """

    batches: tuple[int, ...] = ()
    failures: tuple[TileFailed, ...] = ()
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True)
class SlidePlanned:
    """A slide that was opened and laid out.

    Attributes
    ----------
    event, warnings
        What the run says of it.
    parts
        The runs of batches that are still to be classified: first and last index plus one.
    timings
        What that took.
    done
        The only part, where it was so small that the same worker classified it at once.
    report
        What became of it, where nothing is left to do.
    """

    event: Planned
    warnings: tuple[str, ...]
    parts: tuple[tuple[int, int], ...]
    timings: Timings
    done: PartDone | None = None
    report: SlideReport | None = None


@dataclass(frozen=True)
class Unwritten:
    """Parts of a slide whose results are not all on disk, though their tasks had ended."""

    parts: tuple[tuple[int, int], ...]
