"""How far a job has come: its events, line by line, and the tiles of the slide at work.

Both are kept for those who listen from the start and for those who come later. The tiles are kept
from the run's own events: reading the store while another thread writes it would, on Windows,
hinder it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import StoreError, UsageError
from slidecam.runs import Run
from slidecam.runs.tiles import TileTable
from slidecam.store import Status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.classes import ClassSet
    from slidecam.events import BatchDone, Planned

BEAT_SECONDS = 15.0
"""After so long a silence a listener gets an empty line, so that a dead connection shows."""

EVERY_SECONDS = 0.25
"""How often batches are written down: nobody reads faster, and a slide has thousands."""


class Journal:
    """Numbered JSON lines, written by a job's thread and followed by any number of listeners.

    Listeners sleep until there is something to read.

    Parameters
    ----------
    most
        Lines that are kept; the oldest are forgotten first.
    """

    def __init__(self, most: int) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=most)
        self._next = 1
        self._ended = False
        self._last_batch = 0.0
        self._lock = Lock()
        self._listeners: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def write(self, record: Mapping[str, Any], *, last: bool = False) -> None:
        """Add a line and wake the listeners; after the ``last`` one nothing more comes."""
        if self._too_soon(record):
            return
        with self._lock:
            line = json.dumps({"seq": self._next, **record}, ensure_ascii=False, default=str)
            self._lines.append((self._next, line))
            self._next += 1
            self._ended = self._ended or last
            listeners = list(self._listeners)
        for loop, event in listeners:
            loop.call_soon_threadsafe(event.set)

    def _too_soon(self, record: Mapping[str, Any]) -> bool:
        if record["event"] != "BatchDone" or record["done"] >= record["total"]:
            return False
        now = time.monotonic()
        if now - self._last_batch < EVERY_SECONDS:
            return True
        self._last_batch = now
        return False

    def _after(self, seq: int) -> tuple[list[tuple[int, str]], bool]:
        with self._lock:
            return [line for line in self._lines if line[0] > seq], self._ended

    async def follow(self, after: int) -> AsyncGenerator[tuple[int, str] | None]:
        """Yield number and text of every line after ``after`` until the last.

        None where it was quiet for long.
        """
        listener = asyncio.get_running_loop(), asyncio.Event()
        self._listeners.add(listener)
        try:
            while True:
                listener[1].clear()
                lines, ended = self._after(after)
                for line in lines:
                    yield line
                    after = line[0]
                if ended:
                    return
                if not lines and not await _woken(listener[1]):
                    yield None
        finally:
            self._listeners.discard(listener)


async def _woken(event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(BEAT_SECONDS):
            await event.wait()
    except TimeoutError:
        return False
    return True


class LiveTiles:
    """Boxes and probabilities of the tiles that have a result, in the order in which they came.

    Attributes
    ----------
    slide
        Whose.
    """

    def __init__(
        self,
        slide: str,
        classes: ClassSet,
        boxes: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        planes: NDArray[np.int64],
    ) -> None:
        self.slide, self._classes = slide, classes
        self._boxes, self._probabilities, self._planes = (
            [boxes],
            [probabilities],
            [planes],
        )
        self._lock = Lock()

    @classmethod
    def of(cls, planned: Planned, folder: Path, classes: ClassSet) -> LiveTiles:
        """Return the tiles that a run has when it begins.

        Those of an earlier one that it continues.
        """
        empty = (
            np.zeros((0, 4), np.int64),
            np.zeros((0, len(classes)), np.float32),
            np.zeros(0, np.int64),
        )
        if planned.pending < planned.tiles:
            try:
                run = Run.open(folder)
            except (StoreError, UsageError):
                return cls(planned.slide, classes, *empty)
            done = run.tiles.done
            boxes, probabilities = run.tiles.boxes[done], run.tiles.probabilities[done]
            return cls(planned.slide, classes, boxes, probabilities, run.plane_numbers[done])
        return cls(planned.slide, classes, *empty)

    def add(self, event: BatchDone) -> None:
        """Take in one batch."""
        with self._lock:
            self._boxes.append(event.boxes)
            self._probabilities.append(event.probabilities)
            self._planes.append(
                np.zeros(len(event.boxes), np.int64) if event.planes is None else event.planes
            )

    def table(self) -> tuple[TileTable, NDArray[np.int64]]:
        """Return them as a table, what could not be read as failed.

        And the plane of a volume that each is on.
        """
        with self._lock:
            boxes, probabilities = (
                np.concatenate(self._boxes),
                np.concatenate(self._probabilities),
            )
            planes = np.concatenate(self._planes)
            self._boxes, self._probabilities, self._planes = (
                [boxes],
                [probabilities],
                [planes],
            )
        known = np.isfinite(probabilities).all(axis=1)
        status = np.where(known, np.uint8(Status.DONE), np.uint8(Status.FAILED))
        return TileTable(boxes, status, probabilities, self._classes), planes
