"""One call of the pipeline on behalf of a client.

What was ordered, how far it is, and what came of it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event as Flag
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from slidecam.events import BatchDone, Finished, Planned, SlideFailed, SlideFinished, as_json
from slidecam.server.journal import Journal
from slidecam.server.live import LiveTiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.errors import SlidecamError
    from slidecam.events import Event
    from slidecam.models import Card
    from slidecam.runs.spec import PredictSpec

JobStatus = Literal["queued", "running", "done", "partly", "failed", "cancelled"]

ENDED: tuple[JobStatus, ...] = ("done", "partly", "failed", "cancelled")
OUTCOMES: Mapping[int, JobStatus] = {0: "done", 1: "failed", 2: "failed", 3: "partly"}
"""What an exit code of the command line is called here."""

EXIT_FAILED, EXIT_REFUSED, EXIT_STOPPED = 1, 2, 3


@dataclass(frozen=True)
class JobOrder:
    """What is to be done.

    Attributes
    ----------
    slides, out, model
        As in `slidecam.prediction.pipeline.predict`; ``out`` None for a folder named after the
        job, under ``home``.
    spec
        Everything else.
    card
        The bundle's.
    mask
        GeoJSON that was sent along, as text; empty for none.
    home
        Where jobs go that name no folder.
    """

    slides: tuple[Path, ...]
    out: Path | None
    model: Path
    spec: PredictSpec
    card: Card
    home: Path
    mask: str = ""


class Job:
    """An order on its way, written by one thread and read by others.

    Attributes
    ----------
    id, key
        Its name; and what a link to its results needs to know, since a link can carry no token.
    order, out
        What is to be done, and where its results go.
    journal
        What it has told.
    cancelled
        Set when somebody wants it to stop.
    """

    def __init__(self, order: JobOrder, kept_lines: int) -> None:
        now = datetime.now(UTC)
        self.id = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        self.key = secrets.token_urlsafe(24)
        self.order = order
        self.out = order.out or order.home / self.id
        self.journal = Journal(kept_lines)
        self.cancelled = Flag()
        self._lock = Lock()
        self._status: JobStatus = "queued"
        self._times: dict[str, str | None] = {"created": _told(now), "started": None, "ended": None}
        self._exit_code: int | None = None
        self._error: dict[str, str] | None = None
        self._progress: dict[str, Any] = {
            "slide": "",
            "done": 0,
            "total": 0,
            "slides_done": 0,
            "slides_total": len(order.slides),
        }
        self._slides: dict[str, dict[str, Any]] = {}
        self._live: LiveTiles | None = None

    @property
    def status(self) -> JobStatus:
        """How it stands."""
        return self._status

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
            self._status, self._times["started"] = "running", _told(datetime.now(UTC))
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
        if isinstance(event, Planned):
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
            self._live = LiveTiles.of(
                event, self.out / event.slide, len(self.order.card.class_names)
            )
        elif isinstance(event, BatchDone):
            self._progress |= {"slide": event.slide, "done": event.done, "total": event.total}
            if self._live is not None:
                self._live.add(event)
        elif isinstance(event, SlideFinished):
            told = as_json(event)
            del told["event"]
            self._slides.setdefault(event.slide, {}).update({**told, "remedy": ""})
            self._one_slide_less(event.slide)
        elif isinstance(event, SlideFailed):
            told = {
                "slide": event.slide,
                "path": event.path,
                "status": "failed",
                "folder": str(self.out / event.slide),
            }
            told |= {"tiles": 0, "failed": 0, "reason": event.problem, "remedy": event.remedy}
            self._slides[event.slide] = told
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
        told = {"error": type(error).__name__, "problem": error.problem, "remedy": error.remedy}
        self.journal.write({"event": "Error", **told})

    def end(self, status: JobStatus | None = None, exit_code: int | None = None) -> None:
        """Close it: as ``status``, or as the exit code of its run says."""
        with self._lock:
            if self._status in ENDED:
                return
            code = exit_code if exit_code is not None else self._exit_code
            self._exit_code = EXIT_FAILED if code is None else code
            self._status = status or OUTCOMES[self._exit_code]
            self._times["ended"] = _told(datetime.now(UTC))
            self._live = None
        self.journal.write(
            {"event": "JobEnded", "status": self._status, "exit_code": self._exit_code}, last=True
        )

    def told(self) -> dict[str, Any]:
        """Return what a client is told of it."""
        with self._lock:
            here = f"/v1/jobs/{self.id}"
            reported = (self.out / "report.html").is_file() and self._status in ENDED
            return {
                "id": self.id,
                "status": self._status,
                "slides": [str(path) for path in self.order.slides],
                "out": str(self.out),
                "model": self.order.card.name,
                **self._times,
                "exit_code": self._exit_code,
                "progress": dict(self._progress),
                "events": f"{here}/events",
                "result": f"{here}/result",
                "report": f"/results/{self.key}/report.html" if reported else None,
                "error": self._error,
            }

    def slides_told(self) -> list[dict[str, Any]]:
        """Return what is known of each slide that was begun."""
        with self._lock:
            return [dict(slide) for slide in self._slides.values()]

    def slide_told(self, name: str) -> dict[str, Any] | None:
        """Return what is known of one slide; None where it was not begun."""
        with self._lock:
            found = self._slides.get(name)
            return None if found is None else dict(found)

    def live(self, name: str) -> LiveTiles | None:
        """Return a slide's tiles so far while it is at work; None before and after."""
        with self._lock:
            return self._live if self._live is not None and self._live.slide == name else None


def _told(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
