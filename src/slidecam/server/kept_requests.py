"""What jobs were sent for, kept beside their results: to be continued after an end or a restart."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from slidecam.files import replacing
from slidecam.parsing import json_of, unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOLDER = ".requests"
"""Below the folder of results, hidden: a mask that was sent is in it."""

MOST = 200


class KeptRequests:
    """Requests by the folder that their results lie in.

    Parameters
    ----------
    home
        The server's folder of results.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    def keep(self, name: str, out: Path, request: Mapping[str, Any]) -> None:
        """Keep what a job of this name was sent for; the oldest ones are forgotten.

        Where it cannot be kept, the job goes on all the same, and cannot be continued from here.
        """
        record = {**request, "out": str(out)}
        with suppress(OSError):
            with replacing(self._folder / f"{name}.json.gz") as fresh:
                content = json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace")
                fresh.write_bytes(gzip.compress(content, 3))
                fresh.chmod(0o600)
            for old in sorted(self._folder.glob("*.json.gz"))[:-MOST]:
                old.unlink(missing_ok=True)

    def find(self, out: Path, slide: str) -> dict[str, Any] | None:
        """Return the newest request for a slide whose results lie in ``out``; None of none."""
        for path in sorted(self._folder.glob("*.json.gz"), reverse=True):
            with suppress(OSError, ValueError, TypeError, KeyError):
                record = json_of(unpacked(path.read_bytes()))
                if record["out"] == str(out) and slide in record["slides"]:
                    return dict(record)
        return None
