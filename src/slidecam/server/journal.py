"""What a job has told so far, for those who listen from the start and those who come later."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

BEAT_SECONDS = 15.0
"""After so long a silence a listener gets an empty line, so that a dead connection shows."""

EVERY_SECONDS = 0.25
"""How often batches are told of: nobody reads faster, and a slide has thousands."""


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
        self._told_batch = 0.0
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
        if now - self._told_batch < EVERY_SECONDS:
            return True
        self._told_batch = now
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
