"""The file by which other programs find a running server: only its user can read it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT, VERSION = "slidecam-server", 1
VARIABLE = "SLIDECAM_SERVER_FILE"
"""Environment variable that names the file, where the usual place will not do."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens, and what it must be told.

    Attributes
    ----------
    url
        ``http://127.0.0.1:PORT``.
    token
        For ``Authorization: Bearer …``.
    pid, slidecam, started
        Which process of which version, since when.
    """

    url: str
    token: str
    pid: int
    slidecam: str
    started: str


def endpoint_path(
    environment: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> Path:
    """Return where the file lies: the user's own folder for what programs keep between two runs."""
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    return _state_folder(environment, platform) / "slidecam" / "server.json"


def _state_folder(environment: Mapping[str, str], platform: str) -> Path:
    if platform == "win32":
        return Path(environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def write_endpoint(path: Path, endpoint: Endpoint) -> None:
    """Write the file in one step, readable by nobody else from its first byte on."""
    record = {"format": FORMAT, "version": VERSION, **asdict(endpoint)}
    with replacing(path) as fresh:
        # Windows knows no such bits: there the user's profile is closed to other users.
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)


def read_endpoint(path: Path) -> Endpoint | None:
    """Return what the file says, or None where there is none that this version understands."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
        if (record["format"], record["version"]) != (FORMAT, VERSION):
            return None
        return Endpoint(**{name: record[name] for name in Endpoint.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_endpoint(path: Path, endpoint: Endpoint) -> None:
    """Remove the file if it is still this server's."""
    if read_endpoint(path) == endpoint:
        path.unlink(missing_ok=True)
