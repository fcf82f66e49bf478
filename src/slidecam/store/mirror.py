"""A folder of results in an object store: each slide's run is worked on here and mirrored there.

A run lies in a folder of this machine while it is worked on, no longer, and every batch is put
there as soon as it is committed, its status last, as on a drive; ``run.json`` is put after all that
it speaks of. So a process may end at any moment, and what lies there is what a killed process
leaves on a drive. Zarr itself never writes there: it would read every file again before it adds a
batch to it, and what draws outputs needs files of this machine.
"""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from slidecam.errors import RunExistsError
from slidecam.locks import LOCK_FILE
from slidecam.objects import (
    Location,
    all_at_once,
    as_given,
    inside,
    is_url,
    let_go_of,
    working_folder,
)
from slidecam.store.folder import RUN_FILE
from slidecam.store.lease import LEASE, LEASE_SECONDS, Lease
from slidecam.store.run_store import FAILURES_FOLDER, STORE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Stamp = tuple[int, int, int]
"""A file's time of change in ns, its size and its number: every new file has another one."""

WAIT = 0.5
"""Seconds after which it is looked again whether another process has done."""

OWN = "own"
"""Instead of the identity of what was put by this process, until it is listed."""

_STATUS = f"{STORE_FOLDER}/status/c"
_LAID_OUT = f"{STORE_FOLDER}/zarr.json"
_OF_RUN = (RUN_FILE, f"{STORE_FOLDER}/", f"{FAILURES_FOLDER}/")
_MAPS = f"{STORE_FOLDER}/maps/c"


class Mirror:
    """A slide's folder at a URL, and the folder of this machine that its run is worked on in.

    Several threads may use it; several machines each mirror the batches that are their own.

    Attributes
    ----------
    here, there
        Both of them.
    """

    def __init__(self, here: Path, there: Location) -> None:
        self.here, self.there = here, there
        self._lease: Lease | None = None
        self._guard = Lock()
        self._identities: dict[str, str] = {}
        self._stamps: dict[str, Stamp] = {}

    def begin(self, existing: str, *, alone: bool) -> None:
        """Fetch what is there, and keep other processes out until `release` if ``alone``.

        RunExistsError where one is at work.
        """
        if alone:
            self._lease = Lease.take(self.there)
        try:
            self.pull(existing)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others in, and remove the folder of this machine but for its ``run.json``."""
        self._identities.clear()
        self._stamps.clear()
        for path in self.here.glob("*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != RUN_FILE:
                path.unlink(missing_ok=True)
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()

    def pull(self, existing: str = "resume", *, maps: bool = True) -> None:
        """Fetch what others have put there since the last time.

        Of what is no part of the run's store, and of all but ``run.json`` where the run is not
        ``resume``d, empty files stand here: that it is there is all that is wanted of it.

        Parameters
        ----------
        existing
            What becomes of a run that is there.
        maps
            Whether the raw maps are fetched, which are most of a run.
        """
        with self._guard:
            listed = self.there.files()
            wanted = []
            for name, identity in listed.items():
                if self._identities.get(name) == identity or _is_lease(name):
                    continue
                if self._identities.get(name) == OWN:
                    self._identities[name] = identity
                    continue
                if name.startswith(_MAPS) and not maps:
                    continue
                wanted.append((name, identity))
            all_at_once(partial(self._fetch, *each, existing) for each in wanted)
            for name in set(self._identities) - set(listed):
                self._forget(name)

    def _fetch(self, name: str, identity: str, existing: str) -> None:
        local = inside(self.here, name)
        read = name.startswith(_OF_RUN) and (existing == "resume" or name == RUN_FILE)
        local.parent.mkdir(parents=True, exist_ok=True)
        try:
            if read:
                (self.there / name).get(local)
            else:
                local.touch()
        except FileNotFoundError:  # removed meanwhile
            return
        self._identities[name] = identity
        self._stamps[name] = _stamp(local)

    def _forget(self, name: str) -> None:
        (self.here / name).unlink(missing_ok=True)
        self._identities.pop(name, None)
        self._stamps.pop(name, None)

    def push(self) -> None:
        """Put what has changed here, and remove there what was removed here.

        A status goes after the numbers that it speaks of, and ``run.json`` after everything.

        Raises
        ------
        RunExistsError
            If another process has taken the slide over.
        StoreError
            If the server does not answer.
        """
        with self._guard:
            if self._lease is not None:
                self._lease.check()
            found = self._found()
            changed = [name for name, stamp in found.items() if self._stamps.get(name) != stamp]
            gone = [name for name in self._stamps if name not in found]
            # As it is now: other threads commit batches meanwhile, whose numbers may come too late.
            late = {name: (self.here / name).read_bytes() for name in changed if _is_late(name)}
            if gone and RUN_FILE in {*gone, *changed}:
                # Nothing is to be taken for done that is being taken away.
                (self.there / RUN_FILE).remove()
            all_at_once((self.there / name).remove for name in gone)
            early = [name for name in changed if name not in late]
            all_at_once(partial((self.there / name).put, self.here / name) for name in early)
            for name in sorted(late, key=_rank):
                (self.there / name).write(late[name])
            for name in gone:
                self._stamps.pop(name, None)
                self._identities.pop(name, None)
            for name in changed:
                self._stamps[name] = found[name]
                self._identities[name] = OWN

    def _found(self) -> dict[str, Stamp]:
        found: dict[str, Stamp] = {}
        for path in self.here.rglob("*"):
            name = path.relative_to(self.here).as_posix()
            with suppress(FileNotFoundError):  # replaced just now
                if path.is_file() and not any(map(_is_of_here, path.relative_to(self.here).parts)):
                    found[name] = _stamp(path)
        return found


def _stamp(path: Path) -> Stamp:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _is_lease(name: str) -> bool:
    return name.startswith(LEASE)


def _is_of_here(name: str) -> bool:
    """Whether a file is of this machine alone: a lock, or what is half-written."""
    return name == LOCK_FILE or name.endswith(".partial")


def _rank(name: str) -> int:
    """Return when a file is put: what speaks of others comes after them."""
    if name == RUN_FILE:
        return 3
    if name.startswith(_STATUS):
        return 2
    if name == _LAID_OUT:
        return 1
    return 0


def _is_late(name: str) -> bool:
    return _rank(name) > 0


class Outlet:
    """Where a call's outputs go: a folder of this machine, or one at a URL that is mirrored.

    Attributes
    ----------
    folder
        Of this machine; a working folder where the outputs go to a URL.
    shown
        Where the outputs go, as it may be written down.
    there
        The URL; None where they stay on this machine.
    """

    def __init__(self, folder: Path, there: Location | None = None) -> None:
        self.folder, self.there = folder, there
        self.shown = str(there or folder)

    @classmethod
    @contextmanager
    def of(cls, out: str | Path) -> Iterator[Outlet]:
        """Give the one of a folder or URL; what is of a URL leaves this machine in the end."""
        url = as_given(out)
        if not is_url(url):
            yield cls(Path(out))
            return
        folder = working_folder(url)
        try:
            yield cls(folder, Location.of(url))
        finally:
            let_go_of(folder)

    def slide(self, name: str) -> Mirror | None:
        """Return what mirrors a slide's folder; None where it stays on this machine."""
        if self.there is None:
            return None
        return Mirror(self.folder / name, self.there / name)

    def look(self, slides: Iterable[str], of_all: Iterable[str]) -> None:
        """Fetch what says how far others have come.

        Parameters
        ----------
        slides
            Names of slides, of whose folders ``run.json`` is fetched, and empty files stand for
            what else lies in them.
        of_all
            Names of files that are of all slides.

        Raises
        ------
        StoreError
            If the server does not answer.
        """
        if self.there is None:
            return
        known = self.there.children()
        for name, is_folder in known.items():
            if is_folder:
                inside(self.folder, name).mkdir(exist_ok=True)
        wanted = [name for name in of_all if name in known]
        all_at_once(partial((self.there / name).get, self.folder / name) for name in wanted)
        begun_ones = filter(known.__contains__, slides)
        all_at_once(partial(self._look_at, name) for name in begun_ones)

    def _look_at(self, slide: str) -> None:
        assert self.there is not None  # noqa: S101  (for the type checker: look asks)
        for name, is_folder in (self.there / slide).children().items():
            here = inside(self.folder / slide, name)
            if is_folder:
                here.mkdir(exist_ok=True)
            elif name == RUN_FILE:
                (self.there / slide / name).get(here)
            elif not _is_lease(name):
                here.touch()

    def shown_of(self, name: str) -> str:
        """Return where something in it is, as it may be written down."""
        if self.there is None:
            return str(self.folder / name)
        return f"{self.shown}/{name}"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other process at what is of all slides meanwhile, where that is at a URL."""
        if self.there is None:
            yield
            return
        end = time.monotonic() + LEASE_SECONDS
        while True:
            try:
                lease = Lease.take(self.there)
                break
            except RunExistsError:
                if time.monotonic() > end:
                    raise
                time.sleep(WAIT)
        try:
            yield
        finally:
            lease.release()

    def fetch(self, names: Iterable[str]) -> None:
        """Fetch files that are not here, where they are there."""
        if self.there is None:
            return
        lacking = [name for name in names if not (self.folder / name).exists()]
        all_at_once(partial(self._fetch, name) for name in lacking)

    def _fetch(self, name: str) -> None:
        assert self.there is not None  # noqa: S101  (for the type checker: fetch asks)
        with suppress(FileNotFoundError):
            (self.there / name).get(inside(self.folder, name))

    def put(self, names: Iterable[str]) -> None:
        """Put files that are of all slides, in this order; those that are not there are removed."""
        if self.there is None:
            return
        for name in names:
            if (self.folder / name).exists():
                (self.there / name).put(self.folder / name)
            else:
                (self.there / name).remove()
