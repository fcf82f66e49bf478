"""What the system refuses, by its error number: what is wrong in words, and what to do about it.

A full disk, a share that was mounted anew or a limit on open files is no damage of the file that
was being read, whatever library met it.
"""

from __future__ import annotations

import errno
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NO_THREAD = "can't start new thread"
"""What Python says, without a number, where a limit on processes or threads is met."""

UNMAPPED = "failed to map segment"
"""What the loader of libraries says where a limit on memory is met."""

_DEEPEST = 16
"""Causes behind an error that are looked at."""


@dataclass(frozen=True)
class SystemFault:
    """Why the system refused, as a sentence, and what to do about it."""

    problem: str
    remedy: str


_NO_ROOM = SystemFault(
    "There is no space left{where}",
    "Make room there, or have the folder on a larger disk.",
)
_TEMPORARY = SystemFault(
    "There is no space left in the temporary folder{where}",
    "Make room there, or name a larger folder in the variable TMPDIR.",
)
_TOO_MANY_FILES = SystemFault(
    "Too many files are open",
    "Allow more with `ulimit -n`.",
)
_NO_MEMORY = SystemFault(
    "The memory is used up",
    "Take a machine with more, or less at once: a smaller --batch or --memory, where there is one.",
)
_NO_LOCKS = SystemFault(
    "The file system has no locks{where}",
    "Have its locks switched on (NFS: lockd), or write to another folder and copy what is there.",
)
_THREADS = SystemFault(
    "The system starts no more threads",
    "Allow more (`ulimit -u`, or a container's limit on pids), or pass --workers 1 if known.",
)
_MAY_NOT = SystemFault("This may not be read or written{where}", "Allow it.")

_TABLE: Mapping[int, SystemFault] = MappingProxyType(
    {
        errno.ENOSPC: _NO_ROOM,
        getattr(errno, "EDQUOT", errno.ENOSPC): _NO_ROOM,
        errno.EFBIG: SystemFault(
            "A file grew beyond what is allowed{where}",
            "Raise the limit (`ulimit -f`) or take another file system.",
        ),
        errno.EIO: SystemFault(
            "The disk or share does not answer as it should (input/output error){where}",
            "Check the disk, cable or network; the file itself may be sound.",
        ),
        getattr(errno, "ESTALE", errno.EIO): SystemFault(
            "The share was taken away or mounted anew meanwhile (stale file handle){where}",
            "See that it is mounted.",
        ),
        errno.ETIMEDOUT: SystemFault(
            "The share or server did not answer in time{where}",
            "See that it can be reached.",
        ),
        errno.EMFILE: _TOO_MANY_FILES,
        errno.ENFILE: _TOO_MANY_FILES,
        errno.ENOMEM: _NO_MEMORY,
        errno.ENOLCK: _NO_LOCKS,
        errno.EROFS: SystemFault("The file system can only be read{where}", "Name another folder."),
        errno.EACCES: _MAY_NOT,
        errno.EPERM: _MAY_NOT,
    }
)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file that is written in an error of the system: writing and flushing name none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def system_fault(error: BaseException) -> SystemFault | None:
    """Return what the system refused behind an error, or None where it was none of its doing.

    The error, what it was raised from, and what it was raised upon are looked at.
    """
    for each in _chain(error):
        if isinstance(each, RuntimeError) and NO_THREAD in str(each):
            return _THREADS
        if not isinstance(each, OSError) or each.errno is None:
            continue
        if each.errno in _TABLE:
            return _worded(_TABLE[each.errno], each)
    return None


def call_fault(error: BaseException) -> SystemFault | None:
    """Return what the system refused a whole call: `system_fault`, and what means no memory."""
    fault = system_fault(error)
    if fault is not None:
        return fault
    for each in _chain(error):
        is_unmapped = isinstance(each, ImportError) and UNMAPPED in str(each)
        if is_unmapped or isinstance(each, MemoryError):
            return _NO_MEMORY
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    for _depth in range(_DEEPEST):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _worded(fault: SystemFault, error: OSError) -> SystemFault:
    name = error.filename
    if not isinstance(name, str | Path) or not str(name):
        return SystemFault(fault.problem.format(where=""), fault.remedy)
    place = Path(name)
    if fault is _NO_ROOM:
        place = place.parent
        if place == Path(tempfile.gettempdir()):
            fault = _TEMPORARY
    return SystemFault(fault.problem.format(where=f": {place}"), fault.remedy)
