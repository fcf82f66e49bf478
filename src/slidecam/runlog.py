"""What is recorded of a whole run.

Every slide's fate, kept as it goes and written when the run ends or is stopped.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from pathlib import Path
from traceback import TracebackException
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from slidecam.errors import SlidecamError, StoreError
from slidecam.events import Finished, SlideFailed, SlideFinished, Started, Warned
from slidecam.exchange.cohort import mixed_words
from slidecam.exchange.manifest import (
    REPORT_ANEW,
    FailedOutput,
    RunFacts,
    SlideReport,
    add_to_manifest,
    read_or_empty,
)
from slidecam.exchange.tables import slide_rows, write_slides_csv
from slidecam.extras import is_installed
from slidecam.objects import as_given, said
from slidecam.registry import resolve, version_of
from slidecam.reports.report import EMBEDDED, OVERVIEWS, write_report
from slidecam.runs.record import RunRecord
from slidecam.runs.spec import PredictSpec
from slidecam.sources.discovery import OF_ALL_SLIDES
from slidecam.sources.identifiers import public_path
from slidecam.system_errors import system_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from slidecam.exchange.manifest import Manifest
    from slidecam.exchange.tables import Cell
    from slidecam.models import Bundle
    from slidecam.sources.names import FoundSlide
    from slidecam.store import Outlet

MANIFEST, REPORT, TABLE, TABLE_PARQUET = OF_ALL_SLIDES
"""What lies in the output folder beside the slides' folders; the names are a contract."""

PARQUET_WRITER = "slidecam.exchange.geoparquet:write_slides_parquet"
"""It is loaded only where pyarrow is installed."""

STOPPED = "the run was stopped before this slide was finished"
GO_ON = "Repeat the call with --resume."
CLAIMED = "claimed elsewhere: another slidecam is at work on it"

UNFORESEEN = "slidecam did not foresee this; please report it. Other slides are not touched by it."
NO_ROOM = (
    "Check that the output folder can be written and is not full, then repeat the call with"
    " --resume."
)
NO_MEMORY = (
    "Pass a smaller --batch or --memory, or classify this slide on a larger machine; then repeat"
    " the call with --resume."
)

OF_SINGLE_SLIDES = ("spacings", "shown")
"""Settings that are of one slide each: of ten thousand they would hide the others."""

WRITE_EVERY = 30.0
"""Seconds after which the manifest is written anew during a run, for whoever looks in on it."""

WRITING = 0.02
"""Share of a run's time that goes into that at most: one of ten thousand slides takes seconds."""

ALL_DONE, FAILED, PARTLY = 0, 1, 3
"""Exit codes of a run (2 is wrong usage, which never comes to a run)."""


@dataclass
class RunLog:
    """The fate of every slide of one call.

    Attributes
    ----------
    outlet
        Where the outputs go; a folder alone, where they stay on this machine.
    bundle, spec
        What the slides are classified with, and how; no bundle where runs of earlier calls are
        gathered.
    slides
        Every slide of the call.
    heatmaps
        Sentences on what its heatmaps show.
    call
        What tells the call from others in the manifest.
    reports
        The slides that have come to their end, in that order.
    failed_outputs
        What of the report could not be written.
    notes
        What a person should know of slides that are done with; said when the run ends.
    mixed
        That the folder holds slides of several models, in words.
    """

    outlet: Outlet
    bundle: Bundle | None
    spec: PredictSpec
    slides: Sequence[FoundSlide]
    heatmaps: tuple[str, ...] = ()
    reports: list[SlideReport] = field(default_factory=list)
    failed_outputs: list[FailedOutput] = field(default_factory=list)
    notes: list[Warned] = field(default_factory=list)
    mixed: str = ""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    call: str = field(default_factory=lambda: uuid4().hex)
    _next: float = field(default_factory=lambda: time.monotonic() + WRITE_EVERY)

    @property
    def out(self) -> Path:
        """The output folder on this machine."""
        return self.outlet.folder

    def begun(self, found: int) -> Started:
        """Return the run's first event; ``found`` slides are there, with those of other shards."""
        plain = _plain(PredictSpec(), ())
        settings = _plain(self.spec, chain.from_iterable(slide.hidden for slide in self.slides))
        named = settings.keys() - set(OF_SINGLE_SLIDES)
        command = {name: settings[name] for name in sorted(named) if settings[name] != plain[name]}
        name, digest = self._bundle()
        by, slides = version_of("slidecam"), len(self.slides)
        return Started(by, self.outlet.shown, name, digest, command, slides, found)

    def failed(self, event: SlideFailed) -> SlideFailed:
        """Note a slide that gave nothing, and return its event."""
        report = SlideReport(
            event.slide, event.path, "failed", reason=event.problem, remedy=event.remedy
        )
        self._note(report)
        return event

    def claimed(self, event: SlideFailed) -> SlideFinished:
        """Note a slide that another process is at work on, and return its event."""
        return self.finished(SlideReport(event.slide, event.path, "claimed", reason=CLAIMED))

    def planned(self, slide: FoundSlide) -> None:
        """Note a slide of a dry run."""
        self._note(SlideReport(slide.name, slide.shown, "skipped", reason="dry run"))

    def finished(self, report: SlideReport) -> SlideFinished:
        """Note a slide whose outputs are written, and return its event."""
        self._note(report)
        tiles = report.tiles.done + report.tiles.failed
        folder = self.outlet.shown_of(report.slide)
        return SlideFinished(
            report.slide,
            folder,
            report.status,
            tiles,
            report.tiles.failed,
            report.seconds,
            report.reason,
        )

    def note(self, slide: str, sentence: str) -> None:
        """Note what a person should know of a slide when the run ends, if there is anything."""
        if sentence:
            self.notes.append(Warned(slide, self._public(sentence)))

    def _note(self, report: SlideReport) -> None:
        group = self._groups.get(report.slide)
        if group:
            report = replace(report, facts={**report.facts, "group": group})
        self.reports.append(report)
        if time.monotonic() > self._next and not self.spec.dry_run:
            begun = time.monotonic()
            # What stands in the way is said when the run ends, and no reason to end it.
            with suppress(OSError, SlidecamError), self.outlet.alone():
                self._write_csv(self._remember(), self.out / TABLE)
                self.outlet.put((TABLE,))
            took = time.monotonic() - begun
            self._next = time.monotonic() + max(WRITE_EVERY, took / WRITING)

    @cached_property
    def _groups(self) -> dict[str, str]:
        return {slide.name: slide.group for slide in self.slides}

    def _remember(self) -> Manifest:
        """Write what this call did into the folder's manifest, and return all that it holds.

        The manifest is a view of what slides have recorded themselves: that it cannot be written
        is noted, tried again the next time, and takes no slide with it.
        """
        self.failed_outputs = [each for each in self.failed_outputs if each.output != MANIFEST]
        path, facts = self.out / MANIFEST, self._facts()
        try:
            self.outlet.look((), (MANIFEST,))
            manifest = add_to_manifest(path, self._all(), facts, self._has_run)
            self.outlet.put((MANIFEST,))
        # The boundary of bookkeeping: file systems, locks, stores and damaged records of other
        # slides raise what they like, and every slide's results lie there already.
        except Exception as error:  # noqa: BLE001  (it is recorded with its traceback)
            self._fail(MANIFEST, error)
            return read_or_empty(path).with_call(self._all(), facts, self._has_run)
        return manifest

    def _has_run(self, slide: str) -> bool:
        record = None
        with suppress(StoreError, OSError):
            record = RunRecord.find(self.out / slide)
        return record is not None and record.is_finished

    def _all(self) -> list[SlideReport]:
        """Return the reports, and one for each slide that has not come to its end."""
        reached = {report.slide for report in self.reports}
        return [
            *self.reports,
            *(
                SlideReport(slide.name, slide.shown, "unfinished", reason=STOPPED, remedy=GO_ON)
                for slide in self.slides
                if slide.name not in reached
            ),
        ]

    @property
    def exit_code(self) -> int:
        """0 if every slide is done or had nothing to do, 1 if all failed, 3 otherwise.

        Otherwise means in between, or that the run was stopped.
        """
        if len(self.reports) < len(self.slides):
            return PARTLY
        fates = {report.status for report in self.reports}
        if fates == {"failed"}:
            return FAILED
        if fates & {"failed", "partly"} or self.failed_outputs:
            return PARTLY
        return ALL_DONE

    def write(self) -> None:
        """Write the folder's manifest, table and report, as far as the run has come.

        Slides of other calls stay in them. Nothing in a dry run. A table or report that cannot be
        written, or not with all of its pictures, is noted in the manifest and takes nothing else
        with it.
        """
        if self.spec.dry_run:
            return
        # First, so that it lies there even if the process is ended while the report is rendered.
        with self.outlet.alone():
            manifest = self._remember()
            self.mixed = mixed_words(manifest.slides)
            self._write_for_all(TABLE, lambda path: self._write_tables(manifest, path))
            self._write_for_all(REPORT, lambda path: self._write_report(manifest, path))
            self.outlet.put(OF_ALL_SLIDES[1:])
            if self.failed_outputs:
                self._remember()

    def _write_for_all(self, name: str, write: Callable[[Path], None]) -> None:
        path = self.out / name
        try:
            write(path)
        # The boundary of what is of all slides: Jinja, Pillow and Arrow promise no list of what
        # they raise, and every slide's results lie there already.
        except Exception as error:  # noqa: BLE001  (it is recorded with its traceback)
            self._fail(name, error)
            # One of an earlier call would tell of other results.
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _write_report(self, manifest: Manifest, path: Path) -> None:
        self.outlet.fetch(_pictures_inside(manifest.slides))
        for slide, error in write_report(manifest, self._facts(), path).items():
            self._fail(REPORT, error, slide)

    def _write_tables(self, manifest: Manifest, path: Path) -> None:
        rows = self._write_csv(manifest, path)
        if is_installed("pyarrow"):
            resolve(PARQUET_WRITER)(rows, self.out / TABLE_PARQUET)

    def _write_csv(self, manifest: Manifest, path: Path) -> list[dict[str, Cell]]:
        rows = slide_rows(manifest.slides)
        write_slides_csv(rows, path, self.spec.csv_dialect)
        return rows

    def _fail(self, output: str, error: Exception, slide: str = "") -> None:
        problem, remedy = error_words(error)
        if output == MANIFEST and REPORT_ANEW not in remedy:
            remedy = f"{remedy} {REPORT_ANEW}"
        lines = "".join(TracebackException.from_exception(error).format()).splitlines()
        public = tuple(map(self._public, lines))
        failed = FailedOutput(output, slide, self._public(problem), remedy, public)
        self.failed_outputs.append(failed)

    def _public(self, text: str) -> str:
        """Return a text without what names a patient or opens a server."""
        text = said(text)
        for slide in self.slides:
            text = slide.public(text)
        return text

    def warnings(self) -> list[Warned]:
        """Return what a person should know of slides that are done with, and of the report."""
        incomplete = [
            Warned(
                failed.slide,
                f"{failed.output} is not complete: {failed.reason} {failed.remedy}",
            )
            for failed in self.failed_outputs
        ]
        mixed = [Warned("", sentence) for sentence in filter(None, [self.mixed])]
        return [*self.notes, *mixed, *incomplete]

    def _facts(self) -> RunFacts:
        name, digest = self._bundle()
        return RunFacts(
            slidecam=version_of("slidecam"),
            bundle=name,
            bundle_digest=digest,
            command=_plain(self.spec, chain.from_iterable(slide.hidden for slide in self.slides)),
            started=self.started,
            finished=datetime.now(UTC),
            exit_code=self.exit_code,
            failed_outputs=tuple(self.failed_outputs),
            slides=len(self.slides),
            failed=sum(report.status == "failed" for report in self.reports),
            heatmaps=self.heatmaps,
            call=self.call,
        )

    def _bundle(self) -> tuple[str, str]:
        """Return the classifier's name and digest; of gathered runs the last one's."""
        if self.bundle is not None:
            return self.bundle.card.name, self.bundle.digest
        for report in reversed(self.reports):
            if report.bundle:
                return report.bundle, report.bundle_digest
        return "", ""

    def summary(self) -> Finished:
        """Return the run's last event."""
        failed = sum(report.status == "failed" for report in self.reports)
        manifest, report = "", ""
        if not self.spec.dry_run:
            manifest = self.outlet.shown_of(MANIFEST)
            if all(each.slide or each.output != REPORT for each in self.failed_outputs):
                report = self.outlet.shown_of(REPORT)
        counts = Counter(str(each.status) for each in self._all())
        tiles = sum(each.tiles.done for each in self.reports)
        return Finished(
            manifest,
            report,
            len(self.reports),
            failed,
            self.exit_code,
            self.heatmaps,
            dict(counts),
            tiles,
        )


def _pictures_inside(slides: Sequence[SlideReport]) -> Iterator[str]:
    """Yield the pictures that are inside the report of so many slides, by where they lie."""
    if len(slides) > EMBEDDED:
        return
    for report in slides:
        for name in filter(report.outputs.__contains__, OVERVIEWS):
            yield report.outputs[name]


def _plain(spec: PredictSpec, hidden: Iterable[str]) -> dict[str, Any]:
    """Return the settings as JSON; a mask may lie in a folder that is called after the patient."""
    settings = {each.name: getattr(spec, each.name) for each in fields(spec)}
    parts = tuple(hidden)
    for name, value in settings.items():
        if isinstance(value, Path):
            settings[name] = public_path(said(as_given(value)), parts)
    return settings


def error_words(error: Exception) -> tuple[str, str]:
    """Return what is wrong and what to do about it, of whatever was raised."""
    if isinstance(error, SlidecamError):
        return error.problem, error.remedy
    said = str(TracebackException.from_exception(error))
    fault = system_fault(error)
    if fault is not None:
        return f"{fault.problem} ({said}).", f"{fault.remedy} {GO_ON}"
    if isinstance(error, OSError):
        return f"{said}.", NO_ROOM
    problem = ": ".join(filter(None, (type(error).__name__, said))) + "."
    if isinstance(error, MemoryError):
        return problem, NO_MEMORY
    return problem, UNFORESEEN
