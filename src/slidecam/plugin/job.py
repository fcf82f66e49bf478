"""A run as the viewer follows it.

The pipeline's own events, gathered a few times a second, paused and stopped.

It knows no Qt. The run lies in the same store as the command line's: stopping here and resuming
there, or the other way round, goes on where it was.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from threading import Event as Flag
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import SlidecamError
from slidecam.events import BatchDone, Planned, SlideFailed, SlideFinished, Waiting, Warned
from slidecam.explain.catalogue import method_for
from slidecam.heatmap import PaintSpec, paint
from slidecam.plugin.open_run import read_shown
from slidecam.plugin.overlays import is_volume_run, pyramid_of
from slidecam.plugin.pausing import PAUSE, Pausable
from slidecam.plugin.run_request import RunRequest, write_region
from slidecam.plugin.tasks import UNFORESEEN
from slidecam.prediction.pipeline import predict
from slidecam.store import RunStore, has_run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.events import Event
    from slidecam.plugin.open_run import ShownRun


_LOG = logging.getLogger(__name__)

MINUTE, HOUR = 60, 3600


class Rate:
    """A stopwatch for tiles.

    Parameters
    ----------
    clock
        Seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = self._last_due = clock()
        self._done_before = 0

    def start(self, done: int) -> None:
        """Count from now on; ``done`` tiles were there already."""
        self._began, self._done_before = self._clock(), done

    def is_due(self, every: float) -> bool:
        """Whether ``every`` seconds have passed since this was last so."""
        now = self._clock()
        if now - self._last_due < every:
            return False
        self._last_due = now
        return True

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Leave the time out that passes meanwhile."""
        start = self._clock()
        try:
            yield
        finally:
            self._began += self._clock() - start

    def at(self, done: int, total: int) -> tuple[float, float]:
        """Return tiles per second, and seconds until ``total`` (infinite if none is done yet)."""
        per_second = (done - self._done_before) / max(self._clock() - self._began, 1e-6)
        return per_second, (total - done) / per_second if per_second > 0 else float("inf")


def duration(seconds: float) -> str:
    """Return seconds as a person says them: ``42 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds == float("inf"):
        return "unknown"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"


EVERY = 0.2
"""Seconds between two updates: nobody sees faster ones, and the viewer has other things to do."""

HEAT_EVERY = 2.0
"""Seconds before a heatmap is first painted while the run goes on."""

HEAT_SHARE = 20
"""A heatmap is painted again after so many times the seconds that it took.

Painting may cost a twentieth.
"""

HEAT_PIXELS = 40_000_000
"""Raster pixels of all classes up to which a heatmap is painted before the run is over."""


@dataclass(frozen=True, eq=False)
class Began:
    """The tiles are laid; ``run`` holds those done by an earlier call, ``pending`` are left."""

    run: ShownRun
    pending: int


@dataclass(frozen=True, eq=False)
class NewTiles:
    """Tiles were classified.

    Boxes (n, 4) and probabilities (n, classes), ``done`` of ``total`` by now.
    """

    boxes: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    done: int
    total: int
    per_second: float
    seconds_left: float


@dataclass(frozen=True, eq=False)
class Heat:
    """The first method's heat so far: each class's pyramid, and level-0 pixels per raster pixel."""

    levels: tuple[list[NDArray[np.float32]], ...]
    class_names: tuple[str, ...]
    pitch: int
    method: str


@dataclass(frozen=True)
class Writing:
    """All tiles are classified.

    What is left is painting and writing, which cannot be paused or stopped.
    """


@dataclass(frozen=True)
class Said:
    """Something that the user should read."""

    message: str


@dataclass(frozen=True)
class Silent:
    """Nothing was heard of the slide for a while, in words."""

    message: str


@dataclass(frozen=True, eq=False)
class Ended:
    """The run is over or was stopped.

    ``run`` is what there is of it, ``problem`` what kept it from being done.

    A volume's run is named by its folder, ``volume``, and has no tiles that could be laid on a
    slide.
    """

    run: ShownRun | None
    stopped: bool = False
    problem: str = ""
    volume: Path | None = None


Update = Began | NewTiles | Heat | Writing | Said | Silent | Ended


class RunJob(Pausable):
    """One run that can be paused and stopped from another thread.

    Parameters
    ----------
    request
        What to run.
    clock
        Seconds; tests bring their own.
    awaits
        Whether tiles are passed on only once `shown` was called for those before: where drawing is
        slow (no graphics card), it must not take all of the processor from the classifier. For the
        first overlays the classifier waits, or it might be done before anybody sees a tile, and
        could press *Pause*.
    """

    def __init__(
        self,
        request: RunRequest,
        clock: Callable[[], float] = time.monotonic,
        *,
        awaits: bool = False,
    ) -> None:
        super().__init__()
        self.request = request
        self._awaits, self._shown = awaits, Flag()
        self._shown.set()
        self._clock = clock
        self._gathered: list[BatchDone] = []
        self._begun: ShownRun | None = None
        self._rate = Rate(clock)
        self._heat_due = clock() + HEAT_EVERY

    def shown(self) -> None:
        """Tell that the last tiles are on the screen."""
        self._shown.set()

    def updates(self) -> Generator[Update]:
        """Run, and report it; the last update is `Ended`, whatever went wrong on the way.

        Raises
        ------
        SlidecamError
            If the bundle, the region or the folder cannot be used.
        """
        try:
            yield from self._follow()
        except SlidecamError:
            raise
        # The boundary of a run in the viewer: what zarr, SciPy or a reader throws while a region is
        # written or a heatmap is previewed ends this run in words, not its thread without any.
        except Exception as error:  # noqa: BLE001  (the boundary of a run: its end is said)
            _LOG.exception("the run of %s failed", self.request.slide)
            yield Ended(None, problem=f"{type(error).__name__}: {error}. {UNFORESEEN}")

    def _follow(self) -> Iterator[Update]:
        request = self.request
        spec = request.spec
        if request.region is not None:
            mask = write_region(request, request.region)
            spec = replace(spec, mask=mask)
        outcome: SlideFinished | SlideFailed | None = None
        with closing(predict(request.slide, request.bundle, request.out, spec)) as events:
            for event in events:
                if isinstance(event, SlideFinished | SlideFailed):
                    outcome = event
                yield from self._updates_of(event)
                yield from self._pausing()
                if self.is_to_stop:
                    break
        yield from self._flush()
        yield self._ended(outcome)

    def _updates_of(self, event: Event) -> Iterator[Update]:
        if isinstance(event, Warned):
            yield Said(event.message)
        elif isinstance(event, Waiting):
            yield Silent(event.message)
        elif isinstance(event, Planned):
            self._rate.start(event.tiles - event.pending)
        elif isinstance(event, BatchDone):
            yield from self._gather(event)

    def _gather(self, event: BatchDone) -> Iterator[Update]:
        if self._begun is None and event.planes is None:
            # run.json is there from the first batch on.
            self._begun = read_shown(self.request.folder)
            if self._awaits:
                self._shown.clear()
            yield Began(self._begun, event.total - event.done)
            self._await_overlays()
        self._gathered.append(event)
        if event.done == event.total:
            yield from self._flush()
            yield Writing()
            return
        if not self._shown.is_set():
            return
        if self._rate.is_due(EVERY):
            yield from self._flush()
        if self._clock() >= self._heat_due:
            yield from self._heat()

    def _await_overlays(self) -> None:
        with self._rate.standing():
            while not self._shown.wait(PAUSE) and not self.is_to_stop:
                pass

    def _flush(self) -> Iterator[Update]:
        """Tell what was gathered."""
        if not self._gathered:
            return
        last = self._gathered[-1]
        per_second, left = self._rate.at(last.done, last.total)
        boxes = np.concatenate([event.boxes for event in self._gathered])
        probabilities = np.concatenate([event.probabilities for event in self._gathered])
        self._gathered.clear()
        if self._awaits:
            self._shown.clear()
        yield NewTiles(boxes, probabilities, last.done, last.total, per_second, left)

    def _heat(self) -> Iterator[Update]:
        start = self._clock()
        painted = None
        if self._begun is not None:
            painted = preview(self._begun)
        self._heat_due = self._clock() + max(HEAT_EVERY, HEAT_SHARE * (self._clock() - start))
        if painted is not None:
            yield painted

    def _pausing(self) -> Iterator[Update]:
        if not self.is_held:
            return
        yield from self._flush()
        with self._rate.standing():
            self.wait_while_held()

    def _ended(self, outcome: SlideFinished | SlideFailed | None) -> Ended:
        if isinstance(outcome, SlideFailed):
            return Ended(None, problem=f"{outcome.problem} {outcome.remedy}".strip())
        problem = outcome.reason if isinstance(outcome, SlideFinished) else ""
        if is_volume_run(self.request.folder):
            return Ended(
                None,
                stopped=outcome is None,
                problem=problem,
                volume=self.request.folder,
            )
        run = None
        if has_run(self.request.folder):
            run = read_shown(self.request.folder)
        return Ended(run, stopped=outcome is None, problem=problem)


def preview(run: ShownRun) -> Heat | None:
    """Paint the first method's heatmap of a run that is not over.

    None where it has none, or it is too large.
    """
    methods, names = run.stored.map_methods, run.stored.map_classes
    if not methods:
        return None
    classes = tuple(run.table.class_names.index(name) for name in names)
    signed = method_for(methods[0]).signed
    known = run.table.classes
    spec = PaintSpec(0, classes, known.activation, known.thresholds, signed=signed)
    heatmap = paint(RunStore.open(run.folder), run.size, spec)
    if (
        heatmap is None
        or heatmap.raster.size.width * heatmap.raster.size.height * len(names) > HEAT_PIXELS
    ):
        return None
    finest = np.concatenate(list(heatmap.bands()), axis=1)
    return Heat(
        tuple(pyramid_of(each) for each in finest),
        names,
        heatmap.raster.pitch,
        methods[0],
    )
