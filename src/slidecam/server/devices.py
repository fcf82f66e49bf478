"""One thing at a time on a device, first come, first served; and a thread for each device."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class FairLock:
    """A lock that is fair to those who wait.

    A job that takes it again and again lets a picture in between two of its batches.

    Explanations hang hooks into the network for a while, so that nobody else may use it meanwhile.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until all who came before are done."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._queue[0] is ticket)
        try:
            yield
        finally:
            with self._changed:
                self._queue.popleft()
                self._changed.notify_all()


@dataclass
class Devices:
    """A lock and a thread for each device that was used."""

    _locks: dict[str, FairLock] = field(default_factory=dict)
    _threads: dict[str, ThreadPoolExecutor] = field(default_factory=dict)
    _guard: Lock = field(default_factory=Lock)

    def lock(self, device: str) -> FairLock:
        """Return the lock of a device."""
        with self._guard:
            return self._locks.setdefault(device, FairLock())

    def thread(self, device: str) -> ThreadPoolExecutor:
        """Return the thread that works off a device's jobs."""
        with self._guard:
            if device not in self._threads:
                self._threads[device] = ThreadPoolExecutor(1, f"slidecam-job-{device}")
            return self._threads[device]

    def close(self) -> None:
        """Wait for what is at work and let all threads end."""
        for thread in self._threads.values():
            thread.shutdown(wait=True, cancel_futures=True)
