"""`manifest.json`: what became of every slide of a folder, for programs and for `report.html`.

A folder of outputs is filled by many calls, on many days and by several processes: its manifest
holds every slide that any of them had, as it stands now, and what each call was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import uuid4

from pydantic import ValidationError

from slidecam.errors import StoreError, UsageError
from slidecam.files import strict_json, write_json
from slidecam.locks import LOCK_FILE, FolderLock
from slidecam.parsing import json_in
from slidecam.runs.legend import (  # noqa: TC001  (pydantic reads the fields' types)
    ClassifiedTissue,
    ClassSummary,
)
from slidecam.settings import NotTakenError, taken
from slidecam.store import RUN_FILE, STORE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

FORMAT, VERSION = "slidecam-manifest", 1

MANIFEST_NAME = "manifest.json"

REPORT_ANEW = "`slidecam report OUT` makes it anew from what every slide recorded."

LOCK_SECONDS = 120.0
"""How long to wait for another process that writes the same manifest."""

LEFT_AS_IT_WAS = "A later call left these results as they were: "

SlideStatus = Literal["done", "partly", "failed", "skipped", "unfinished", "claimed"]


@dataclass(frozen=True)
class TileCounts:
    """How many tiles ended how: classified, unreadable, and not tried (background of the grid).

    Of the classified ones, how many are called no class, and how many several; these two are in the
    manifest only where there is one.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    none_called: int = 0
    several_called: int = 0


@dataclass(frozen=True)
class SlideReport:
    """What became of one slide.

    Attributes
    ----------
    slide
        Its name, which is the name of its output folder.
    path
        Where the slide lies, as it was given.
    status
        ``done``, ``partly`` (some tiles gave no result), ``skipped`` (nothing to classify),
        ``failed``, ``unfinished`` (the run was stopped before), or ``claimed`` (another process was
        at work on it, and says itself what became of it).
    tiles
        Counts by what became of them.
    classes
        One row per class; empty where nothing was classified.
    outputs
        Kind of output (``tiles.csv``, ``overview.png``, …) to its path relative to the manifest,
        with ``/``.
    seconds
        From opening the slide to its last output, without what it waited for other slides.
    reason, remedy
        Why it is not ``done`` and what to do about it; empty where there is nothing to say.
    warnings
        What a reader of the results should know.
    facts
        Whatever else is known, as JSON: size, spacing and where it came from, reader, fingerprint,
        timings.
    bundle, bundle_digest
        What it was classified with; empty of a slide that never came to it.
    tissue
        What the shares of its classes are shares of; None where nothing was classified, and where
        an older slidecam wrote it, whose shares are of tiles.
    """

    slide: str
    path: str
    status: SlideStatus
    tiles: TileCounts = TileCounts()
    classes: tuple[ClassSummary, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str = ""
    remedy: str = ""
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    bundle: str = ""
    bundle_digest: str = ""
    tissue: ClassifiedTissue | None = None

    @property
    def has_results(self) -> bool:
        """Whether there is something to look at."""
        return self.status in {"done", "partly", "skipped"}


@dataclass(frozen=True)
class FailedOutput:
    """An output of the whole run that could not be written, or not with all slides.

    Attributes
    ----------
    output, slide
        Its name; and the slide that it failed on, or nothing where that is not known.
    reason, remedy
        What was wrong, and what to do about it.
    traceback
        Where it happened, line by line.
    """

    output: str
    slide: str
    reason: str
    remedy: str
    traceback: tuple[str, ...]


@dataclass(frozen=True)
class RunFacts:
    """One call: what holds for all slides of a run.

    Attributes
    ----------
    slidecam
        Version.
    bundle, bundle_digest
        Name and sha256 of the model bundle.
    command
        The settings of the run, as JSON.
    started, finished
        With a time zone.
    exit_code
        0 all done, 1 nothing done, 3 partly done.
    failed_outputs
        Outputs of the whole run that failed; in the manifest only where there is one.
    slides, failed
        How many slides the call had, and how many of them failed.
    heatmaps
        Sentences on what its heatmaps show, and how faithful they are.
    call
        What tells it from other calls.
    """

    slidecam: str
    bundle: str
    bundle_digest: str
    command: Mapping[str, Any]
    started: datetime
    finished: datetime
    exit_code: int
    failed_outputs: tuple[FailedOutput, ...] = ()
    slides: int = 0
    failed: int = 0
    heatmaps: tuple[str, ...] = ()
    call: str = field(default_factory=lambda: uuid4().hex)

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return (self.finished - self.started).total_seconds()


@dataclass(frozen=True)
class Manifest:
    """What a folder of outputs remembers.

    Attributes
    ----------
    slides
        Every slide that any call had, as it stands now.
    calls
        Every call, the last one last, as JSON: the fields of `RunFacts`.
    """

    slides: tuple[SlideReport, ...] = ()
    calls: tuple[Mapping[str, Any], ...] = ()

    @property
    def last_call(self) -> RunFacts:
        """The call that ended last; StoreError where none is written down."""
        if not self.calls:
            raise StoreError(MANIFEST_NAME, "No call is written down.", "Name another folder.")
        known = {each.name for each in fields(RunFacts)}
        call = {key: value for key, value in self.calls[-1].items() if key in known}
        (found,) = taken([call], tuple[RunFacts, ...])
        return cast("RunFacts", found)

    def still_in(self, folder: Path) -> Manifest:
        """Return it without the slides whose folder of outputs was taken away since."""

        def there(report: SlideReport) -> bool:
            return not report.outputs or (folder / report.slide).is_dir()

        return replace(self, slides=tuple(filter(there, self.slides)))

    def with_call(
        self,
        reports: Sequence[SlideReport],
        run: RunFacts,
        has_run: Callable[[str], bool],
    ) -> Manifest:
        """Return it with what one call did, or has done so far.

        Parameters
        ----------
        reports
            Every slide of the call.
        run
            The call; one that stands in the manifest already takes its own place.
        has_run
            Whether the folder of a slide of this name holds a finished run. A call that was refused
            there, or stopped before, changes nothing of its results.
        """
        rows = {report.slide: report for report in self.slides}
        for report in reports:
            before = rows.get(report.slide)
            if before is not None and report.status == "claimed":
                continue
            rows[report.slide] = report
            lost = not report.has_results
            if lost and before is not None and before.has_results and has_run(report.slide):
                rows[report.slide] = _left_as_it_was(before, report)
        calls = {str(call.get("call", place)): call for place, call in enumerate(self.calls)}
        calls[run.call] = _run_record(run)
        return Manifest(tuple(rows.values()), tuple(calls.values()))


def _left_as_it_was(before: SlideReport, report: SlideReport) -> SlideReport:
    warnings = list(before.warnings)
    if warnings and warnings[-1].startswith(LEFT_AS_IT_WAS):
        warnings.pop()
    return replace(before, warnings=(*warnings, f"{LEFT_AS_IT_WAS}{report.reason}"))


def add_to_manifest(
    path: Path,
    reports: Sequence[SlideReport],
    run: RunFacts,
    has_run: Callable[[str], bool],
) -> Manifest:
    """Write what one call did into ``manifest.json``, beside what others did, and return all of it.

    A slide whose folder was taken away since is forgotten. Parameters are `Manifest.with_call`'s.

    Raises
    ------
    StoreError
        If what lies there is no manifest.
    OSError
        If it cannot be written, or another process held it for two minutes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FolderLock.take(path.with_name(LOCK_FILE), LOCK_SECONDS):
        manifest = read_manifest(path).still_in(path.parent).with_call(reports, run, has_run)
        write_manifest(manifest, run, path)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Return what a folder's ``manifest.json`` says; nothing where there is none.

    Raises
    ------
    StoreError
        If the file is no manifest of ours, or damaged.
    OSError
        If it cannot be read.
    """
    try:
        record = json_in(path)
    except FileNotFoundError:
        return Manifest()
    except ValueError as error:
        raise _no_manifest(path, "is not JSON") from error
    if not isinstance(record, Mapping) or record.get("format") != FORMAT:
        raise _no_manifest(path, f'does not say "format": "{FORMAT}"')
    part = "slides"
    try:
        slides = taken(record.get(part, []), tuple[SlideReport, ...])
        part = "calls"
        # Before calls were kept, the manifest was one call's.
        calls = taken(record.get(part, [record.get("run", {})]), tuple[dict[str, Any], ...])
    except NotTakenError as error:
        place = _first_fault(part, error.__cause__)
        raise _no_manifest(path, f"is damaged: {place} is not as slidecam writes it") from error
    return Manifest(slides, calls)


def read_or_empty(path: Path) -> Manifest:
    """Return what a folder's ``manifest.json`` says, or an empty one where it cannot be read."""
    try:
        return read_manifest(path).still_in(path.parent)
    except (StoreError, OSError):
        return Manifest()


def remembered(folder: Path) -> Manifest:
    """Return what a folder of outputs remembers; UsageError where it is none."""
    path = folder / MANIFEST_NAME
    if not path.exists():
        remedy = "Name the --out of slidecam predict."
        if holds_slides(folder):
            remedy = REPORT_ANEW
        raise UsageError(f"There is no {MANIFEST_NAME} here.", remedy, folder)
    refuse_folder(path)
    return read_manifest(path).still_in(folder)


def holds_slides(folder: Path) -> bool:
    """Whether slides' own folders lie in a folder, of which its manifest can be made anew."""
    return any(chain(folder.glob(f"*/{RUN_FILE}"), folder.glob(f"*/{STORE_FOLDER}")))


def _first_fault(part: str, error: object) -> str:
    """Return where in a manifest something else stands, as keys and places from 0."""
    place: tuple[object, ...] = (part,)
    if isinstance(error, ValidationError):
        place += error.errors()[0]["loc"]
    return ".".join(map(str, place))


def _no_manifest(path: Path, fault: str) -> StoreError:
    problem = f"The manifest.json of earlier calls {fault}."
    remedy = "Move it away, or pass another --out."
    if holds_slides(path.parent):
        remedy = REPORT_ANEW
    return StoreError(path, problem, remedy)


def refuse_folder(path: Path) -> None:
    """Refuse a folder where a manifest belongs; StoreError. A run goes on until it is gone."""
    if path.is_dir():
        problem = f"There is a folder where {MANIFEST_NAME} belongs."
        raise StoreError(path, problem, f"Move it away; {REPORT_ANEW}")


def write_manifest(manifest: Manifest, run: RunFacts, path: Path) -> None:
    """Write ``manifest.json`` in one step; strict JSON, where what is not a number is null."""
    record = {
        "format": FORMAT,
        "version": VERSION,
        "run": _run_record(run),
        "slides": [*map(_slide_record, manifest.slides)],
        "calls": manifest.calls,
    }
    write_json(path, strict_json(record))


def _slide_record(report: SlideReport) -> dict[str, Any]:
    record = asdict(report)
    for key in ("none_called", "several_called"):
        if not record["tiles"][key]:
            del record["tiles"][key]
    if report.tissue is None:
        del record["tissue"]
    for row in record["classes"]:
        for key in ("mean_score", "area", "top_probability"):
            if row[key] is None:
                del row[key]
    return record


def _run_record(run: RunFacts) -> dict[str, Any]:
    record = asdict(run)
    record |= {
        "started": _iso(run.started),
        "finished": _iso(run.finished),
        "seconds": run.seconds,
    }
    for key in ("failed_outputs", "heatmaps"):
        if not record[key]:
            del record[key]
    return record


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
