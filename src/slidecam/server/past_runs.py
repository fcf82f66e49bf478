"""Runs that lie on disk: of jobs before this start, of the command line, of napari.

They are found under the folder of results and the roots, and looked at as a job that has ended is.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from slidecam.runs import RunRecord
from slidecam.server.job import report_link
from slidecam.server.progress import Journal
from slidecam.server.standing import standing_of
from slidecam.store import RUN_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slidecam.server.folders import Roots
    from slidecam.server.standing import Standing

DEEPEST = 4
"""Folders within each other that are searched: a root, a cohort, its results, a slide."""

MOST_FOLDERS, MOST_SECONDS = 5_000, 3.0
"""A search ends there, and says so: a root may be an archive."""

MOST_RUNS = 500
EVERY_SECONDS = 3.0
"""How long a search is good: each open page asks."""


@dataclass(frozen=True, eq=False)
class PastRun:
    """One slide's run in its folder; it has ended as far as this server is concerned.

    Attributes
    ----------
    folder, recorded
        Of the slide, and what its run says.
    outputs
        Folders that it may be read in.
    id, key
        What it is called here; and what a link to its report needs to know.
    """

    folder: Path
    recorded: RunRecord
    outputs: Roots
    id: str
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def out(self) -> Path:
        """The folder of results."""
        return self.folder.parent

    @property
    def name(self) -> str:
        """The slide's name."""
        return self.folder.name

    @property
    def slide_path(self) -> str:
        """Where the slide was; a relative path counts from where the run was made."""
        return str(Path(self.recorded.made_in or "", self.recorded.input.path))

    @property
    def status(self) -> str:
        """How it stands, in the words of jobs; ``unfinished``: stopped, or at work elsewhere."""
        if self.recorded.status == "running":
            return "unfinished"
        return self.recorded.status

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return True

    @property
    def journal(self) -> Journal:
        """What would be told of it: that its slide was begun, and that it ended."""
        journal = Journal(2)
        um = None
        if self.recorded.spacing is not None:
            um = self.recorded.spacing.spacing.mean
        tiles = self.tiles
        planned = {"event": "Planned", "slide": self.name, "path": self.slide_path}
        journal.write({**planned, "tiles": tiles, "pending": 0, "spacing": um})
        journal.write({"event": "JobEnded", "status": self.status, "exit_code": None}, last=True)
        return journal

    @property
    def tiles(self) -> int:
        """How many tiles it has come to an end with."""
        if self.recorded.outcome is None:
            return 0
        counts = self.recorded.outcome.tiles
        return counts.get("done", 0) + counts.get("failed", 0)

    def cancel(self) -> None:
        """Leave it as it is: whoever is at work on it is not here."""

    def place(self) -> Path:
        """Return where its results lie, every link followed; RequestError as of a job."""
        return self.outputs.allowed(str(self.out)).resolve()

    def live(self, _name: str) -> None:
        """Return nothing: whoever is at work on it is not here."""

    def standing(self, _name: str) -> Standing | None:
        """Return nothing: which file it was is known by its fingerprint alone."""
        return None

    def slide_records(self) -> list[dict[str, Any]]:
        """Return what is known of its slide."""
        reason, remedy = "", ""
        if self.recorded.outcome is not None:
            reason, remedy = self.recorded.outcome.reason, self.recorded.outcome.remedy
        return [
            {
                "slide": self.name,
                "path": self.slide_path,
                "status": self.status,
                "folder": str(self.folder),
                "tiles": self.tiles,
                "reason": reason,
                "remedy": remedy,
            }
        ]

    def slide_record(self, name: str) -> dict[str, Any] | None:
        """Return what is known of its slide; None of another."""
        if name != self.name:
            return None
        return self.slide_records()[0]

    def record(self) -> dict[str, Any]:
        """Return what a client sees of it, as of a job."""
        here, ended = f"/v1/jobs/{self.id}", ""
        error = None
        if self.recorded.outcome is not None:
            ended = self.recorded.outcome.finished
            if self.status == "failed":
                outcome = self.recorded.outcome
                error = {"error": outcome.reason, "remedy": outcome.remedy}
        return {
            "id": self.id,
            "status": self.status,
            "slides": [self.slide_path],
            "out": str(self.out),
            "model": self.recorded.bundle.name,
            "model_digest": self.recorded.bundle.digest,
            "created": self.recorded.started,
            "started": self.recorded.started,
            "ended": ended or None,
            "exit_code": None,
            "progress": {
                "slide": self.name,
                "done": self.tiles,
                "total": self.tiles,
                "slides_done": 1,
                "slides_total": 1,
            },
            "events": f"{here}/events",
            "result": f"{here}/result",
            "report": report_link(self),
            "error": error,
        }


class PastRuns:
    """The runs on disk, searched for again after a while.

    Parameters
    ----------
    folders
        Where they are searched for.
    """

    def __init__(self, folders: Roots) -> None:
        self._folders = folders
        self._known: dict[Path, tuple[Standing | None, PastRun]] = {}
        self._by_id: dict[str, PastRun] = {}
        self._searched = -EVERY_SECONDS
        self._ended_early = False
        self._lock = Lock()

    def all(self) -> tuple[list[PastRun], bool]:
        """Return the runs, the newest first, and whether the search ended before all was seen."""
        with self._lock:
            if time.monotonic() - self._searched >= EVERY_SECONDS:
                self._search()
                self._searched = time.monotonic()
            runs = sorted(self._by_id.values(), key=lambda run: run.recorded.started, reverse=True)
            return runs, self._ended_early

    def find(self, name: str) -> PastRun | None:
        """Return a run by its id; None where there is none."""
        with self._lock:
            if name not in self._by_id:
                self._search()
            return self._by_id.get(name)

    def by_key(self, key: str) -> PastRun | None:
        """Return the run whose results a link names."""
        with self._lock:
            for run in self._by_id.values():
                if secrets.compare_digest(run.key.encode(), key.encode()):
                    return run
        return None

    def _search(self) -> None:
        known, by_id = {}, {}
        walk = _Walk()
        for root in self._folders.resolved:
            for folder in walk.runs_in(root, 0):
                standing = standing_of(folder / RUN_FILE)
                before, run = self._known.get(folder, (None, None))
                if run is None or before != standing:
                    run = self._read(folder, run)
                if run is not None:
                    known[folder], by_id[run.id] = (standing, run), run
        self._known, self._by_id, self._ended_early = known, by_id, walk.ended_early

    def _read(self, folder: Path, before: PastRun | None) -> PastRun | None:
        record = RunRecord.find(folder)
        if record is None:
            return None
        name = sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:16]
        key = before.key if before is not None else secrets.token_urlsafe(24)
        return PastRun(folder, record, self._folders, f"past-{name}", key)


class _Walk:
    """A search through folders that ends in time; what is a run, or hidden, is not searched."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + MOST_SECONDS
        self._folders = self._runs = 0
        self.ended_early = False

    def runs_in(self, folder: Path, depth: int) -> Iterator[Path]:
        """Yield the folders of slides' runs below a folder."""
        self._folders += 1
        over = self._folders > MOST_FOLDERS or self._runs > MOST_RUNS
        if over or time.monotonic() > self._deadline:
            self.ended_early = True
            return
        try:
            with os.scandir(folder) as entries:
                inner = sorted(entry.name for entry in entries if _is_searched(entry))
        except OSError:
            return
        if (folder / RUN_FILE).is_file():
            self._runs += 1
            yield folder
            return
        if depth < DEEPEST:
            for name in inner:
                yield from self.runs_in(folder / name, depth + 1)


def _is_searched(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder that may hold runs; links are not followed."""
    if entry.name.startswith(".") or entry.name.endswith(".zarr"):
        return False
    return entry.is_dir(follow_symlinks=False)
