"""Processes and threads that stop at a call which a test names, and wait there.

A test that kills, interrupts or cancels must not race what it stops: however fast the one and slow
the other, it comes between two steps that the test has chosen.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PATIENCE = 180
"""Seconds until a test that waits for what never comes is given up; no test depends on it."""

REACHED = "the process waits where the test wanted it\n"

Stop = tuple[str, int]
"""A function, as ``package.module:name`` of where it is called, and the number of one of its calls.

Calls are counted once the stop before it is reached.
"""


@contextmanager
def stopped_process(
    arguments: list[str], *stops: Stop, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command until it is about to make the call that the last of ``stops`` names.

    There it waits until something is written to its input or that is closed. Whatever is left of it
    at the end is killed.

    Raises
    ------
    AssertionError
        If it ends before it gets there.
    """
    with subprocess.Popen(  # noqa: S603  (our own interpreter)
        [sys.executable, __file__, json.dumps(stops), *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert REACHED in process.stdout, f"it ended early: {process.stderr.read()}"
            yield process
        finally:
            process.kill()


class Gate:
    """Where a thread waits until a test lets it go on."""

    def __init__(self) -> None:
        self._reached, self._open = Event(), Event()

    def wait_reached(self) -> None:
        """Return once a thread waits here."""
        assert self._reached.wait(PATIENCE), "nobody came to the gate"

    def is_reached(self) -> bool:
        """Whether a thread waits here or has passed."""
        return self._reached.is_set()

    def open(self) -> None:
        """Let everybody pass, now and later."""
        self._open.set()

    def hold(self) -> None:
        """Wait here, if it is not open."""
        self._reached.set()
        self._open.wait()


@contextmanager
def gate_before(owner: Any, name: str, call: int) -> Iterator[Gate]:
    """Hold the thread that makes so many a call of ``owner``'s function until the gate is opened.

    It is open at the end.
    """
    gate, function, calls = Gate(), getattr(owner, name), count(1)

    @wraps(function)
    def gated(*args: Any, **options: Any) -> Any:
        if next(calls) == call:
            gate.hold()
        return function(*args, **options)

    with patch.object(owner, name, gated):
        try:
            yield gate
        finally:
            gate.open()


def _wait() -> None:
    sys.stdout.write(REACHED)
    sys.stdout.flush()
    sys.stdin.readline()


class _Way:
    """The stops that are still ahead."""

    def __init__(self, stops: list[Stop]) -> None:
        self._ahead = stops
        self._calls = 0

    def watch(self, place: str) -> None:
        """Count the calls of a function."""
        module, _, path = place.partition(":")
        *owners, name = path.split(".")
        owner: Any = import_module(module)
        for each in owners:
            owner = getattr(owner, each)
        setattr(owner, name, self._counted(place, getattr(owner, name)))

    def _counted(self, place: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def counted(*args: Any, **options: Any) -> Any:
            if self._ahead and self._ahead[0][0] == place:
                self._count()
            return function(*args, **options)

        return counted

    def _count(self) -> None:
        self._calls += 1
        if self._calls < self._ahead[0][1]:
            return
        del self._ahead[0]
        self._calls = 0
        if not self._ahead:
            _wait()


def main() -> None:
    """Run the command that follows the stops on the command line."""
    del sys.path[0]  # this folder: its rooms bear the names of modules of others
    # Where the tests run in a shell's background, or by nohup, all that they start ignores these.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    stops: list[Stop] = [(place, number) for place, number in json.loads(sys.argv.pop(1))]
    way = _Way(stops)
    for place in sorted({place for place, _number in stops}):
        way.watch(place)
    run: Callable[[], None] = import_module("slidecam.cli").main
    run()


if __name__ == "__main__":
    main()
