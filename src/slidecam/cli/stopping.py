"""How a command ends that is asked to: cleanly at first, at once the second time, and always.

Python runs its signal handlers on the main thread, which a read from a share that is gone may hold
for ever. A thread of its own therefore hears every signal too.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NoReturn, cast

from slidecam.cli.terminal import EXIT_PARTLY
from slidecam.spool import remove_spools

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

    from slidecam.events import Event

    Handler = Callable[[int, FrameType | None], None]

STOPS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Signals that end a command cleanly: Ctrl-C, a batch queue or QuPath, a terminal that closes."""

_HANG_UP = int(getattr(signal, "SIGHUP", 0))

OUR_THREADS = "slidecam-"
"""What the names of threads begin with that read and write."""

BLOCKED_SECONDS = 1.0
"""How long a command that is over waits for its threads, before it leaves without them."""

GLANCE_SECONDS = 0.5
"""How often a command that is asked to stop looks whether it does."""

HELD_SECONDS = 8.0
"""How long the main thread may be held, by a read or one long computation, before the command ends
without it."""

HELD = (
    "Stopped while a file, a server or a computation did not answer. Repeat the command with"
    " --resume.\n"
)


class Stopping:
    """The signals that ask this process to stop, heard on the main thread and beside it."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._heard, self._signals = socket.socketpair()

    def heed(self) -> None:
        """Take every signal that asks a command to stop, but for those that are ignored (nohup)."""
        self._signals.settimeout(0)
        signal.set_wakeup_fd(self._signals.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        for number in _numbers():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._interrupt)

    @property
    def is_stopping(self) -> bool:
        """Whether the main thread was asked to stop."""
        return self._begun.is_set()

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Stop cleanly, once: what follows is for `_listen`."""
        if self._begun.is_set():
            return
        self._begun.set()
        raise KeyboardInterrupt

    def _listen(self) -> None:
        """Leave without the main thread, if it is held or a second signal comes.

        A terminal that closes sends SIGHUP once itself and once through its shell: that is one.
        """
        first = self._next(None)
        held_until = time.monotonic() + HELD_SECONDS
        may_wake, own = True, False
        while True:
            again = self._next(GLANCE_SECONDS)
            if again == first and own:
                own = False
                continue
            if again and (again, first) != (_HANG_UP, _HANG_UP):
                leave_at_once(128 + again)
            if self._begun.is_set():
                continue
            if time.monotonic() > held_until:
                with suppress(OSError, ValueError):
                    sys.stderr.write(HELD)
                leave_at_once(EXIT_PARTLY)
            if may_wake:
                # A signal that came just before the main thread began to wait has woken nobody.
                may_wake, own = False, _wake_main(first)

    def _next(self, seconds: float | None) -> int:
        """Return the number of the next signal that asks to stop, or 0 if none comes in time.

        Those that others take meanwhile, as a server does while it serves, are theirs to heed.
        """
        self._heard.settimeout(seconds)
        while True:
            try:
                number = self._heard.recv(1)[0]
            except TimeoutError:
                return 0
            if number in _numbers() and signal.getsignal(number) == self._interrupt:
                return number


def heeded(events: Generator[Event]) -> Generator[Event]:
    """Yield a run's events until it is asked to stop; KeyboardInterrupt then.

    An interrupt that is raised in a destructor or a callback of garbage collection, as libraries
    have them, is swallowed by Python there: it is raised again at the next event.
    """
    with closing(events):
        for event in events:
            handler = signal.getsignal(signal.SIGINT)
            owner = getattr(handler, "__self__", None)
            if isinstance(owner, Stopping) and owner.is_stopping:
                raise KeyboardInterrupt
            yield event


def _wake_main(number: int) -> bool:
    """Send the main thread a signal again, so that its wait ends; whether that can be done here."""
    if not hasattr(signal, "pthread_kill"):
        return False
    with suppress(OSError):
        signal.pthread_kill(cast("int", threading.main_thread().ident), number)
        return True
    return False


def _numbers() -> list[int]:
    return [int(getattr(signal, name)) for name in STOPS if hasattr(signal, name)]


def leave_at_once(code: int) -> NoReturn:
    """End the process as it stands; what it had unpacked is removed."""
    remove_spools(os.getpid())
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def leave(code: int) -> NoReturn:
    """End the process of a command that is over, without what Python does at its own end.

    Python would wait for threads, and a share that is gone never answers them. And it takes torch
    apart, 4 seconds of a processor after a run of one small volume and over a minute at times.
    """
    for thread in threading.enumerate():
        if thread.name.startswith(OUR_THREADS):
            thread.join(BLOCKED_SECONDS)
            if thread.is_alive():
                leave_at_once(code)
    # Temporary folders and processes that were started are cleared away, as at any end.
    atexit._run_exitfuncs()  # noqa: SLF001  (Python has no public name for it)
    leave_at_once(code)
