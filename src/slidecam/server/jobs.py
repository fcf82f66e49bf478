"""Jobs: calls of the pipeline on behalf of clients.

Each is one call: what is to be done, how far it is, and what came of it. They wait in a queue, run
one at a time on each device, and are remembered for a while after their end.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hmac import compare_digest
from pathlib import Path
from threading import Event as Flag
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from slidecam.errors import SlidecamError
from slidecam.events import BatchDone, Finished, Planned, SlideFailed, SlideFinished, as_json
from slidecam.models.backends import choose_device
from slidecam.prediction.pipeline import predict
from slidecam.server.guard import UNFORESEEN, RequestError, busy
from slidecam.server.progress import Journal, LiveTiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.events import Event
    from slidecam.models import Card
    from slidecam.prediction.model import WarmClassifiers
    from slidecam.runs.spec import PredictSpec
    from slidecam.server.devices import Devices, FairLock
    from slidecam.server.guard import Limits

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
    slides, out, model
        As in `slidecam.prediction.pipeline.predict`; ``out`` None for a folder named after the
        job, under ``home``.
    predict
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
    predict: PredictSpec
    card: Card
    home: Path
    mask: str = ""


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
                event, self.out / event.slide, len(self.spec.card.class_names)
            )
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
        record = {
            "event": "Error",
            "error": type(error).__name__,
            "problem": error.problem,
            "remedy": error.remedy,
        }
        self.journal.write(record)

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
        self.journal.write(
            {"event": "JobEnded", "status": self._status, "exit_code": self._exit_code},
            last=True,
        )

    def record(self) -> dict[str, Any]:
        """Return what a client sees of it."""
        with self._lock:
            here = f"/v1/jobs/{self.id}"
            report = None
            if self._status in ENDED and (self.out / "report.html").is_file():
                report = f"/results/{self.key}/report.html"
            return {
                "id": self.id,
                "status": self._status,
                "slides": [str(path) for path in self.spec.slides],
                "out": str(self.out),
                "model": self.spec.card.name,
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

    def live(self, name: str) -> LiveTiles | None:
        """Return a slide's tiles so far while it is at work; None before and after."""
        with self._lock:
            if self._live is None or self._live.slide != name:
                return None
            return self._live


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


_LOG = logging.getLogger(__name__)

WAIT_SECONDS = 30
"""When a client should come again that found the queue full."""


class JobQueue:
    """The jobs of a server: those that wait, those at work, those that have ended.

    Parameters
    ----------
    warm
        Classifiers that stay on their devices from job to job.
    devices
        Shared with whoever else uses them.
    limits
        How many may wait, and how many are remembered.
    """

    def __init__(self, warm: WarmClassifiers, devices: Devices, limits: Limits) -> None:
        self._warm, self._devices, self._limits = warm, devices, limits
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = Lock()

    def submit(self, spec: JobSpec) -> Job:
        """Put a job in line.

        RequestError 429 if the line is full, DeviceError if there is no such device.
        """
        device = str(choose_device(spec.predict.device))
        with self._lock:
            waiting = sum(job.status == "queued" for job in self._jobs.values())
            if waiting >= self._limits.waiting_jobs:
                raise busy(429, f"{waiting} jobs are waiting already.", WAIT_SECONDS)
            job = Job(spec, self._limits.kept_lines)
            self._jobs[job.id] = job
            self._forget_oldest()
        self._devices.thread(device).submit(self._run, job, device)
        return job

    def _forget_oldest(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.has_ended]
        for old in ended[: max(0, len(ended) - self._limits.kept_jobs)]:
            del self._jobs[old]

    def job(self, name: str) -> Job:
        """Return a job; RequestError 404 if it is not known, or not any more."""
        job = self._jobs.get(name)
        if job is None:
            raise RequestError(
                404,
                f"There is no job {name}.",
                "GET /v1/jobs lists those that are remembered.",
            )
        return job

    def by_key(self, key: str) -> Job:
        """Return the job whose results a link names; RequestError 404 if there is none."""
        with self._lock:
            for job in self._jobs.values():
                if compare_digest(job.key.encode(), key.encode()):
                    return job
        raise RequestError(
            404, "There are no results of this name.", "Open them from the page again."
        )

    def all(self) -> list[Job]:
        """Return all jobs, the newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def close(self) -> None:
        """Cancel everything and wait until the devices are free.

        What was classified stays on disk.
        """
        for job in self.all():
            job.cancel()
        self._devices.close()

    def _run(self, job: Job, device: str) -> None:
        if not job.begin():
            return
        try:
            with tempfile.TemporaryDirectory(prefix="slidecam-") as scratch:
                self._follow(job, _with_mask(job.spec, Path(scratch)), self._devices.lock(device))
        except SlidecamError as error:
            job.fail(error)
            refused = EXIT_REFUSED if error.usage else EXIT_FAILED
            job.end("failed", refused)
        except Exception as error:  # noqa: BLE001  (the boundary of a job: the next one has its turn)
            _LOG.exception("job %s failed", job.id)
            job.fail(SlidecamError(f"{type(error).__name__}: {error}.", UNFORESEEN))
        finally:
            # Whatever happened, nobody waits for a job that will never end.
            if job.has_finished:
                job.end()
            else:
                job.end("failed", EXIT_FAILED)

    def _follow(self, job: Job, spec: PredictSpec, device: FairLock) -> None:
        slides = [str(path) for path in job.spec.slides]
        with closing(predict(slides, job.spec.model, job.out, spec, self._warm)) as events:
            while not job.cancelled.is_set():
                with device.held():
                    event = next(events, None)
                if event is None:
                    return
                job.note(event)
        if not job.has_finished:
            job.end("cancelled", EXIT_STOPPED)


def _with_mask(job: JobSpec, scratch: Path) -> PredictSpec:
    """Return the settings of a job, its mask that came with the request written to a file."""
    if not job.mask:
        return job.predict
    path = scratch / "mask.geojson"
    path.write_text(job.mask, encoding="utf-8")
    return replace(job.predict, mask=path)
