"""A first look at files that may not answer: a share that is gone, an archive on tape.

Folders are searched on the thread that everything waits for. One file that holds it would hold up
all slides, so that each is looked at on a thread that is left behind where it does not come back.
"""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

LOOK_SECONDS = 60.0
"""How long the first bytes of a file may take."""


class _Looks:
    """The thread that looks, and the files that gave no answer: nobody waits for those again."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._pool = self._fresh()
        self._silent: set[Path] = set()

    @staticmethod
    def _fresh() -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "slidecam-look")

    def look(self, path: Path, work: Callable[[Path], T]) -> T:
        if path in self._silent:
            raise _no_answer(path)
        with self._guard:
            looking = self._pool.submit(work, path)
            if wait([looking], LOOK_SECONDS).not_done:
                self._silent.add(path)
                self._pool.shutdown(wait=False)
                self._pool = self._fresh()
                raise _no_answer(path)
        return looking.result()


def _no_answer(path: Path) -> OSError:
    return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), str(path))


@cache
def _looks_of(_process: int) -> _Looks:
    return _Looks()


def at_first_look(path: Path, work: Callable[[Path], T]) -> T:
    """Return what ``work`` gives of a file, where the file answers.

    Parameters
    ----------
    path
        The file.
    work
        Reads its beginning; it runs on another thread.

    Raises
    ------
    OSError
        ETIMEDOUT if there was no answer for `LOOK_SECONDS`, now or before.
    """
    return _looks_of(os.getpid()).look(path, work)
