"""What is refused before the first slide, and what a person should know once for all slides."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.errors import RunExistsError, UsageError
from slidecam.exchange.manifest import read_manifest
from slidecam.explain.catalogue import slide_methods
from slidecam.files import check_folder, refuse_inputs
from slidecam.foreground import DRAWN_MASKS, VOLUME_MASKS, mask_called
from slidecam.models.stain import sight_notes
from slidecam.objects import as_given, said
from slidecam.options import EVERY_METHOD, option_of
from slidecam.runlog import MANIFEST
from slidecam.runs.outputs import check_packages, clear_outputs
from slidecam.runs.record import RunRecord, refuse_later
from slidecam.runs.spec import PredictSpec
from slidecam.sources.discovery import find_slides
from slidecam.sources.names import FindSpec, Shard, refuse_shared_names
from slidecam.sources.slide_list import SlideList, read_slide_list
from slidecam.sources.spacing import given_spacing
from slidecam.store import RUN_FILE, has_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slidecam.models import Card
    from slidecam.prediction.model import LoadedModel
    from slidecam.prediction.work import SlideWork
    from slidecam.sources.names import Discovery
    from slidecam.store import Outlet

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
    model: str | Path,
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
        rows.refuse_missing()
    # What a row says holds, where a folder or pattern names its slide too.
    places = [*(row.path for row in rows.rows), *places]
    where = FindSpec.of(spec, rows.names)
    found = find_slides(places, where, keep_identifiers=spec.keep_identifiers)
    found = rows.on(found)
    spec = replace(spec, spacings={**spec.spacings, **rows.spacings(found)})
    outlet.look([slide.name for slide in spec.share_of(found.slides)], (MANIFEST,))
    refuse_unclear(found, outlet, spec)
    begun = _begun_words(outlet, found, spec) if spec.dry_run else ""
    if begun:
        words = f"Without --dry-run this call would be refused: {begun}"
        found = replace(found, ignored=(*found.ignored, words))
    _refuse_folders(places, model, outlet.folder)
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
    begun = "" if spec.dry_run else _begun_words(outlet, found, spec)
    if begun:
        raise RunExistsError(
            outlet.shown,
            begun,
            "Pass --resume to continue, --overwrite to begin anew, or another --out.",
        )


def _begun_words(outlet: Outlet, found: Discovery, spec: PredictSpec) -> str:
    """Return which slides have a run there, of which nothing was said; else an empty text."""
    if spec.existing != "refuse":
        return ""
    ours = spec.share_of(found.slides)
    begun = [slide.name for slide in ours if _is_begun(outlet.folder / slide.name)]
    if not begun:
        return ""
    return f"There is a run of {begun[0]} here already ({len(begun)} of {len(ours)} slides)."


def _refuse_folders(places: Sequence[str | Path], model: str | Path, out: Path) -> None:
    """Refuse an output in the bundle, or as a folder of slides, in which it may lie; UsageError."""
    refuse_inputs([out], [model])
    folders = [Path(place).resolve() for place in places if "://" not in str(place)]
    if out.is_dir() and out.resolve() in folders:
        problem = f"The results would lie among the slides: {out}."
        raise UsageError(problem, "Pass an --out of its own.")


def make_way(work: SlideWork, existing: str) -> None:
    """Clear an earlier run's outputs to begin anew, or refuse to go on with a later slidecam's.

    RunExistsError if they are another slide's that has the same name.
    """
    record, path = RunRecord.find(work.folder), Path(work.source.facts.path)
    if record is not None and record.input.fingerprint not in {None, work.plan["slide"]}:
        before = Path(record.made_in or "") / record.input.path
        if before.exists() and path.exists() and not before.samefile(path):
            raise RunExistsError(
                work.folder,
                f"There is a run of another slide of this name here: {before}.",
                "Pass another --out, or a list that names them apart (--slides, column name).",
            )
    if existing == "overwrite":
        clear_outputs(work.folder)
    else:
        refuse_later(work.folder)


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
            f"No heatmap: {card.name} has {len(card.class_names)} classes."
            " Name those to map with --heatmap-class."
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
