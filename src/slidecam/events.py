"""What a run says: frozen nouns that each door turns into its own kind of progress."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Started:
    """A call was understood, its slides were found and its classifier is loaded: its first event.

    Attributes
    ----------
    slidecam
        Its version.
    out
        The output folder.
    bundle, bundle_digest
        Name and digest of the classifier.
    command
        What the call was set to, where that is not the default; without what is of single slides.
    slides, found
        Slides of this call, and how many were found: more where the call is a shard.
    """

    slidecam: str
    out: str
    bundle: str
    bundle_digest: str
    command: Mapping[str, Any]
    slides: int
    found: int


@dataclass(frozen=True)
class Planned:
    """A slide was opened and its tiles were laid.

    Attributes
    ----------
    slide
        The name of the slide, which is the name of its output folder.
    path
        Where the slide lies.
    tiles, candidates
        Tiles to classify, and places of the grid before background was dropped.
    pending
        Tiles that are not done yet; fewer than ``tiles`` when a run is resumed.
    spacing, spacing_from
        µm per level-0 pixel and where that was learnt; None and nothing for a picture of which
        nobody knows.
    tile_px, level
        Edge of a tile in level-0 pixels, and the pyramid level it is read from.
    planes
        How many planes a volume has along the chosen axis; 1 for a slide.
    readings
        What was chosen of the file, as sentences: see `slidecam.sources.SourceFacts`.
    number, slides
        Which slide of the call it is, from 1, and how many the call has.
    """

    slide: str
    path: str
    tiles: int
    candidates: int
    pending: int
    spacing: float | None
    spacing_from: str
    tile_px: int
    level: int
    planes: int = 1
    readings: tuple[str, ...] = ()
    number: int = 1
    slides: int = 1


@dataclass(frozen=True)
class BatchDone:
    """One batch is classified and committed.

    Attributes
    ----------
    slide
        The slide's name.
    done, total
        Tiles with a result so far, failed ones among them, of all tiles of the slide.
    boxes
        int64, (batch, 4): level-0 boxes of this batch.
    probabilities
        float32, (batch, classes); NaN in failed rows.
    planes
        int64, (batch,): the plane of a volume that each tile is on; None on a slide, which is one
        plane.
    """

    slide: str
    done: int
    total: int
    boxes: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    planes: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class TileFailed:
    """One tile could not be read; the rest of the slide goes on.

    ``box`` is x, y, width, height at level 0.
    """

    slide: str
    box: tuple[int, int, int, int]
    reason: str


@dataclass(frozen=True)
class Warned:
    """Something a person should know; ``slide`` is empty where it concerns the whole run."""

    slide: str
    message: str


@dataclass(frozen=True)
class Waiting:
    """Nothing was heard of a slide for a while: its file or share is slow, or does not answer.

    Attributes
    ----------
    slide
        Which.
    stage
        What is done with it: ``opened``, ``classified`` or ``written``.
    seconds
        How long it has been silent.
    """

    slide: str
    stage: str
    seconds: float

    @property
    def message(self) -> str:
        """It as a sentence, with what helps."""
        return (
            f"Nothing for {self.seconds:.0f} s while it is {self.stage}. --slide-timeout gives a"
            " slide up that takes too long."
        )


@dataclass(frozen=True)
class SlideFinished:
    """A slide's outputs lie in ``folder``.

    ``status`` is ``done``, ``partly`` (some tiles failed), ``skipped`` (nothing to classify:
    ``reason`` says why) or ``claimed`` (another process is at work on the slide).
    """

    slide: str
    folder: str
    status: str
    tiles: int
    failed: int
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class SlideFailed:
    """A slide gave nothing; the run goes on with the next one."""

    slide: str
    path: str
    problem: str
    remedy: str


@dataclass(frozen=True)
class Finished:
    """The run is over. ``exit_code`` is 0 all done, 1 nothing done, 3 partly done.

    Attributes
    ----------
    manifest, report
        Where they lie; empty where none was written.
    slides, failed
        Slides that came to an end, and those of them that failed.
    exit_code
        As above.
    heatmaps
        Sentences on what its heatmaps show.
    counts
        All slides of the call by what became of them: ``done``, ``partly``, ``skipped``,
        ``claimed``, ``failed``, ``unfinished``; those that there are.
    tiles
        Tiles of the slides that came to an end with a result.
    """

    manifest: str
    report: str
    slides: int
    failed: int
    exit_code: int
    heatmaps: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    tiles: int = 0


Event = (
    Started
    | Planned
    | BatchDone
    | TileFailed
    | Warned
    | Waiting
    | SlideFinished
    | SlideFailed
    | Finished
)


COUNTS = ("slide", "done", "total")
"""What of a batch is printed: its numbers lie in the store."""


@dataclass(frozen=True)
class Error:
    """A call was refused or broke: its last line in JSON, and no event of its run.

    Attributes
    ----------
    error
        The kind of error, one of `slidecam.errors` or Python's.
    problem, remedy
        What is wrong, and what to do about it.
    traceback
        Where it happened; absent where slidecam foresaw it, whose words say all.
    """

    error: str
    problem: str
    remedy: str
    traceback: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stopped:
    """A call was stopped by Ctrl-C: its last line in JSON, and no event of its run.

    ``state`` says what is left, ``remedy`` how to go on.
    """

    state: str
    remedy: str


def as_json(event: Event | Error | Stopped) -> dict[str, Any]:
    """Return an event, or a call's last line, as plain JSON values.

    Of a batch the counts alone: its numbers lie in the store.
    """
    named: dict[str, Any] = {"event": type(event).__name__}
    if isinstance(event, BatchDone):
        return named | dict(zip(COUNTS, attrgetter(*COUNTS)(event), strict=True))
    record = named | asdict(event)
    if isinstance(event, Error) and not event.traceback:
        del record["traceback"]
    return record
