"""What is told of a whole run.

Every slide's fate, kept as it goes and written when the run ends or is stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.events import Finished, SlideFailed, SlideFinished
from slidecam.exchange.manifest import RunFacts, SlideReport, write_manifest
from slidecam.reports.report import write_report
from slidecam.sources.identifiers import public_path

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from slidecam.models import Bundle
    from slidecam.runs.spec import PredictSpec
    from slidecam.sources.discovery import FoundSlide

MANIFEST, REPORT = "manifest.json", "report.html"
"""What lies in the output folder beside the slides' folders; the names are a contract."""

STOPPED = "the run was stopped before this slide was finished"
GO_ON = "Repeat the call with --resume."

WRITE_EVERY = 30.0
"""Seconds after which the manifest is written anew during a run, for whoever looks in on it."""

ALL_DONE, FAILED, PARTLY = 0, 1, 3
"""Exit codes of a run (2 is wrong usage, which never comes to a run)."""


@dataclass
class RunLog:
    """The fate of every slide of one call.

    Attributes
    ----------
    out
        The output folder.
    bundle, spec
        What the slides are classified with, and how.
    slides
        Every slide of the call.
    reports
        The slides that have come to their end, in that order.
    """

    out: Path
    bundle: Bundle
    spec: PredictSpec
    slides: Sequence[FoundSlide]
    reports: list[SlideReport] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _written: float = field(default_factory=time.monotonic)

    def failed(self, event: SlideFailed) -> SlideFailed:
        """Note a slide that gave nothing, and return its event."""
        report = SlideReport(
            event.slide, event.path, "failed", reason=event.problem, remedy=event.remedy
        )
        self._note(report)
        return event

    def planned(self, slide: FoundSlide) -> None:
        """Note a slide of a dry run."""
        self._note(SlideReport(slide.name, slide.shown, "skipped", reason="dry run"))

    def finished(self, report: SlideReport) -> SlideFinished:
        """Note a slide whose outputs are written, and return its event."""
        self._note(report)
        tiles = report.tiles.done + report.tiles.failed
        folder = str(self.out / report.slide)
        return SlideFinished(
            report.slide,
            folder,
            report.status,
            tiles,
            report.tiles.failed,
            report.seconds,
            report.reason,
        )

    def _note(self, report: SlideReport) -> None:
        self.reports.append(report)
        if time.monotonic() - self._written > WRITE_EVERY and not self.spec.dry_run:
            self._written = time.monotonic()
            write_manifest(self._all(), self._facts(), self.out / MANIFEST)

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
        if fates & {"failed", "partly"}:
            return PARTLY
        return ALL_DONE

    def write(self) -> None:
        """Write ``manifest.json`` and ``report.html``, as far as the run has come.

        Nothing in a dry run.
        """
        if self.spec.dry_run:
            return
        reports, facts = self._all(), self._facts()
        write_manifest(reports, facts, self.out / MANIFEST)
        write_report(reports, facts, self.out / REPORT)

    def _facts(self) -> RunFacts:
        return RunFacts(
            slidecam=version("slidecam"),
            bundle=self.bundle.card.name,
            bundle_digest=self.bundle.digest,
            command=_plain(self.spec, {part for slide in self.slides for part in slide.hidden}),
            started=self.started,
            finished=datetime.now(UTC),
            exit_code=self.exit_code,
        )

    def summary(self) -> Finished:
        """Return the run's last event."""
        failed = sum(report.status == "failed" for report in self.reports)
        if self.spec.dry_run:
            places = ("", "")
        else:
            places = (str(self.out / MANIFEST), str(self.out / REPORT))
        return Finished(*places, len(self.reports), failed, self.exit_code)


def _plain(spec: PredictSpec, hidden: Collection[str]) -> dict[str, Any]:
    """Return the settings as JSON; a mask may lie in a folder that is called after the patient."""
    told = {each.name: getattr(spec, each.name) for each in fields(spec)}
    return {
        key: public_path(str(value), tuple(hidden)) if isinstance(value, Path) else value
        for key, value in told.items()
    }
