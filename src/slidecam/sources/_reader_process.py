"""A process that opens one slide after another for its owner, and may die without it.

Started as ``python -m slidecam.sources._reader_process``, so that no script of a user's is imported
again. It ends when its owner does, however that ends, and leaves nothing behind.
"""

from __future__ import annotations

import math
import mmap
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from slidecam.sources._reader_messages import (
    ARENA_BYTES,
    NotRead,
    Opened,
    Reply,
    Request,
    receive,
    send,
)
from slidecam.sources.opening import open_source
from slidecam.sources.source import Source

if TYPE_CHECKING:
    from io import RawIOBase

    from numpy.typing import NDArray

    from slidecam.geometry import LevelBox
    from slidecam.sources._dicom_frames import Frame
    from slidecam.viewing import VolumeView

THREADS = 32
"""Questions that are worked on at a time, at most."""

IDLE_SECONDS = 120.0
"""After so long without a slide the process ends; its owner starts another when it needs one."""

_LEAST_MEMORY = 4 * 2**30
_PART_OF_MEMORY = 4
_SACRIFICED = "800"
"""Of 1,000: how much sooner than others Linux ends this process where memory runs out."""


class Reading:
    """The slide that is open here, and the memory that its pixels go through.

    Its methods are the verbs of a `Request`.
    """

    def __init__(self, arena: mmap.mmap) -> None:
        self._pixels = np.frombuffer(arena, np.uint8)
        self._source: Source | None = None
        self.idle_since = time.monotonic()

    def open(
        self,
        folder: str,
        path: str,
        reader: str | None,
        view: VolumeView,
        content: bytes | None,
    ) -> Opened | NotRead:
        """Open a slide as from ``folder``, where the owner is; a volume is left to the owner."""
        self.idle_since = math.inf
        os.chdir(folder)
        try:
            source = open_source(path, reader, view, content)
        except BaseException:
            self.idle_since = time.monotonic()
            raise
        if source.facts.stack is not None:
            source.let_go()
            self.idle_since = time.monotonic()
            return NotRead()
        self._source = source
        is_sparse = type(source)._is_absent is not Source._is_absent  # noqa: SLF001  (a Source's own)
        return Opened(source.facts, source.seen, source.token, is_sparse)

    @property
    def source(self) -> Source:
        """The slide that is open."""
        assert self._source is not None  # noqa: S101  (for the type checker: `open` comes first)
        return self._source

    def read(self, level: int, box: LevelBox, plane: int, place: int) -> NDArray[np.uint8] | None:
        """Put pixels into the shared memory at ``place``, or return them where that is negative."""
        pixels = self.source.read(level, box, plane=plane)
        if place < 0:
            return pixels
        shared = self._pixels[place : place + pixels.size]
        shared.reshape(pixels.shape)[:] = pixels
        return None

    def is_absent(self, level: int, box: LevelBox) -> bool:
        """Return what the source says."""
        return self.source.is_absent(level, box)

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Return what the source does."""
        return self.source.associated_image(name)

    def color_profile(self) -> bytes | None:
        """Return what the source does."""
        return self.source.color_profile()

    def decode_frame(self, frame: Frame) -> NDArray[np.generic]:
        """Return the intensities of one frame of DICOM."""
        self.idle_since = time.monotonic()
        # lazy on purpose: pydicom and its codecs are loaded for DICOM alone
        from slidecam.sources._dicom_pixels import decoded  # noqa: PLC0415

        return decoded(frame)

    def close(self) -> str:
        """Let the slide go, and return what its reader raised meanwhile, in words."""
        source, self._source = self.source, None
        self.idle_since = time.monotonic()
        return source.let_go()

    @property
    def is_idle(self) -> bool:
        """Whether nobody has had a slide open for long."""
        waited = time.monotonic() - self.idle_since
        return self._source is None and waited > IDLE_SECONDS


class _Service:
    """Answers questions, each on a thread of its own, so that regions are read side by side."""

    def __init__(self, reading: Reading, replies: RawIOBase) -> None:
        self._reading, self._replies = reading, replies
        self._guard = Lock()
        self._pool = ThreadPoolExecutor(THREADS, "reader")

    def answer(self, requests: RawIOBase) -> None:
        """Answer until there is nobody who could ask."""
        with suppress(EOFError):
            while True:
                self._pool.submit(self._work, receive(requests))

    def _work(self, request: Request) -> None:
        reply = self._replied(request)
        # An owner that is gone ends this process by its closed end of the other pipe.
        with suppress(OSError), self._guard:
            send(self._replies, reply)

    def _replied(self, request: Request) -> Reply:
        try:
            value: Any = getattr(self._reading, request.verb)(*request.given)
        # The boundary of one question: whatever a reader raises is the owner's to hear.
        except Exception as error:  # noqa: BLE001
            return Reply.of_error(request.number, error)
        return Reply(request.number, value)


def main() -> None:
    """Serve the process that started this one, until it ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        # What is sent to all processes of a terminal or a job is for the owner to heed.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    requests, replies = _own_streams()
    _take_less_than_all()
    reading = Reading(shared_arena(sys.argv[1]))
    Thread(target=_end_when_idle, args=(reading,), daemon=True).start()
    _Service(reading, replies).answer(requests)
    # At once: a thread that reads may never come back.
    os._exit(0)


def shared_arena(name: str) -> mmap.mmap:
    """Return the memory shared with the owner: a file's number, on Windows a name."""
    if sys.platform == "win32":
        return mmap.mmap(-1, ARENA_BYTES, tagname=name)
    return mmap.mmap(int(name), ARENA_BYTES)


def _own_streams() -> tuple[RawIOBase, RawIOBase]:
    """Return the pipes from and to the owner; what libraries print goes to the errors instead."""
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return cast("RawIOBase", requests), cast("RawIOBase", replies)


def _take_less_than_all() -> None:
    """Have this process fail before the machine does, where a file wants all of its memory."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_SACRIFICED, encoding="ascii")
    if sys.platform != "win32":
        # lazy on purpose: Windows has no such module
        import resource  # noqa: PLC0415

        limit = memory_limit()
        _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def memory_limit() -> int:
    """Return how many bytes a reader's process may take: a quarter of the machine's, or 4 GiB."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return _LEAST_MEMORY
    return max(_LEAST_MEMORY, machine // _PART_OF_MEMORY)


def _end_when_idle(reading: Reading) -> None:
    while not reading.is_idle:
        time.sleep(IDLE_SECONDS / 10)
    os._exit(0)


if __name__ == "__main__":
    main()
