"""Single tiles that a person put right by clicking on them, kept beside the run they are of.

``corrections.json`` is a list of changes, each of some tiles to one class, or to none. It is read
again, added to and replaced in one step under a lock for every change: it is never half-written,
and two windows on one run lose nothing to each other. It names the slide and the grid it is of, and
every tile by its box as well.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge
from filelock import Timeout

from slidecam.errors import RunMismatchError, StoreError, UsageError
from slidecam.files import write_json
from slidecam.locks import FolderLock
from slidecam.parsing import json_in
from slidecam.settings import NotTakenError, taken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.runs import Run

CORRECTIONS_FILE = "corrections.json"
LOCK_FILE = ".corrections.lock"
Tiles = tuple[tuple[Annotated[int, Ge(0)], int, int, int, int], ...]
"""The row of each tile of a change, and its box."""

FORMAT, VERSION = "slidecam-corrections", 1

WAIT_SECONDS = 10.0
"""How long a change waits for another program that writes."""

MOVE_AWAY = "Move it away to begin anew; it was not touched."

Change = dict[str, Any]


@dataclass(frozen=True, eq=False)
class SavedCorrections:
    """What a file of corrections says, whatever run it is of.

    Attributes
    ----------
    path
        The file.
    slide
        Fingerprint of the slide.
    boxes
        int64, (M, 4), level-0 pixels: the tiles that are corrected as it stands.
    names
        The class of each.
    """

    path: Path
    slide: str
    boxes: NDArray[np.int64]
    names: tuple[str, ...]


class Corrections:
    """The corrected tiles of one run; what a method changed is on disk when it returns.

    Make one with `Corrections.open`.

    Attributes
    ----------
    path
        ``corrections.json`` in the run's folder. It is there once something has been corrected.
    """

    def __init__(self, run: Run) -> None:
        self.path = run.folder / CORRECTIONS_FILE
        self._run = run
        self._changes: list[Change] = []

    @classmethod
    def open(cls, run: Run) -> Corrections:
        """Return the corrections beside a run, as many as there are.

        Raises
        ------
        RunMismatchError
            If the file there is of another slide or of other tiles.
        StoreError
            If it cannot be read.
        """
        corrections = cls(run)
        corrections._changes = corrections._read()
        return corrections

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labels(self) -> Mapping[int, str]:
        """The class of each corrected tile, by its row, as it stands."""
        labels: dict[int, str | None] = {}
        for change in self._changes:
            labels.update(dict.fromkeys(_rows_of(change), change["class"]))
        return MappingProxyType(
            {row: name for row, name in sorted(labels.items()) if name is not None}
        )

    @property
    def counts(self) -> Mapping[str, int]:
        """How many tiles were put to each class."""
        return MappingProxyType(dict(sorted(Counter(self.labels.values()).items())))

    def set(self, rows: int | Sequence[int], class_name: str) -> None:
        """Say of tiles which class they are, one of the classifier's or a new one.

        Raises
        ------
        UsageError
            If there is no such tile, or the class has no name.
        RunMismatchError, StoreError
            See `open`; StoreError also if another program holds the file, or it cannot be written.
        """
        if not class_name.strip():
            raise UsageError("a class without a name was given.", "Name the class.")
        self._add({"class": class_name, "tiles": self._tiles(rows)})

    def clear(self, rows: int | Sequence[int]) -> None:
        """Take back what was said of tiles; raises as `set` does."""
        self._add({"class": None, "tiles": self._tiles(rows)})

    def undo(self) -> tuple[int, ...]:
        """Take the last change back and return the rows of its tiles.

        None where there is nothing to undo.
        """
        with self._alone():
            self._changes = self._read()
            if not self._changes:
                return ()
            *kept, last = self._changes
            self._write(kept)
        return _rows_of(last)

    def _tiles(self, rows: int | Sequence[int]) -> list[list[int]]:
        wanted = np.atleast_1d(np.asarray(rows, np.int64))
        if not len(wanted) or wanted.min() < 0 or wanted.max() >= len(self._run):
            raise UsageError(
                f"there is no tile {wanted.tolist()[:3]}.",
                f"The run's tiles are 0 to {len(self._run) - 1}.",
                self._run.folder,
            )
        tiles: list[list[int]] = np.column_stack([wanted, self._run.tiles.boxes[wanted]]).tolist()
        return tiles

    def _add(self, change: Change) -> None:
        with self._alone():
            self._write([*self._read(), change])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            lock = FolderLock.take(self._run.folder / LOCK_FILE, WAIT_SECONDS)
        except Timeout as error:
            raise StoreError(
                self.path,
                "another program holds the corrections.",
                "Close it there, then try again.",
            ) from error
        with lock:
            yield

    def _read(self) -> list[Change]:
        if not self.path.exists():
            return []
        record = _read_file(self.path)
        if record["identity"] != self._run.identity:
            of = "other tiles of this slide"
            if record["slide"] != self._run.fingerprint:
                of = f"another slide, {record.get('slide_name')}"
            raise RunMismatchError(self.path, f"these corrections are of {of}.", MOVE_AWAY)
        changes: list[Change] = record["changes"]
        return changes

    def _write(self, changes: list[Change]) -> None:
        record = {
            "format": FORMAT,
            "version": VERSION,
            "slide_name": self._run.slide,
            "slide": self._run.fingerprint,
            "identity": self._run.identity,
            "changes": changes,
        }
        try:
            write_json(self.path, record, indent=1)
        except OSError as error:
            raise StoreError(
                self.path,
                f"the corrections cannot be written: {error}.",
                "Make room, or let it be written.",
            ) from error
        self._changes = changes


def read_corrections(path: Path) -> SavedCorrections:
    """Read a file of corrections, of whatever run.

    Raises
    ------
    StoreError
        If it cannot be read or is something else.
    """
    record = _read_file(path)
    labels: dict[tuple[int, ...], str | None] = {}
    for change in record["changes"]:
        labels.update((tuple(tile[1:]), change["class"]) for tile in change["tiles"])
    known = {box: name for box, name in labels.items() if name is not None}
    boxes = np.array(list(known), np.int64).reshape(-1, 4)
    return SavedCorrections(path, str(record["slide"]), boxes, tuple(known.values()))


def beside(
    run: Run,
    corrections: Corrections | Path | None,
    *,
    wanted: bool,
) -> Corrections | Path | None:
    """Return the corrections that are named, or else, if ``wanted``, those beside the run.

    None if there are none.
    """
    if corrections is None and wanted and (run.folder / CORRECTIONS_FILE).exists():
        return Corrections.open(run)
    return corrections


def _rows_of(change: Change) -> tuple[int, ...]:
    return tuple(int(tile[0]) for tile in change["tiles"])


def _read_file(path: Path) -> dict[str, Any]:
    try:
        record = json_in(path)
    except (OSError, ValueError) as error:
        raise StoreError(path, f"the corrections cannot be read: {error}.", MOVE_AWAY) from error
    if (
        not isinstance(record, dict)
        or record.get("format") != FORMAT
        or record.get("version") != VERSION
    ):
        raise StoreError(path, f"this is no {FORMAT} of version {VERSION}.", MOVE_AWAY)
    try:
        for change in record["changes"]:
            taken(change["tiles"], Tiles)
            taken(change["class"], str | None)
        slide, identity = taken(record["slide"], str), taken(record["identity"], str)
    except (KeyError, TypeError, NotTakenError) as error:
        problem = "the corrections are damaged: a change is not whole."
        raise StoreError(path, problem, MOVE_AWAY) from error
    return {**record, "slide": slide, "identity": identity}
