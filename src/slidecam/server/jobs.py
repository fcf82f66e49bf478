"""Jobs: waiting in line, one at a time on each device, remembered for a while after their end."""

from __future__ import annotations

import logging
import tempfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from slidecam.errors import SlidecamError
from slidecam.models.backends import choose_device
from slidecam.prediction.pipeline import predict
from slidecam.server.fair_lock import Turns
from slidecam.server.http_errors import UNFORESEEN, RequestError, busy
from slidecam.server.job import EXIT_FAILED, EXIT_REFUSED, EXIT_STOPPED, Job

if TYPE_CHECKING:
    from slidecam.prediction.model import WarmClassifiers
    from slidecam.runs.spec import PredictSpec
    from slidecam.server.job import JobOrder
    from slidecam.server.limits import Limits

_LOG = logging.getLogger(__name__)

WAIT_SECONDS = 30
"""When a client should come again that found the queue full."""


@dataclass
class Devices:
    """Turns and a thread for each device that was used."""

    _turns: dict[str, Turns] = field(default_factory=dict)
    _threads: dict[str, ThreadPoolExecutor] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def turns(self, device: str) -> Turns:
        """Return the turns of a device."""
        with self._lock:
            return self._turns.setdefault(device, Turns())

    def thread(self, device: str) -> ThreadPoolExecutor:
        """Return the thread that works off a device's jobs."""
        with self._lock:
            if device not in self._threads:
                self._threads[device] = ThreadPoolExecutor(1, f"slidecam-job-{device}")
            return self._threads[device]

    def close(self) -> None:
        """Wait for what is at work and let all threads end."""
        for thread in self._threads.values():
            thread.shutdown(wait=True, cancel_futures=True)


class JobDesk:
    """Where jobs are handed in and asked for.

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

    def submit(self, order: JobOrder) -> Job:
        """Put an order in line.

        RequestError 429 if the line is full, DeviceError if there is no such device.
        """
        device = str(choose_device(order.spec.device))
        with self._lock:
            waiting = sum(job.status == "queued" for job in self._jobs.values())
            if waiting >= self._limits.waiting_jobs:
                raise busy(429, f"{waiting} jobs are waiting already.", WAIT_SECONDS)
            job = Job(order, self._limits.kept_lines)
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
                404, f"there is no job {name}.", "GET /v1/jobs lists those that are remembered."
            )
        return job

    def by_key(self, key: str) -> Job:
        """Return the job whose results a link names; RequestError 404 if there is none."""
        with self._lock:
            found = [
                job for job in self._jobs.values() if compare_digest(job.key.encode(), key.encode())
            ]
        if not found:
            raise RequestError(
                404, "there are no results of this name.", "Open them from the page again."
            )
        return found[0]

    def jobs(self) -> list[Job]:
        """Return all jobs, the newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def close(self) -> None:
        """Cancel everything and wait until the devices are free.

        What was classified stays on disk.
        """
        for job in self.jobs():
            job.cancel()
        self._devices.close()

    def _run(self, job: Job, device: str) -> None:
        if not job.begin():
            return
        try:
            with tempfile.TemporaryDirectory(prefix="slidecam-") as scratch:
                self._follow(job, _with_mask(job.order, Path(scratch)), self._devices.turns(device))
        except SlidecamError as error:
            job.fail(error)
            job.end("failed", EXIT_REFUSED if error.usage else EXIT_FAILED)
        except Exception as error:  # noqa: BLE001  (the boundary of a job: the next one has its turn)
            _LOG.exception("job %s failed", job.id)
            job.fail(SlidecamError(f"{type(error).__name__}: {error}.", UNFORESEEN))
        finally:
            # Whatever happened, nobody waits for a job that will never end.
            job.end(
                None if job.has_finished else "failed", None if job.has_finished else EXIT_FAILED
            )

    def _follow(self, job: Job, spec: PredictSpec, turns: Turns) -> None:
        order = job.order
        with closing(
            predict(list(map(str, order.slides)), order.model, job.out, spec, self._warm)
        ) as events:
            while not job.cancelled.is_set():
                with turns.turn():
                    event = next(events, None)
                if event is None:
                    return
                job.note(event)
        if not job.has_finished:
            job.end("cancelled", EXIT_STOPPED)


def _with_mask(order: JobOrder, scratch: Path) -> PredictSpec:
    """Return the order's spec, its mask that came with the request written to a file."""
    if not order.mask:
        return order.spec
    path = scratch / "mask.geojson"
    path.write_text(order.mask, encoding="utf-8")
    return replace(order.spec, mask=path)
