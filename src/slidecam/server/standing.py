"""Which file lies under a name: what tells it from one that takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Standing = tuple[int, int, int, int]
"""A file system, a file in it, its bytes, and when it was written last, in nanoseconds."""


def standing_of(path: Path) -> Standing | None:
    """Return what tells a file or folder from one that takes its place; None where there is none.

    A copy has another one, and so has a file that was written to.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
