"""Jobs wait in a queue, run one at a time on each device, and are remembered after their end."""

from __future__ import annotations

import logging
import tempfile
from collections import OrderedDict
from contextlib import closing
from dataclasses import replace
from hmac import compare_digest
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from slidecam.errors import SlidecamError
from slidecam.models.backends import choose_device
from slidecam.prediction.pipeline import predict
from slidecam.server.guard import UNFORESEEN, busy
from slidecam.server.job import EXIT_FAILED, EXIT_REFUSED, EXIT_STOPPED, Job

if TYPE_CHECKING:
    from slidecam.prediction.model import WarmClassifiers
    from slidecam.runs.spec import PredictSpec
    from slidecam.server.devices import Devices, FairLock
    from slidecam.server.guard import Limits
    from slidecam.server.job import JobSpec

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

    def job(self, name: str) -> Job | None:
        """Return a job; None if it is not known, or not any more."""
        return self._jobs.get(name)

    def by_key(self, key: str) -> Job | None:
        """Return the job whose results a link names; None if there is none."""
        with self._lock:
            for job in self._jobs.values():
                if compare_digest(job.key.encode(), key.encode()):
                    return job
        return None

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
        with closing(
            predict(slides, job.spec.bundle.path, job.place(), spec, self._warm)
        ) as events:
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
