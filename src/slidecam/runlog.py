"""What is told of a whole run: every slide's fate, kept as it goes and written when the run ends or is stopped."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.events import Finished, SlideFailed, SlideFinished
from slidecam.exchange.manifest import RunFacts, SlideReport, write_manifest
from slidecam.exchange.report import write_report

if TYPE_CHECKING:
    from slidecam.models import Bundle
    from slidecam.preparation import PredictSpec

MANIFEST, REPORT = "manifest.json", "report.html"
"""What lies in the output folder beside the slides' folders; the names are a contract."""

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
    expected
        How many slides there are.
    reports
        The slides that have come to their end, in that order.
    """

    out: Path
    bundle: Bundle
    spec: PredictSpec
    expected: int
    reports: list[SlideReport] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def failed(self, event: SlideFailed) -> SlideFailed:
        """Note a slide that gave nothing, and return its event."""
        report = SlideReport(event.slide, event.path, "failed", reason=event.problem, remedy=event.remedy)
        self.reports.append(report)
        return event

    def finished(self, report: SlideReport) -> SlideFinished:
        """Note a slide whose outputs are written, and return its event."""
        self.reports.append(report)
        tiles = report.tiles.done + report.tiles.failed
        folder = str(self.out / report.slide)
        return SlideFinished(
            report.slide, folder, report.status, tiles, report.tiles.failed, report.seconds, report.reason
        )

    @property
    def exit_code(self) -> int:
        """0 if every slide is done or had nothing to do, 1 if all failed, 3 in between or if the run was stopped."""
        if len(self.reports) < self.expected:
            return PARTLY
        fates = {report.status for report in self.reports}
        if fates == {"failed"}:
            return FAILED
        return PARTLY if fates & {"failed", "partly"} else ALL_DONE

    def write(self) -> None:
        """Write ``manifest.json`` and ``report.html``, as far as the run has come; nothing in a dry run."""
        if self.spec.dry_run:
            return
        facts = RunFacts(
            slidecam=version("slidecam"),
            bundle=self.bundle.card.name,
            bundle_digest=self.bundle.digest,
            command=_plain(self.spec),
            started=self.started,
            finished=datetime.now(UTC),
            exit_code=self.exit_code,
        )
        write_manifest(self.reports, facts, self.out / MANIFEST)
        write_report(self.reports, facts, self.out / REPORT)

    def summary(self) -> Finished:
        """Return the run's last event."""
        failed = sum(report.status == "failed" for report in self.reports)
        places = ("", "") if self.spec.dry_run else (str(self.out / MANIFEST), str(self.out / REPORT))
        return Finished(*places, len(self.reports), failed, self.exit_code)


def _plain(spec: PredictSpec) -> dict[str, Any]:
    told = {each.name: getattr(spec, each.name) for each in fields(spec)}
    return {key: str(value) if isinstance(value, Path) else value for key, value in told.items()}
