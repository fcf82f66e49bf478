"""What a worker does, and what it keeps from one task to the next.

A worker holds one classifier for each bundle, by its digest, on its device, and the slides that it
works on, open. Two tasks of one worker take turns at the classifier: while one is on the device,
the other one's pixels are decoded.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from distributed import Worker, WorkerPlugin, get_worker

from slidecam.cluster.messages import (
    Lost,
    PartDone,
    Refused,
    Settled,
    SlidePlanned,
    Unwritten,
)
from slidecam.errors import SlidecamError, UsageError
from slidecam.events import BatchDone, TileFailed
from slidecam.prediction.boundary import failure_of, slide_boundary
from slidecam.prediction.checks import notes_of
from slidecam.prediction.lanes import TimeLimit
from slidecam.prediction.model import RunsBy, WarmClassifiers, load_model
from slidecam.prediction.outputs import begin_slide, finish_slide
from slidecam.prediction.pipeline import planned
from slidecam.prediction.preparation import open_run, prepare
from slidecam.prediction.scoring import score
from slidecam.prediction.work import Timings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from slidecam.cluster.messages import Call, SlideJob
    from slidecam.events import Planned
    from slidecam.exchange.manifest import SlideReport
    from slidecam.prediction.model import LoadedModel
    from slidecam.prediction.work import OpenRun, SlideWork
    from slidecam.runs.spec import PredictSpec
    from slidecam.sources.names import Discovery

PLUGIN = "slidecam"

KEPT_OPEN = 3
"""Slides that a worker keeps open though no task is at work on them."""

Part = tuple[int, int]
"""Some batches of a slide: the first one's index, and the last one's plus one."""

Ended = TypeVar("Ended")


class Resident(WorkerPlugin):
    """Gives each worker of a cluster its `Residence`, once."""

    name = PLUGIN
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Begin with nothing loaded."""
        self.residence = Residence(worker.address)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002  (dask's signature)
        """Let every file go."""
        self.residence.close()


@dataclass
class _Held:
    """A slide that is open here, and how many tasks are at work on it."""

    guard: Lock = field(default_factory=Lock)
    work: SlideWork | None = None
    users: int = 0


class Residence:
    """What one worker keeps: ``device`` is held by the task whose batches are on the device."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.device = Lock()
        self._warm = WarmClassifiers()
        self._guard = Lock()
        self._models: dict[str, LoadedModel] = {}
        self._slides: OrderedDict[tuple[str, str], _Held] = OrderedDict()
        self._busy: Counter[str] = Counter()

    def model(self, call: Call) -> LoadedModel:
        """Return the classifier of a call, loaded at the first task of it.

        Raises
        ------
        UsageError
            If this worker has another slidecam, another bundle under this path, or another folder,
            or runs the network otherwise than was settled.
        BundleError, DeviceError, ExplanationError
            If the classifier cannot be used here as the settings say.
        """
        with self._guard:
            if call.key not in self._models:
                refuse_other(call, self.address)
                loaded = load_model(call.model, call.spec, self._warm, call.runs_by)
                if loaded.bundle.digest != call.digest:
                    raise UsageError(
                        f"The worker {self.address} has another bundle at {call.model}.",
                        "Copy the bundle to where all workers see it.",
                    )
                self._models[call.key] = loaded
            model = self._models[call.key]
        if call.batch is None:
            return model
        return replace(model, batch_size=call.batch)

    @contextmanager
    def at_work(self, call: Call) -> Iterator[None]:
        """Count a task of a call for as long as it takes."""
        self._count(call.key, 1)
        try:
            yield
        finally:
            self._count(call.key, -1)

    def _count(self, key: str, change: int) -> None:
        with self._guard:
            self._busy[key] += change

    def is_busy(self, key: str) -> bool:
        """Whether a task of a call is still at work here."""
        return self._busy[key] > 0

    @contextmanager
    def slide(self, call: Call, job: SlideJob) -> Iterator[SlideWork]:
        """Open a slide and lay its grid, or give what is open already; its ``run`` is None."""
        key = call.key, job.name
        with self._guard:
            held = self._slides.setdefault(key, _Held())
            self._slides.move_to_end(key)
            held.users += 1
        try:
            with held.guard:
                if held.work is None:
                    held.work = self._opened(call, job)
            yield held.work
        finally:
            with self._guard:
                held.users -= 1
                self._close_idle(KEPT_OPEN)

    def _opened(self, call: Call, job: SlideJob) -> SlideWork:
        spec = call.spec_of(job)
        laid = replace(spec, dry_run=True)
        work = prepare(job.slide, call.out / job.name, self.model(call), laid)
        # Whoever comes after the first finds a run, and goes on with it.
        return replace(work, spec=replace(spec, existing="resume"))

    def _close_idle(self, kept: int) -> None:
        idle = [key for key, held in self._slides.items() if not held.users]
        for key in idle[: max(0, len(idle) - kept)]:
            held = self._slides.pop(key)
            if held.work is not None:
                with suppress(Exception):
                    held.work.source.let_go()

    def forget(self, key: str) -> None:
        """Close the slides of a call that is over; its classifier stays, by its digest."""
        with self._guard:
            self._models.pop(key, None)
            self._busy.pop(key, None)
        self.close()

    def close(self) -> None:
        """Close every slide that no task is at work on."""
        with self._guard:
            self._close_idle(0)


def refuse_other(call: Call, address: str) -> None:
    """Refuse a worker that has another slidecam or does not see the call's folders, by its name.

    UsageError.
    """
    here = version("slidecam")
    if here != call.version:
        raise UsageError(
            f"The worker {address} has slidecam {here}, and the call was made by {call.version}.",
            "Install one version on all machines.",
        )
    if not call.mark.exists():
        raise UsageError(
            f"The worker {address} does not see the output folder {call.out}.",
            "Pass an --out on a drive that all machines see under this path.",
        )
    if "://" not in call.model and not Path(call.model).exists():
        raise UsageError(
            f"The worker {address} does not see the bundle {call.model}.",
            "Copy it to a drive that all machines see under this path.",
        )


def residence() -> Residence:
    """Return what the worker keeps whose task this is."""
    plugin = get_worker().plugins[PLUGIN]
    assert isinstance(plugin, Resident)  # noqa: S101  (for the type checker: the name is ours)
    return plugin.residence


def settle(call: Call, found: Discovery) -> Settled | Refused:
    """Load the classifier, and return what holds for all slides of a call."""
    try:
        model = residence().model(call)
    except SlidecamError as error:
        return Refused(error.problem, error.remedy, error.usage)
    notes = tuple(notes_of(found, model, call.spec))
    return Settled(model.batch_size, RunsBy.of(model.classifier), model.methods, notes)


def plan_slide(call: Call, job: SlideJob) -> SlidePlanned | Lost:
    """Open a slide, lay its grid and begin its run; do a small one at once."""

    def stage(here: Residence) -> SlidePlanned:
        timings = Timings()
        with timings.at_work(), here.slide(call, job) as work:
            timings.prepare = work.timings.prepare
            if call.spec.dry_run:
                return SlidePlanned(_event(job, work), work.warnings, (), timings)
            begun = replace(work, spec=_first_spec(call, job))
            run = open_run(begun, None, range(0))
            begun = replace(begun, run=run)
            begin_slide(job.slide, begun)
            event, parts = _event(job, begun), parts_of(run, run.store.pending_batches())
            if run.complete:
                report = finish_slide(job.slide, begun)
                return SlidePlanned(event, begun.warnings, (), timings, report=report)
        plan = SlidePlanned(event, begun.warnings, parts, timings)
        if len(parts) > 1:
            return plan
        done = PartDone()
        for part in parts:
            done = _classified(here, call, job, part)
        timings.include(done.timings)
        ended = _finished(here, call, job, timings)
        if isinstance(ended, Unwritten):
            return replace(plan, parts=ended.parts)
        return replace(plan, parts=(), done=done, report=ended)

    return _bounded(call, job, stage, foreseen_is_final=True)


def _first_spec(call: Call, job: SlideJob) -> PredictSpec:
    """Return the settings that a slide is begun with."""
    # Where runs are refused, the call looked before it gave out work, and holds the slide's lock: a
    # run that lies there was begun by this very task, on a worker that is gone.
    spec = call.spec_of(job)
    if spec.existing == "refuse":
        return replace(spec, existing="resume")
    return spec


def classify_part(call: Call, job: SlideJob, part: Part) -> PartDone | Lost:
    """Classify some batches of a slide and commit each; what is committed already is left."""

    def stage(here: Residence) -> PartDone:
        return _classified(here, call, job, part)

    return _bounded(call, job, stage)


def finish(call: Call, job: SlideJob, timings: Timings) -> SlideReport | Unwritten | Lost:
    """Write a slide's outputs from its store, if all of its batches are there."""

    def stage(here: Residence) -> SlideReport | Unwritten:
        return _finished(here, call, job, timings)

    return _bounded(call, job, stage, foreseen_is_final=True)


def parts_of(run: OpenRun, batches: Sequence[int]) -> tuple[Part, ...]:
    """Return batches in runs whose files no other run's batches lie in."""
    size = run.store.batches_per_part
    parts: dict[Part, None] = {}
    for batch in batches:
        start = batch // size * size
        parts[start, start + size] = None
    return tuple(parts)


def _bounded(
    call: Call,
    job: SlideJob,
    stage: Callable[[Residence], Ended],
    *,
    foreseen_is_final: bool = False,
) -> Ended | Lost:
    """Do one stage of a slide; whatever goes wrong with it is the slide's, and returned."""
    here = residence()
    try:
        _refuse_here(here, call, job)
    except SlidecamError as error:
        return Lost(failure_of(job.slide, error), here.address, final=False)
    with here.at_work(call), slide_boundary(job.slide) as outcome:
        return stage(here)
    failure = outcome.lost()
    return Lost(failure, here.address, final=foreseen_is_final and not failure.traceback)


def _refuse_here(here: Residence, call: Call, job: SlideJob) -> None:
    """Refuse what this worker cannot do and another one may, one that came late to the call too.

    UsageError, BundleError, DeviceError, ExplanationError.
    """
    refuse_other(call, here.address)
    here.model(call)
    path = job.slide.path
    if "://" not in path and not Path(path).exists():
        raise UsageError(
            f"The worker {here.address} does not see the slide.",
            "Put it on a drive that all machines see under this path.",
            path,
        )


def _classified(here: Residence, call: Call, job: SlideJob, part: Part) -> PartDone:
    timings = Timings()
    failures: list[TileFailed] = []
    batches: list[int] = []
    stopped = _stop_sign(call)
    # Each of its reads is limited; how long a slide takes in all, no worker knows.
    limit = TimeLimit(job.name, job.slide.shown, None)
    with here.slide(call, job) as work:
        run = open_run(work, None, range(*part))
        wanted = list(filter(range(*part).__contains__, run.store.pending_batches()))
        with (
            closing(run.stream),
            here.device,
            timings.at_work(),
            ThreadPoolExecutor(1, "slidecam-commit") as commit,
            closing(score(limit, run, work.model, commit, timings)) as scored,
        ):
            for event in scored:
                if isinstance(event, TileFailed):
                    failures.append(event)
                elif isinstance(event, BatchDone):
                    batches.append(wanted[len(batches)])
                if stopped():
                    break
    return PartDone(tuple(batches), tuple(failures), timings)


def _finished(
    here: Residence,
    call: Call,
    job: SlideJob,
    timings: Timings,
) -> SlideReport | Unwritten:
    with here.slide(call, job) as work:
        run = open_run(work, None, range(0))
        left = run.store.uncommitted_batches()
        if left:
            return Unwritten(parts_of(run, left))
        with timings.at_work():
            return finish_slide(job.slide, replace(work, run=run, timings=timings))


def _event(job: SlideJob, work: SlideWork) -> Planned:
    return planned(job.slide, work, (job.number, job.slides))


def _stop_sign(call: Call) -> Callable[[], bool]:
    """Return what says whether the task at work is wanted no more.

    Its client has let it go, or has ended and another call has removed its mark.
    """
    worker = get_worker()
    key = worker.get_current_task()

    def stopped() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled" or not call.mark.exists()

    return stopped
