"""Files and folders that appear whole or not at all.

Written beside their place, then moved into it.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from slidecam.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made or written in: before hours of work, not after.

    UsageError.
    """
    there = next((each for each in (path, *path.absolute().parents) if each.exists()), path)
    if not there.is_dir():
        raise UsageError(
            f"{there} is a file, and the output goes into a folder.", "Pass another --out."
        )
    if not os.access(there, os.W_OK):
        raise UsageError(f"{there} may not be written in.", "Pass another --out, or allow it.")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a fresh path beside ``path`` to write a file to.

    It takes the place of ``path`` in the end.

    Missing parent folders are made. After an error the old file is untouched and nothing else is
    left.
    """
    fresh = _beside(path)
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a fresh path beside ``path`` to write a folder to.

    It takes the place of ``path`` in the end.
    """
    fresh = _beside(path)
    try:
        yield fresh
        _swap(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, path: Path) -> None:
    # A folder cannot be replaced in one step: the old one is moved aside, and back if the new one
    # stays out.
    old = _beside(path)
    had_one = path.exists()
    if had_one:
        path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        if had_one:
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
