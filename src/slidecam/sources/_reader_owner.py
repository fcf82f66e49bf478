"""The owner's end of a reader's process: started, asked, given up, and kept for the next slide."""

from __future__ import annotations

import atexit
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from queue import LifoQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import numpy as np

from slidecam.sources._reader_messages import (
    ARENA_BYTES,
    SLOT_BYTES,
    SLOTS,
    Reply,
    Request,
    receive,
    send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import RawIOBase

    from numpy.typing import NDArray

_MODULE = "slidecam.sources._reader_process"
_LAST_WORDS = 2000
"""Bytes of what a process printed last that are looked at."""

_MOST_SLIDES = 500
"""Slides that one process reads, so that what a library leaks does not add up."""

_MOST_IDLE = 4
"""Processes that are kept for the next slide: as many as threads open pictures to learn from."""

REAP_SECONDS = 5.0

ANSWER_SECONDS = 900.0
"""How long one question may take where nobody says: a share that is gone never answers it."""


class ReaderEndedError(Exception):
    """A reader's process ended, in words; ``silent`` where it gave no answer in time."""

    def __init__(self, words: str, *, silent: bool = False) -> None:
        super().__init__(words)
        self.silent = silent


class ReaderProcess:
    """One process that reads slides; OSError where none can be started.

    Attributes
    ----------
    pixels
        uint8, (`ARENA_BYTES`,): the memory that is shared with it.
    places
        Where it finds packages, other packages' readers among them.
    """

    def __init__(self) -> None:
        self.places = _import_places()
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the process)
        try:
            self._arena, self._process = self._started()
        except OSError:
            self._words.close()
            raise
        self._stdin = cast("RawIOBase", self._process.stdin)
        self._stdout = cast("RawIOBase", self._process.stdout)
        self.pixels = np.frombuffer(self._arena, np.uint8)
        # The last one that was used is taken first: its memory is there already.
        self._slots: LifoQueue[int] = LifoQueue()
        for slot in range(SLOTS):
            self._slots.put(slot * SLOT_BYTES)
        self._guard = Lock()
        self._numbers = count()
        self._waiting: dict[int, Future[Any]] = {}
        self._ended, self._silent = "", False
        self.slides = 0
        # Not of those that a command waits for at its end: it ends by itself with the process.
        Thread(target=self._listen, name="reader-replies", daemon=True).start()

    def _started(self) -> tuple[mmap.mmap, subprocess.Popen[bytes]]:
        if sys.platform == "win32":
            name = uuid4().hex
            arena = mmap.mmap(-1, ARENA_BYTES, tagname=name)
            return arena, self._run(name, creationflags=subprocess.CREATE_NO_WINDOW)
        handle = _unnamed_memory()
        try:
            arena = mmap.mmap(handle, ARENA_BYTES)
            return arena, self._run(str(handle), pass_fds=(handle,), start_new_session=True)
        finally:
            os.close(handle)

    def _run(self, arena: str, **given: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401  (Popen's)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(self.places)}
        return subprocess.Popen(  # noqa: S603  (our own module, by this interpreter)
            [sys.executable, "-P", "-m", _MODULE, arena],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            bufsize=0,
            env=environment,
            **given,
        )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether nothing can be asked any more."""
        return bool(self._ended) or self._process.poll() is not None

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._waiting)

    def ask(self, verb: str, *given: object, seconds: float) -> Any:  # noqa: ANN401  (as the verb has it)
        """Return the answer to one question.

        Raises
        ------
        ReaderEndedError
            If the process ended before, or while it worked on it; or gave no answer in time, and
            is ended for it.
        Exception
            Whatever the reader raised.
        """
        answer: Future[Reply] = Future()
        with self._guard:
            if self._ended:
                raise self._end()
            number = next(self._numbers)
            self._waiting[number] = answer
            with suppress(OSError, ValueError):
                # Where nobody reads, `_listen` says so to all who wait.
                send(self._stdin, Request(number, verb, given))
        try:
            reply = answer.result(seconds)
        except TimeoutError as error:
            self.end("it gave no answer in time", silent=True)
            raise self._end() from error
        return reply.given()

    @contextmanager
    def slot(self) -> Iterator[int]:
        """Lend a place in the shared memory; whoever finds none waits for one."""
        place = self._slots.get()
        try:
            yield place
        finally:
            self._slots.put(place)

    def taken(self, place: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """Return a copy of what lies at a place of the shared memory."""
        size = int(np.prod(shape))
        return self.pixels[place : place + size].reshape(shape).copy()

    def end(self, words: str = "it was ended", *, silent: bool = False) -> None:
        """End the process at once; whoever waits for an answer hears that there will be none."""
        self._silent = silent
        self._fail_all(words)
        with suppress(OSError):
            self._process.kill()

    def _listen(self) -> None:
        """Hand out answers until the process ends."""
        with suppress(EOFError, OSError, ValueError):
            while True:
                reply: Reply = receive(self._stdout)
                with self._guard:
                    answer = self._waiting.pop(reply.number, None)
                if answer is not None:
                    answer.set_result(reply)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)
        self._fail_all(self._how_it_ended())
        for stream in (self._stdin, self._stdout, self._words):
            with suppress(OSError):
                stream.close()

    def _fail_all(self, words: str) -> None:
        with self._guard:
            self._ended = self._ended or words
            waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.set_exception(self._end())

    def _end(self) -> ReaderEndedError:
        return ReaderEndedError(self._ended, silent=self._silent)

    def _how_it_ended(self) -> str:
        """Return by which signal or code it ended, and the last line that it printed."""
        code = self._process.poll()
        words = f"exit code {code}"
        if code is not None and code < 0:
            words = signal.Signals(-code).name
        self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, self._words.tell() - _LAST_WORDS))
        said = self._words.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in said if line.strip()]
        return ": ".join([words, *lines[-1:]])


def is_reader() -> bool:
    """Whether this process is itself one that reads for another."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name == _MODULE


def _import_places() -> list[str]:
    """Return where this process finds packages; "" among them is wherever it is at the moment."""
    return [os.path.abspath(place) for place in sys.path if place]  # noqa: PTH100  (links stay)


def _unnamed_memory() -> int:
    """Return the handle of a file without a name, which is gone with those who hold it."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("slidecam")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.truncate(handle, ARENA_BYTES)
    return handle


class _Idle:
    """Processes without a slide: each took a second to start, and may read the next one."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._kept: list[ReaderProcess] = []

    def take(self) -> ReaderProcess:
        """Return one that is there, or a new one; OSError where none can be started."""
        with self._guard:
            while self._kept:
                kept = self._kept.pop()
                if not kept.has_ended and kept.places == _import_places():
                    return kept
                kept.end()
        return ReaderProcess()

    def put(self, process: ReaderProcess) -> None:
        """Keep a process for the next slide, or end it."""
        process.slides += 1
        with self._guard:
            if process.slides < _MOST_SLIDES and len(self._kept) < _MOST_IDLE:
                self._kept.append(process)
                return
        process.end()

    def end(self) -> None:
        """End all that are there."""
        with self._guard:
            kept, self._kept = self._kept, []
        for process in kept:
            process.end()


@cache
def _idle_of(owner: int) -> _Idle:
    idle = _Idle()

    def end() -> None:
        if os.getpid() == owner:
            idle.end()

    atexit.register(end)
    return idle


def idle_readers() -> _Idle:
    """Return the processes that this one keeps; one that was forked has none of its parent's."""
    return _idle_of(os.getpid())
