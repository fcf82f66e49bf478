"""The whole way on one page: slides in, events out, every slide's outputs in a folder of its own.

While one slide is on the device, the next one is opened and prefetched, and the last one's outputs
are written: the device waits for neither. Closing the generator stops cleanly; what is committed
stays and a later call resumes it.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.errors import RunExistsError, SlidecamError, UsageError
from slidecam.events import BatchDone, Event, Planned, SlideFailed, TileFailed, Warned
from slidecam.files import check_folder
from slidecam.inference import THRESHOLDED, classify
from slidecam.prediction.finishing import begin_slide, fail_slide, finish_slide
from slidecam.prediction.model import load_model
from slidecam.prediction.preparation import Prepared, prepare
from slidecam.prediction.timings import Timings
from slidecam.runlog import RunLog
from slidecam.runs.spec import EVERY_METHOD, PredictSpec
from slidecam.sources.discovery import find_slides
from slidecam.store import has_run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from slidecam.inference import ScoredBatch
    from slidecam.prediction.model import LoadedModel, WarmClassifiers
    from slidecam.prediction.preparation import OpenRun
    from slidecam.sources.discovery import Discovery, FoundSlide
    from slidecam.store import RunStore

SLIDE_ERRORS = (
    SlidecamError,
    OSError,
    ValueError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    MemoryError,
)
"""What ends one slide and not the run.

Our own errors, full disks, and what libraries raise for data they dislike.
"""

UNFORESEEN = "slidecam did not foresee this; please report it. Other slides are not touched by it."
NO_ROOM = (
    "Check that the output folder can be written and is not full, then repeat the call with"
    " --resume."
)

TILING_OPTIONS = ("overlap", "grid", "edge", "min_tissue", "mask")
"""What says how a slide is cut into tiles."""

VOLUME_OPTIONS = ("min_tissue", "mask")
"""What of it says which slices of a volume are classified."""

THREADS = ("ahead", "commit", "behind")
"""One thread prepares slides, one commits batches, one writes outputs.

The first prepares the next slide, the last writes the outputs of the slide before.
"""


def predict(
    inputs: str | Path | Sequence[str | Path],
    model: str | Path,
    out: str | Path,
    spec: PredictSpec | None = None,
    warm: WarmClassifiers | None = None,
) -> Generator[Event]:
    """Classify slides and write their outputs, telling each step as an event.

    Parameters
    ----------
    inputs
        Slides, URLs, or folders of slides.
    model
        A bundle's folder.
    out
        Where the outputs go: ``OUT/<file stem>/`` for each slide, ``manifest.json`` and
        ``report.html`` beside them.
    spec
        Everything else; see `PredictSpec`.
    warm
        Keeps the classifier on its device from one call to the next.

    Yields
    ------
    Event
        `Planned`, `BatchDone`, `TileFailed`, `Warned`, `SlideFinished`, `SlideFailed`, and
        `Finished` at the end.

    Raises
    ------
    UsageError
        If two inputs share a stem, or nothing was found, before anything is written.
    BundleError, DeviceError, ExplanationError
        If the model cannot be used as asked.
    RunExistsError
        If outputs lie there already and neither resume nor overwrite was said.

    Examples
    --------
    >>> for event in slidecam.predict("slide.svs", "bundle", "out"):
    ...     print(event)
    """
    if not str(out):
        raise UsageError(
            "the output folder is an empty text.", "Is a variable of your shell empty?"
        )
    spec, out = spec or PredictSpec(), Path(out)
    given = [inputs] if isinstance(inputs, str | Path) else inputs
    found = find_slides(given, keep_identifiers=spec.keep_identifiers)
    _refuse_unclear(found, out, spec)
    unused = _unused(spec, found)
    spec = _as_the_project_says(spec, found)
    loaded = load_model(model, spec, warm)
    log = RunLog(out, loaded.bundle, spec, found.slides)
    told = (*found.ignored, *_told_once(loaded, spec), *_without_effect(loaded, spec), *unused)
    for message in told:
        yield Warned("", message)
    with ExitStack() as cleanup:
        cleanup.callback(log.write)
        pools = [
            cleanup.enter_context(ThreadPoolExecutor(1, f"slidecam-{name}")) for name in THREADS
        ]
        yield from _Way(loaded, spec, log, *pools).through(found.slides)
    yield log.summary()


def _as_the_project_says(spec: PredictSpec, found: Discovery) -> PredictSpec:
    """Add what a QuPath project says of its images; what was said in the call wins."""
    spacings = {} if spec.mpp is not None else found.spacings
    shown = {name: (size.width, size.height) for name, size in found.shown.items()}
    return replace(spec, spacings={**spacings, **spec.spacings}, shown={**shown, **spec.shown})


def _refuse_unclear(found: Discovery, out: Path, spec: PredictSpec) -> None:
    check_folder(out)
    if spec.mask is not None and not spec.mask.exists():
        raise UsageError(f"--mask {spec.mask}: there is no such file.", "Check the path.")
    if spec.mask is not None and spec.mask.is_file() and len(found.slides) > 1:
        raise UsageError(
            f"--mask {spec.mask} is one file for {len(found.slides)} slides.",
            "Pass a folder with one <stem>.geojson or <stem>.png for each.",
        )
    begun = [slide.name for slide in found.slides if has_run(out / slide.name)]
    if begun and spec.existing == "refuse" and not spec.dry_run:
        raise RunExistsError(
            out,
            f"there is a run of {begun[0]} here already ({len(begun)} of {len(found.slides)}"
            " slides).",
            "Pass --resume to continue, --overwrite to begin anew, or another --out.",
        )


def _told_once(model: LoadedModel, spec: PredictSpec) -> Iterator[str]:
    card = model.bundle.card
    if model.request is not None or spec.heatmap is not None:
        return
    if not model.classifier.has_map:
        yield (
            f"No heatmap: {card.name} has no activation map (TorchScript, or a network that cannot"
            " be cut in two)."
        )
    else:
        yield (
            f"No heatmap: {card.name} has {len(card.class_names)} classes. Name those to map with"
            " --heatmap-class."
        )


def _without_effect(model: LoadedModel, spec: PredictSpec) -> Iterator[str]:
    """Tell which options have nothing to act upon.

    A slide to cut into tiles, a heatmap of that name.
    """
    plain = PredictSpec()
    given = [name for name in TILING_OPTIONS if getattr(spec, name) != getattr(plain, name)]
    if model.sees_pictures and given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        but = " but on volumes" if set(given) & set(VOLUME_OPTIONS) else ""
        yield f"{model.bundle.card.name} sees whole pictures: {options} without effect{but}."
    methods = () if model.request is None else model.request.methods
    idle = sorted(spec.heatmap_scale.keys() - {EVERY_METHOD, *methods})
    if idle:
        yield f"There is no heatmap by {', '.join(idle)}: --heatmap-scale without effect on it."
    threshold = (spec.heatmap_threshold, spec.heatmap_threshold_scope)
    if threshold != (
        plain.heatmap_threshold,
        plain.heatmap_threshold_scope,
    ) and not THRESHOLDED.keys() & set(methods):
        yield f"--heatmap-threshold without effect: it is of {', '.join(THRESHOLDED)} alone."


def _unused(spec: PredictSpec, found: Discovery) -> Iterator[str]:
    known = {name for slide in found.slides for name in (slide.name, Path(slide.path).name)}
    unused = sorted(set(spec.spacings) - known)
    if unused:
        yield (
            f"No slide is called {', '.join(unused)}: these rows of the spacing table were not"
            " used."
        )


@dataclass(frozen=True)
class _Way:
    """The way of all slides of one call, on three threads beside the device's."""

    model: LoadedModel
    spec: PredictSpec
    log: RunLog
    ahead: ThreadPoolExecutor
    commit: ThreadPoolExecutor
    behind: ThreadPoolExecutor

    def through(self, slides: Sequence[FoundSlide]) -> Iterator[Event]:
        """Take slide after slide: one is prepared ahead, one on the device, one being written."""
        finishing: deque[Future[Event]] = deque()
        with closing(_one_ahead(self.ahead, map(self._preparing, slides))) as prepared:
            for slide, ready in zip(slides, prepared, strict=True):
                if isinstance(ready, SlideFailed):
                    yield self.log.failed(ready)
                    continue
                timings = Timings()
                if (yield from self._classified(slide, ready, timings)):
                    finishing.append(self.behind.submit(self._finish, slide, ready, timings))
                while finishing and finishing[0].done():
                    yield finishing.popleft().result()
        while finishing:
            yield finishing.popleft().result()

    def _preparing(self, slide: FoundSlide) -> Callable[[], Prepared | SlideFailed]:
        def job() -> Prepared | SlideFailed:
            try:
                return prepare(slide.path, self.log.out / slide.name, self.model, self.spec)
            except SLIDE_ERRORS as error:
                return _failure(slide, error)

        return job

    def _classified(
        self, slide: FoundSlide, ready: Prepared, timings: Timings
    ) -> Generator[Event, None, bool]:
        """Classify one slide; return whether there is something to finish."""
        try:
            yield _planned(slide, ready)
            yield from (Warned(slide.name, message) for message in ready.warnings)
            if ready.run is not None:
                begin_slide(slide, ready, self.model, self.spec)
                yield from _scored(slide.name, ready.run, self.model, self.commit, timings)
                return True
        except SLIDE_ERRORS as error:
            yield self._given_up(slide, ready, error)
            return False
        except BaseException:
            ready.close()
            raise
        self.log.planned(slide)
        ready.close()
        return False

    def _finish(self, slide: FoundSlide, ready: Prepared, timings: Timings) -> Event:
        try:
            event: Event = self.log.finished(
                finish_slide(slide, ready, self.model, self.spec, timings)
            )
        except SLIDE_ERRORS as error:
            return self._given_up(slide, ready, error)
        ready.close()
        return event

    def _given_up(self, slide: FoundSlide, ready: Prepared, error: Exception) -> SlideFailed:
        failure = _failure(slide, error)
        fail_slide(ready.folder, failure)
        ready.close()
        return self.log.failed(failure)


def _failure(slide: FoundSlide, error: Exception) -> SlideFailed:
    if isinstance(error, SlidecamError):
        problem, remedy = error.problem, error.remedy
    elif isinstance(error, OSError):
        problem, remedy = f"{error}.", NO_ROOM
    else:
        problem, remedy = f"{type(error).__name__}: {error}.", UNFORESEEN
    return SlideFailed(slide.name, slide.shown, problem.replace(slide.path, slide.shown), remedy)


def _one_ahead(
    pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], Prepared | SlideFailed]]
) -> Generator[Prepared | SlideFailed]:
    """Yield each job's result while the next job is at work already.

    On closing, let go of what was not taken.
    """
    ahead: deque[Future[Prepared | SlideFailed]] = deque()
    try:
        for job in jobs:
            ahead.append(pool.submit(job))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for left in ahead:
            ready = left.result()
            if isinstance(ready, Prepared):
                ready.close()


def _scored(
    name: str, run: OpenRun, model: LoadedModel, pool: ThreadPoolExecutor, timings: Timings
) -> Iterator[Event]:
    """Classify the pending batches of one slide; each is told once it is on disk."""
    done = run.done
    with closing(classify(run.stream, model.classifier, model.request)) as batches:
        for scored in _committed(batches, run.store, pool, timings):
            done += len(scored.batch.rows)
            boxes = run.boxes[scored.batch.rows]
            for place, reason in scored.results.failures.items():
                x, y, width, height = (int(value) for value in boxes[place])
                yield TileFailed(name, (x, y, width, height), reason)
            planes = None if run.planes is None else run.planes[scored.batch.rows]
            yield BatchDone(
                name, done, len(run.store), boxes, scored.results.blanked().probabilities, planes
            )


def _committed(
    batches: Iterable[ScoredBatch], store: RunStore, pool: ThreadPoolExecutor, timings: Timings
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
        for _scored_batch, future in writing:
            future.result()


def _commit(store: RunStore, scored: ScoredBatch) -> float:
    start = time.perf_counter()
    store.commit(scored.batch.index, scored.results)
    return time.perf_counter() - start


def _landed(writing: deque[tuple[ScoredBatch, Future[float]]], timings: Timings) -> ScoredBatch:
    scored, future = writing.popleft()
    timings.write += future.result()
    return scored


def _planned(slide: FoundSlide, ready: Prepared) -> Planned:
    grid = ready.grid
    return Planned(
        slide=slide.name,
        path=slide.shown,
        tiles=len(grid),
        candidates=grid.candidates,
        pending=len(grid) - (ready.run.done if ready.run else 0),
        spacing=None if ready.spacing is None else ready.spacing.spacing.mean,
        spacing_from="" if ready.spacing is None else ready.spacing.origin,
        tile_px=grid.edge,
        level=grid.level.index,
        planes=ready.source.facts.planes,
    )
