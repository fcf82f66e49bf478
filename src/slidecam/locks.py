"""Folders that one process at a time works in: by a lock that the system drops with its process.

Locks help and are no condition: where a file system has none (NFS without lockd, some FUSE), work
goes on without, and says so.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from slidecam.errors import RunExistsError, UsageError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

LOCK_FILE = ".lock"
"""In a folder that one process at a time may work in."""

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""Numbers of errors by which a file system says that it has no locks."""


@dataclass(frozen=True)
class FolderLock:
    """The right to work in a folder, until it is released or this process ends.

    Attributes
    ----------
    lock
        What keeps others out.
    note
        That nothing does, in words, where the file system has no locks; else empty.
    """

    lock: FileLock
    note: str = ""

    @classmethod
    def take(cls, path: Path, seconds: float = 0) -> FolderLock:
        """Take it by a lock of this name, waiting for so long.

        Raises
        ------
        Timeout
            If another process holds it all the time.
        OSError
            If the lock cannot be made.
        """
        lock = FileLock(path, timeout=seconds, thread_local=False)
        try:
            lock.acquire()
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            where = f"The file system of {path.parent} has no locks ({os.strerror(error.errno)})"
            return cls(lock, f"{where}: see that no other slidecam works there meanwhile.")
        return cls(lock)

    def release(self) -> None:
        """Let others in."""
        self.lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()


def lock_folder(folder: Path, problem: str) -> FolderLock:
    """Keep other processes out of a folder until the lock is released or this process ends.

    The folder is made if it is not there.

    Parameters
    ----------
    folder
        The folder of ``--out``.
    problem
        What is wrong where another process holds it, as a sentence.

    Raises
    ------
    RunExistsError
        If another process holds it.
    UsageError
        If the folder cannot be made or written in.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FolderLock.take(folder / LOCK_FILE)
    except Timeout as error:
        remedy = "Wait until it is done, or choose another --out."
        raise RunExistsError(folder, problem, remedy) from error
    except OSError as error:
        problem = f"--out {folder} cannot be made or written in: {error.strerror or error}."
        remedy = "Name a folder that may be written, or that can be made."
        raise UsageError(problem, remedy) from error
