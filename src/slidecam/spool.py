"""Temporary files that volumes are unpacked into, and what clears up after processes that died.

A process that is killed cannot remove its own; the next one that unpacks a volume does it. What is
in use is known by a lock, so that folders may be shared by containers and machines.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from slidecam.locks import FolderLock
from slidecam.system_errors import naming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOCK = ".lock"
_UNLOCKED = (OSError, Timeout)
"""What locking raises: another process holds it, or there can be none."""


class Spool:
    """A fresh temporary file that only its user may read; OSError where there can be none.

    Attributes
    ----------
    path
        Of it.
    """

    def __init__(self) -> None:
        _clear_abandoned()
        handle, name = tempfile.mkstemp(prefix=f"slidecam-{os.getpid()}-", suffix=".raw")
        os.close(handle)
        self.path = Path(name)
        self._lock: FolderLock | None = None
        with suppress(*_UNLOCKED):
            self._lock = FolderLock.take(Path(f"{name}{_LOCK}"))

    @contextmanager
    def writing(self) -> Iterator[Callable[[bytes], int]]:
        """Give a function that appends bytes and returns how many; its errors name the file."""
        stream = self.path.open("wb")

        def write(piece: bytes) -> int:
            with naming(self.path):
                return stream.write(piece)

        try:
            yield write
            with naming(self.path):
                stream.flush()
        finally:
            # What is left in the buffer of a full disk is thrown away with the file.
            with suppress(OSError):
                stream.close()

    def remove(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()
        _remove(f"{self.path}{_LOCK}")


def remove_spools(process: int) -> None:
    """Remove the temporary files of a process that ends, as far as they may be."""
    for path in Path(tempfile.gettempdir()).glob(f"slidecam-{process}-*.raw*"):
        _remove(path)


def _clear_abandoned() -> None:
    """Remove what processes have left that are no more."""
    for lock in Path(tempfile.gettempdir()).glob(f"slidecam-*.raw{_LOCK}"):
        with suppress(*_UNLOCKED):
            with FolderLock.take(lock) as abandoned:
                if abandoned.note:  # nobody can say whose it is
                    return
                _remove(str(lock).removesuffix(_LOCK))
            _remove(lock)


def _remove(path: str | Path) -> None:
    with suppress(OSError):
        Path(path).unlink(missing_ok=True)
