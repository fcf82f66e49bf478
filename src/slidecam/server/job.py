"""A job: one call of the pipeline on behalf of a client, how far it is, and what came of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol

from slidecam.errors import SlidecamError
from slidecam.events import (
    BatchDone,
    Error,
    Finished,
    Planned,
    SlideFailed,
    SlideFinished,
    Started,
    as_json,
)
from slidecam.server.guard import RequestError
from slidecam.server.progress import Journal, LiveTiles
from slidecam.server.standing import standing_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.events import Event
    from slidecam.models import Bundle
    from slidecam.runs.spec import PredictSpec
    from slidecam.server.folders import Roots
    from slidecam.server.standing import Standing

JobStatus = Literal["queued", "running", "done", "partly", "failed", "cancelled"]

ENDED: tuple[JobStatus, ...] = ("done", "partly", "failed", "cancelled")
OUTCOMES: Mapping[int, JobStatus] = {0: "done", 1: "failed", 2: "failed", 3: "partly"}
"""What an exit code of the command line is called here."""

EXIT_FAILED, EXIT_REFUSED, EXIT_STOPPED = 1, 2, 3


@dataclass(frozen=True)
class JobSpec:
    """What is to be done.

    Attributes
    ----------
    slides, out
        As in `slidecam.prediction.pipeline.predict`; ``out`` None for a folder named after the
        job, under ``home``.
    bundle
        The model as it is when the job is sent: one that takes its place meanwhile is another.
    predict
        Everything else.
    mask
        GeoJSON that was sent along, as text; empty for none.
    home
        Where jobs go that name no folder.
    outputs
        Folders that jobs may write in.
    """

    slides: tuple[Path, ...]
    out: Path | None
    bundle: Bundle
    predict: PredictSpec
    home: Path
    outputs: Roots
    mask: str = ""


class SeenRun(Protocol):
    """What is looked at of a run, be it a job of this server or one that lies on disk."""

    @property
    def id(self) -> str:
        """What it is called here."""

    @property
    def key(self) -> str:
        """What a link to its results needs to know, since a link can carry no token."""

    @property
    def out(self) -> Path:
        """The folder of results."""

    @property
    def journal(self) -> Journal:
        """Its events so far."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""

    def place(self) -> Path:
        """Return ``out`` with every link followed; RequestError where it leads elsewhere."""

    def cancel(self) -> None:
        """Stop it."""

    def live(self, name: str) -> LiveTiles | None:
        """Return a slide's tiles so far while it is at work."""

    def standing(self, name: str) -> Standing | None:
        """Return which file a slide was; None where nobody knows."""

    def slide_records(self) -> list[dict[str, Any]]:
        """Return what is known of each slide that was begun."""

    def slide_record(self, name: str) -> dict[str, Any] | None:
        """Return what is known of one slide; None where it was not begun."""

    def record(self) -> dict[str, Any]:
        """Return what a client sees of it."""


REPORT = "report.html"


def report_link(run: SeenRun) -> str | None:
    """Return the link to a run's report; None where there is none that may be read."""
    try:
        there = (run.place() / REPORT).is_file()
    except RequestError:
        return None
    return f"/results/{run.key}/{REPORT}" if there else None


class Job:
    """A job on its way, written by one thread and read by others.

    Attributes
    ----------
    id, key
        Its name; and what a link to its results needs to know, since a link can carry no token.
    spec, out
        What is to be done, and where its results go.
    journal
        Its events so far.
    cancelled
        Set when somebody wants it to stop.
    """

    def __init__(self, spec: JobSpec, kept_lines: int) -> None:
        now = datetime.now(UTC)
        self.id = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        self.key = secrets.token_urlsafe(24)
        self.spec = spec
        self.out = spec.out or spec.home / self.id
        self.journal = Journal(kept_lines)
        self.cancelled = Flag()
        self._lock = Lock()
        self._status: JobStatus = "queued"
        self._times: dict[str, str | None] = {
            "created": _iso(now),
            "started": None,
            "ended": None,
        }
        self._exit_code: int | None = None
        self._error: dict[str, str] | None = None
        self._progress: dict[str, Any] = {
            "slide": "",
            "done": 0,
            "total": 0,
            "slides_done": 0,
            "slides_total": len(spec.slides),
        }
        self._slides: dict[str, dict[str, Any]] = {}
        self._standings: dict[str, Standing | None] = {}
        self._live: LiveTiles | None = None

    @property
    def status(self) -> JobStatus:
        """How it stands."""
        return self._status

    def place(self) -> Path:
        """Return where its results lie, every link followed.

        RequestError where that leads out of what jobs may write in: a folder may have been put in
        the place of another since it was sent.
        """
        return self.spec.outputs.allowed(str(self.out)).resolve()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._status in ENDED

    @property
    def has_finished(self) -> bool:
        """Whether its run came to its own end, whatever the outcome."""
        return self._exit_code is not None

    def begin(self) -> bool:
        """Start it; return False where it was cancelled while it waited."""
        with self._lock:
            if self._status != "queued":
                return False
            self._status, self._times["started"] = "running", _iso(datetime.now(UTC))
        return True

    def cancel(self) -> None:
        """Stop it: at once if it waits, else after the batch at work.

        One that has ended is left as it is.
        """
        self.cancelled.set()
        with self._lock:
            waits = self._status == "queued"
        if waits:
            self.end("cancelled", EXIT_STOPPED)

    def note(self, event: Event) -> None:
        """Take in one event of its run."""
        with self._lock:
            self._take(event)
        self.journal.write(as_json(event))

    def _take(self, event: Event) -> None:
        if isinstance(event, Started) and event.bundle_digest != self.spec.bundle.digest:
            raise SlidecamError(
                f"The model in {self.spec.bundle.path} is another one than when the job was sent.",
                "Send the job again: it is classified by the one that lies there now.",
            )
        if isinstance(event, Planned):
            self.place()
            self._standings[event.slide] = standing_of(Path(event.path))
            self._progress |= {
                "slide": event.slide,
                "done": event.tiles - event.pending,
                "total": event.tiles,
            }
            self._slides[event.slide] = {
                "slide": event.slide,
                "path": event.path,
                "status": "running",
            }
            classes = self.spec.bundle.card.classes
            self._live = LiveTiles.of(event, self.out / event.slide, classes)
        elif isinstance(event, BatchDone):
            self._progress |= {
                "slide": event.slide,
                "done": event.done,
                "total": event.total,
            }
            if self._live is not None:
                self._live.add(event)
        elif isinstance(event, SlideFinished):
            finished = as_json(event)
            del finished["event"]
            self._slides.setdefault(event.slide, {}).update({**finished, "remedy": ""})
            self._one_slide_less(event.slide)
        elif isinstance(event, SlideFailed):
            self._slides[event.slide] = {
                "slide": event.slide,
                "path": event.path,
                "status": "failed",
                "folder": str(self.out / event.slide),
                "tiles": 0,
                "failed": 0,
                "reason": event.problem,
                "remedy": event.remedy,
            }
            self._one_slide_less(event.slide)
        elif isinstance(event, Finished):
            self._exit_code = event.exit_code

    def _one_slide_less(self, name: str) -> None:
        self._progress["slides_done"] = self._progress["slides_done"] + 1
        if self._live is not None and self._live.slide == name:
            self._live = None

    def fail(self, error: SlidecamError) -> None:
        """Note that the whole call was refused or broke."""
        self._error = {"error": error.problem, "remedy": error.remedy}
        self.journal.write(as_json(Error(type(error).__name__, error.problem, error.remedy)))

    def end(self, status: JobStatus | None = None, exit_code: int | None = None) -> None:
        """Close it: as ``status``, or as the exit code of its run says."""
        with self._lock:
            if self._status in ENDED:
                return
            if exit_code is not None:
                self._exit_code = exit_code
            elif self._exit_code is None:
                self._exit_code = EXIT_FAILED
            self._status = status or OUTCOMES[self._exit_code]
            self._times["ended"] = _iso(datetime.now(UTC))
            self._live = None
            self.spec = replace(self.spec, mask="")  # a job is remembered longer than its mask
        self.journal.write(
            {"event": "JobEnded", "status": self._status, "exit_code": self._exit_code},
            last=True,
        )

    def record(self) -> dict[str, Any]:
        """Return what a client sees of it."""
        with self._lock:
            here = f"/v1/jobs/{self.id}"
            report = None
            if self._status in ENDED:
                report = report_link(self)
            return {
                "id": self.id,
                "status": self._status,
                "slides": [str(path) for path in self.spec.slides],
                "out": str(self.out),
                "model": self.spec.bundle.card.name,
                "model_digest": self.spec.bundle.digest,
                **self._times,
                "exit_code": self._exit_code,
                "progress": dict(self._progress),
                "events": f"{here}/events",
                "result": f"{here}/result",
                "report": report,
                "error": self._error,
            }

    def slide_records(self) -> list[dict[str, Any]]:
        """Return what is known of each slide that was begun."""
        with self._lock:
            return [dict(slide) for slide in self._slides.values()]

    def slide_record(self, name: str) -> dict[str, Any] | None:
        """Return what is known of one slide; None where it was not begun."""
        with self._lock:
            found = self._slides.get(name)
            if found is None:
                return None
            return dict(found)

    def standing(self, name: str) -> Standing | None:
        """Return which file a slide was when it was begun; None where nobody knows."""
        with self._lock:
            return self._standings.get(name)

    def live(self, name: str) -> LiveTiles | None:
        """Return a slide's tiles so far while it is at work; None before and after."""
        with self._lock:
            if self._live is None or self._live.slide != name:
                return None
            return self._live


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
