"""Files that nobody but their user can read, from their first byte on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slidecam.files import replacing

if TYPE_CHECKING:
    from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a text in one step, readable by nobody else from its first byte on."""
    with replacing(path) as fresh:
        # Windows knows no such bits: there the user's profile is closed to other users.
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
