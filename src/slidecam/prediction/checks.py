"""What is refused before the first slide, and what a person should know once for all slides.

Also where a slide may fail without the others.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from traceback import TracebackException
from typing import TYPE_CHECKING

from slidecam.errors import RunExistsError, SlidecamError, UsageError
from slidecam.events import SlideFailed
from slidecam.exchange.manifest import read_manifest
from slidecam.explain.catalogue import slide_methods
from slidecam.files import check_folder, refuse_inputs
from slidecam.foreground import DRAWN_MASKS, VOLUME_MASKS, mask_called
from slidecam.models.stain import sight_notes
from slidecam.objects import as_given, said
from slidecam.options import EVERY_METHOD, option_of
from slidecam.runlog import MANIFEST, error_words
from slidecam.runs.outputs import check_packages
from slidecam.runs.record import write_failure
from slidecam.runs.record_parts import RecordedOutcome
from slidecam.runs.spec import PredictSpec
from slidecam.sources.discovery import find_slides
from slidecam.sources.names import FindSpec, Shard, refuse_shared_names
from slidecam.sources.slide_list import SlideList, read_slide_list
from slidecam.sources.spacing import given_spacing
from slidecam.store import RUN_FILE, has_run, lock_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slidecam.models import Card
    from slidecam.prediction.model import LoadedModel
    from slidecam.prediction.work import SlideWork
    from slidecam.sources.names import Discovery, FoundSlide
    from slidecam.store import Mirror, Outlet

TILING_OPTIONS = ("overlap", "grid", "edge", "min_tissue", "mask")
"""What says how a slide is cut into tiles."""

LISTED = 5
"""Rows of a table that are named in the message on what was not used."""

VOLUME_OPTIONS = ("min_tissue", "mask")
"""What of it says which slices of a volume are classified."""


def folder_named(out: str | Path) -> str:
    """Return the folder or URL that a call's outputs go to; UsageError where its name is empty."""
    if not str(out):
        raise UsageError(
            "The output folder is an empty text.",
            "Is a variable of your shell empty?",
        )
    return as_given(out)


def listed(inputs: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """Return a call's inputs as a list, where one alone was given too."""
    return [inputs] if isinstance(inputs, str | Path) else inputs


def found_and_settled(
    places: Sequence[str | Path],
    outlet: Outlet,
    spec: PredictSpec,
) -> tuple[Discovery, PredictSpec]:
    """Return a call's slides and its settings as their project has them.

    What can be refused without a model is refused here, before anything is written.

    Raises
    ------
    UsageError
        If nothing was found, two slides share a name, or ``outlet`` is no place for outputs.
    RunExistsError
        If outputs lie there already and neither resume nor overwrite was said.
    StoreError
        If the output folder's ``manifest.json`` is none of ours, or damaged.
    """
    rows = SlideList()
    if spec.table is not None:
        rows = read_slide_list(spec.table)
    places = [*places, *(row.path for row in rows.rows)]
    where = FindSpec.of(spec, rows.names)
    found = find_slides(places, where, keep_identifiers=spec.keep_identifiers)
    found = rows.on(found)
    spec = replace(spec, spacings={**spec.spacings, **rows.spacings(found)})
    outlet.look([slide.name for slide in spec.share_of(found.slides)], (MANIFEST,))
    refuse_unclear(found, outlet, spec)
    # What cannot be read for a moment may be written later; and if not, no slide fails by it.
    with suppress(OSError):
        read_manifest(outlet.folder / MANIFEST)
    return found, with_project(spec, found)


def with_project(spec: PredictSpec, found: Discovery) -> PredictSpec:
    """Add what a QuPath project says of its images; what was said in the call wins."""
    shown = {name: (size.width, size.height) for name, size in found.shown.items()}
    spec = replace(spec, shown={**shown, **spec.shown})
    if spec.mpp is not None:
        return spec
    rows = set(spec.spacings)
    spacings = dict(spec.spacings)
    for slide in found.slides:
        if slide.name in found.spacings and rows.isdisjoint(slide.row_names):
            spacings[slide.name] = found.spacings[slide.name]
    return replace(spec, spacings=spacings)


def refuse_unclear(found: Discovery, outlet: Outlet, spec: PredictSpec) -> None:
    """Refuse a call that contradicts itself, before anything is written.

    Raises
    ------
    UsageError
        If the output folder cannot be written or is (part of) a slide, two spacings are given for
        one slide, the mask is not there or is one for many slides,
        a mask or row is called after several slides, or an output needs a package that is not
        installed.
    RunExistsError
        If outputs lie there already and neither resume nor overwrite was said.
    """
    out = outlet.folder
    check_folder(out)
    _refuse_inputs(found, out, spec.mask)
    check_packages(spec.outputs)
    for slide in found.slides:
        given_spacing(slide.row_names, None, spec.spacings)
    if spec.mask is not None and not spec.mask.exists():
        raise UsageError(f"There is no file for --mask: {spec.mask}.", "Check the path.")
    if spec.mask is not None and spec.mask.is_file() and len(found.slides) > 1:
        raise UsageError(
            f"One file cannot be the --mask of {len(found.slides)} slides: {spec.mask}.",
            "Pass a folder with one <stem>.geojson or <stem>.png for each.",
        )
    _refuse_unclear_names(found, spec)
    ours = spec.share_of(found.slides)
    begun = [slide.name for slide in ours if _is_begun(out / slide.name)]
    if begun and spec.existing == "refuse" and not spec.dry_run:
        raise RunExistsError(
            outlet.shown,
            f"There is a run of {begun[0]} here already ({len(begun)} of {len(ours)} slides).",
            "Pass --resume to continue, --overwrite to begin anew, or another --out.",
        )


def _refuse_inputs(found: Discovery, out: Path, mask: Path | None) -> None:
    """Refuse an output folder that is (part of) what is read, or holds files of somebody else."""
    inputs: list[str | Path] = []
    for slide in found.slides:
        inputs += [*slide.own_places, *filter(None, (slide.mask,))]
    if mask is not None:
        inputs.append(mask)
    refuse_inputs([out], inputs)
    refuse_inputs([out / slide.name for slide in found.slides], inputs, whole=True)
    for slide in found.slides:
        folder = out / slide.name
        if folder.is_dir() and not _is_begun(folder) and _holds_files(folder):
            raise UsageError(
                f"The outputs of {slide.name} would go among files that are not slidecam's, and may"
                f" be a slide's own: {said(folder)}.",
                "Pass another --out.",
            )


def _holds_files(folder: Path) -> bool:
    return any(
        not entry.name.startswith(".") and entry.name != RUN_FILE for entry in folder.iterdir()
    )


def _refuse_unclear_names(found: Discovery, spec: PredictSpec) -> None:
    """Refuse masks and rows of tables that are called after several slides."""
    mask = spec.mask
    suffixes = (*DRAWN_MASKS, *VOLUME_MASKS)
    if mask is not None and mask.is_dir():
        refuse_shared_names(
            found,
            lambda name: mask_called(mask, name, suffixes) is not None,
            "The mask",
        )
    refuse_shared_names(found, spec.spacings.__contains__, "The row of the spacing table")


def _is_begun(folder: Path) -> bool:
    try:
        return has_run(folder)
    except Exception:  # noqa: BLE001  (one slide's folder: it fails that slide, when it is prepared)
        return False


def notes_of(found: Discovery, model: LoadedModel, spec: PredictSpec) -> Iterator[str]:
    """Yield what a person should know of the whole run, as sentences."""
    yield from found.ignored
    if spec.shard is not None:
        found_here = len(found.slides)
        yield Shard.parse(spec.shard).words(len(spec.share_of(found.slides)), found_here)
    yield from model.classifier.notes
    yield from sight_notes(model.bundle.card.channels, model.bundle.card.stain)
    yield from _no_heatmap(model, spec)
    yield from _without_effect(model, spec)
    yield from _unused(spec, found)


def _no_heatmap(model: LoadedModel, spec: PredictSpec) -> Iterator[str]:
    card = model.bundle.card
    if model.request is not None or spec.heatmap is not None:
        return
    if not model.classifier.has_map:
        yield (f"No heatmap: {card.name} has no activation map, as {model.classifier.no_map}.")
    else:
        yield (
            f"No heatmap: {card.name} has {len(card.class_names)} classes. Name those to map with"
            " --heatmap-class."
        )


def _without_effect(model: LoadedModel, spec: PredictSpec) -> Iterator[str]:
    """Yield which options of heatmaps have nothing to act upon."""
    plain = PredictSpec()
    methods = model.methods
    idle = sorted(spec.heatmap_scale.keys() - {EVERY_METHOD, *methods})
    if idle:
        yield f"There is no heatmap by {', '.join(idle)}: --heatmap-scale without effect on it."
    threshold = (spec.heatmap_threshold, spec.heatmap_threshold_scope)
    by_default = threshold == (plain.heatmap_threshold, plain.heatmap_threshold_scope)
    thresholded = [name for name, method in slide_methods().items() if method.thresholds]
    if not by_default and not set(thresholded) & set(methods):
        yield f"--heatmap-threshold without effect: it is of {', '.join(thresholded)} alone."


def tiling_without_effect(card: Card, spec: PredictSpec, *, volume: bool) -> tuple[str, ...]:
    """Return the reading of a picture that is not cut into tiles, where options say how to.

    Parameters
    ----------
    card
        Of a classifier that sees whole pictures.
    spec
        With the options.
    volume
        Whether the pictures are slices, of which some are left out.
    """
    plain = PredictSpec()
    given = [name for name in TILING_OPTIONS if getattr(spec, name) != getattr(plain, name)]
    if volume:
        given = [name for name in given if name not in VOLUME_OPTIONS]
    if not given:
        return ()
    options = ", ".join(option_of(name).flag for name in given)
    return (f"{card.name} sees whole pictures: {options} without effect.",)


def _unused(spec: PredictSpec, found: Discovery) -> Iterator[str]:
    unused = set(spec.spacings)
    for slide in found.slides:
        unused.difference_update(slide.row_names)
    if not unused:
        return
    names = ", ".join(sorted(unused)[:LISTED])
    if len(unused) > LISTED:
        names += f" and {len(unused) - LISTED} more"
    yield f"No slide is called {names}: these rows of the spacing table were not used."


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
