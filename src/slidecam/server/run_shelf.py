"""All runs that can be looked at: the jobs of this server and the runs that lie on disk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.exchange.manifest import MANIFEST_NAME, read_or_empty
from slidecam.server.guard import RequestError
from slidecam.server.job_requests import JOB_OPTIONS, read_request
from slidecam.server.past_runs import PastRun

if TYPE_CHECKING:
    from slidecam.server.job import Job, SeenRun
    from slidecam.server.job_requests import JobRequest
    from slidecam.server.jobs import JobQueue
    from slidecam.server.kept_requests import KeptRequests
    from slidecam.server.past_runs import PastRuns

MOST_LISTED = 300
CONTINUED = frozenset({"cancelled", "failed", "partly", "unfinished"})
"""How a run stands that may be gone on with."""

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RunShelf:
    """Runs by their names.

    Attributes
    ----------
    jobs
        Those of this server.
    past
        Those on disk.
    requests
        What jobs were sent for.
    """

    jobs: JobQueue
    past: PastRuns
    requests: KeptRequests

    def run(self, name: str) -> SeenRun:
        """Return a run; RequestError 404 if it is not known, or not any more."""
        found = self.jobs.job(name) or self.past.find(name)
        if found is None:
            raise RequestError(
                404, f"There is no job {name}.", "GET /v1/runs lists those that can be looked at."
            )
        return found

    def by_key(self, key: str) -> SeenRun:
        """Return the run whose results a link names; RequestError 404 if there is none."""
        found = self.jobs.by_key(key) or self.past.by_key(key)
        if found is None:
            raise RequestError(
                404, "There are no results of this name.", "Open them from the page again."
            )
        return found

    def listed(self) -> dict[str, Any]:
        """Return all runs, slide by slide, the newest first, and whether there are more."""
        rows: list[dict[str, Any]] = []
        taken: set[str] = set()
        for job in self.jobs.all():
            rows += _rows_of(job)
            taken.update(str(_folder_of(job, slide)) for slide in job.slide_records())
        past, ended_early = self.past.all()
        others = [run for run in past if str(run.folder) not in taken]
        rows += [_row(run, run.slide_records()[0]) for run in others[:MOST_LISTED]]
        rows.sort(key=lambda row: _moment(row["created"]), reverse=True)
        return {
            "runs": rows,
            "left_out": max(0, len(others) - MOST_LISTED),
            "search_ended_early": ended_early,
        }

    def continued(self, name: str) -> JobRequest:
        """Return the request that goes on with a run as it was begun; RequestError as `run`."""
        run = self.run(name)
        wanted = self._begun_by(run)
        options = {**wanted.get("options", {}), "existing": "resume"}
        return read_request({**wanted, "out": str(run.out), "options": options})

    def _begun_by(self, run: SeenRun) -> dict[str, Any]:
        record = run.record()
        kept = self.requests.find(run.out, record["slides"][0])
        if kept is not None:
            return kept
        if not isinstance(run, PastRun):
            return {"slides": record["slides"]}
        return {
            "slides": record["slides"],
            "model": str(Path(run.recorded.made_in or "", run.recorded.bundle.path)),
            "options": _options_of_call(run),
        }


def _options_of_call(run: PastRun) -> dict[str, Any]:
    """Return how the call was set that a run was begun by; nothing where that is not known."""
    calls = read_or_empty(run.out / MANIFEST_NAME).calls
    if not calls:
        return {}
    command = calls[-1].get("command", {})
    known = {name: command[name] for name in JOB_OPTIONS if command.get(name) is not None}
    return {name: value for name, value in known.items() if name not in {"device", "existing"}}


def _rows_of(job: Job) -> list[dict[str, Any]]:
    begun = job.slide_records()
    if begun:
        return [_row(job, slide) for slide in begun]
    waiting = [{"slide": path.name, "path": str(path)} for path in job.spec.slides]
    return [_row(job, slide) for slide in waiting]


def _row(run: SeenRun, slide: dict[str, Any]) -> dict[str, Any]:
    record = run.record()
    status = record["status"]
    if run.has_ended:
        status = slide.get("status", status)
        if status == "running":  # it was at work on this one when it was stopped
            status = record["status"]
    return {
        **{name: record[name] for name in ("id", "model", "created", "ended", "out", "report")},
        "slide": slide["slide"],
        "path": slide["path"],
        "status": status,
        "done": record["progress"]["done"],
        "total": record["progress"]["total"],
        "can_continue": run.has_ended and status in CONTINUED,
        "can_cancel": not run.has_ended,
    }


def _folder_of(job: Job, slide: dict[str, Any]) -> Path:
    return Path(slide.get("folder", job.out / slide["slide"])).resolve()


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return LONG_AGO
    return found if found.tzinfo else found.replace(tzinfo=UTC)
