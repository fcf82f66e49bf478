"""`manifest.json`: what became of every slide of a run, for programs and for `report.html`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from slidecam.files import strict_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slidecam.runs.tiles import ClassSummary

FORMAT, VERSION = "slidecam-manifest", 1

SlideStatus = Literal["done", "partly", "failed", "skipped", "unfinished"]


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
        ``failed``, or ``unfinished`` (the run was stopped before).
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
    """What holds for all slides of a run.

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
    """

    slidecam: str
    bundle: str
    bundle_digest: str
    command: Mapping[str, Any]
    started: datetime
    finished: datetime
    exit_code: int
    failed_outputs: tuple[FailedOutput, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return (self.finished - self.started).total_seconds()


def write_manifest(reports: Sequence[SlideReport], run: RunFacts, path: Path) -> None:
    """Write ``manifest.json`` in one step; strict JSON, where what is not a number is null."""
    record = {
        "format": FORMAT,
        "version": VERSION,
        "run": _run_record(run),
        "slides": [*map(_slide_record, reports)],
    }
    write_json(path, strict_json(record))


def _slide_record(report: SlideReport) -> dict[str, Any]:
    record = asdict(report)
    for key in ("none_called", "several_called"):
        if not record["tiles"][key]:
            del record["tiles"][key]
    for row, summary in zip(record["classes"], report.classes, strict=True):
        if summary.mean_score is None:
            del row["mean_score"]
    return record


def _run_record(run: RunFacts) -> dict[str, Any]:
    record = asdict(run)
    record |= {
        "started": _iso(run.started),
        "finished": _iso(run.finished),
        "seconds": run.seconds,
    }
    if not run.failed_outputs:
        del record["failed_outputs"]
    return record


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
