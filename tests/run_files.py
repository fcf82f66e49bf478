"""Every file of runs, on a drive or at a URL, as two calls that did the same leave them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fsspec.implementations.memory import MemoryFileSystem

from slidecam.objects import Location
from slidecam.reports.report import KEPT
from slidecam.sources.discovery import OF_ALL_SLIDES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

VOLATILE = {
    "started",
    "finished",
    "seconds",
    "machine",
    "resumed",
    "made_in",
}
"""What of run.json tells when and for how long."""


def files_of(out: Path) -> dict[str, bytes]:
    """Return every file of a run but those of all slides, times left out of its record."""
    found: dict[str, bytes] = {}
    for path in out.rglob("*"):
        if path.is_file() and path.name not in {".lock", KEPT, *OF_ALL_SLIDES}:
            found[path.relative_to(out).as_posix()] = comparable(path.name, path.read_bytes())
    return found


def files_at(url: str) -> dict[str, bytes]:
    """Return the same of a run at a URL."""
    found: dict[str, bytes] = {}
    for name in Location(url).files():
        if name not in OF_ALL_SLIDES:
            found[name] = comparable(name, (Location(url) / name).read())
    return found


def fill_memory(files: Mapping[str, Any]) -> None:
    """Let the store in memory hold these files and nothing else, folders without files neither."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    MemoryFileSystem.store.update(files)


def comparable(name: str, content: bytes) -> bytes:
    """Return a file's content without the times of a record."""
    if not name.endswith("run.json"):
        return content
    record = json.loads(content)
    kept = {key: value for key, value in record.items() if key not in VOLATILE}
    return json.dumps(kept, sort_keys=True).encode()
