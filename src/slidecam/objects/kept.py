"""What was fetched from URLs and what is to be put there, in folders of this machine.

What was fetched is kept from one call to the next, within a limit. Each folder says of which URL it
is, so that no message and no record speaks of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil

from slidecam.errors import UsageError, without_secrets
from slidecam.objects.place import Location, all_at_once
from slidecam.parsing import whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable

CACHE_GB = 32.0
"""Of files that were fetched, by default."""

CACHE_FOLDER, CACHE_LIMIT = "SLIDECAM_CACHE", "SLIDECAM_CACHE_GB"
"""Variables of the environment: where they are kept, and how many gigabytes of them."""

ORIGIN = ".slidecam-origin"
"""File beside what was fetched, or is to be put, that says from or to which URL."""

_OF_FETCHED = re.compile(r"[0-9a-f]{32}")
"""What folders of what was fetched are called."""

_OWNER, _WORK, _PARTIAL = ".slidecam-owner", "work-", ".partial"
_SINCE = 19
"""Which field of a process's ``stat`` says when it began, from its name on."""

_KEPT_HERE = f"slidecam{os.sep}objects"


def fetched(url: str | Path) -> Path:
    """Return what lies at a URL as a file or folder of this machine.

    It is kept from one call to the next, as long as what lies there is the same by its etag, size
    and time of change, and as long as what is kept is not too large: what was used longest ago is
    let go of then.

    Raises
    ------
    UsageError
        If nothing lies there.
    StoreError
        If its server does not answer.
    """
    place = Location.of(url)
    identity, files = place.identity(), {}
    if identity is None:
        files = place.files()
        files.pop("", None)
        if not files:
            raise UsageError("There is no such file or folder.", "Check the URL.", str(place))
        identity = json.dumps(files)
    digest = sha256(f"{place}\n{identity}".encode()).hexdigest()[:32]
    kept = cache_folder() / digest
    local = kept / _name_here(str(place))
    if not local.exists():
        _remove_left(f".*{_PARTIAL}")
        _make_room()
        fresh = kept.with_name(f".{digest}.{uuid4().hex[:8]}{_PARTIAL}")
        try:
            _owned(fresh)
            _fetch(place, files, fresh / local.name)
            (fresh / ORIGIN).write_text(str(place), encoding="utf-8")
            (fresh / _OWNER).unlink()
            with suppress(OSError):  # another process was quicker
                fresh.rename(kept)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    os.utime(kept)
    return local


def _fetch(place: Location, files: Iterable[str], local: Path) -> None:
    if not files:
        place.get(local)
    all_at_once(partial((place / name).get, inside(local, name)) for name in files)


def inside(folder: Path, name: str) -> Path:
    """Return where a file of a folder at a URL lies here; UsageError for a name that leads out."""
    if ".." in PurePosixPath(name).parts or "\\" in name:
        problem = f"A file there is called {name}, which leads out of its folder."
        raise UsageError(problem, "Rename it.")
    return folder / name


def working_folder(url: str) -> Path:
    """Return a new folder of this machine for what is to be put to a URL.

    `let_go_of` it. Those of processes that were ended are removed.
    """
    _remove_left(f"{_WORK}*")
    above = cache_folder() / f"{_WORK}{uuid4().hex[:12]}"
    _owned(above)
    (above / ORIGIN).write_text(without_secrets(url), encoding="utf-8")
    folder = above / _name_here(without_secrets(url))
    folder.mkdir()
    return folder


def _owned(folder: Path) -> None:
    """Make a folder that is this process's as long as it lives."""
    folder.mkdir(mode=0o700)
    (folder / _OWNER).write_text(begun(os.getpid()), encoding="utf-8")


def _remove_left(pattern: str) -> None:
    """Remove folders of processes that were ended before they could."""
    for left in cache_folder().glob(pattern):
        with suppress(OSError):  # being made, or removed, by another process
            if not is_alive((left / _OWNER).read_text(encoding="utf-8")):
                shutil.rmtree(left, ignore_errors=True)


def let_go_of(folder: Path) -> None:
    """Remove a working folder."""
    shutil.rmtree(folder.parent, ignore_errors=True)


def begun(process: int) -> str:
    """Return a process of this machine with when it began; empty where there is none of that."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        space = Path(f"/proc/{process}/ns/pid").readlink()
    except OSError:
        return _begun_elsewhere(process)
    since = stat.rpartition(")")[2].split()[_SINCE]
    return f"{process} {boot} {space} {since}"


def _begun_elsewhere(process: int) -> str:
    # macOS and Windows. On Linux psutil reckons from the clock, which may be set meanwhile.
    try:
        return f"{process} {psutil.Process(process).create_time():.3f}"
    except psutil.Error:
        return ""


def is_alive(owner: str) -> bool:
    """Whether the process that `begun` spoke of still is; also where nobody can say."""
    process = whole_number(owner.partition(" ")[0])
    return process is None or begun(process) == owner


def _name_here(url: str) -> str:
    return Location(url).name or "bucket"


def cache_folder(kind: str = "") -> Path:
    """Return the folder of what was fetched, or of another kind, made for its user alone."""
    named = os.environ.get(CACHE_FOLDER)
    if named:
        folder = Path(named).absolute() / kind
    else:
        above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(above) / "slidecam" / (kind or "objects")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def said(text: str | Path) -> str:
    """Return a text with URLs in place of folders that hold what lies at them, or goes there."""
    text = str(text)
    if _KEPT_HERE not in text and CACHE_FOLDER not in os.environ:
        return text
    here = cache_folder()
    for name in set(re.findall(re.escape(f"{here}{os.sep}") + r"([\w-]+)", text)):
        with suppress(OSError):
            url = (here / name / ORIGIN).read_text(encoding="utf-8")
            text = text.replace(str(here / name / _name_here(url)), url)
    return text


def _is_fetched(folder: Path) -> bool:
    """Whether a folder is of what was fetched: others' may lie where a user keeps it."""
    return _OF_FETCHED.fullmatch(folder.name) is not None and (folder / ORIGIN).is_file()


def _make_room() -> None:
    """Remove what was fetched and used longest ago, if it is too much in all."""
    limit = CACHE_GB
    with suppress(ValueError):
        limit = float(os.environ.get(CACHE_LIMIT, CACHE_GB))
    kept: list[tuple[float, int, Path]] = []
    total = 0
    for folder in filter(_is_fetched, cache_folder().iterdir()):
        size = 0
        with suppress(OSError):  # removed by another process meanwhile
            for path in folder.rglob("*"):
                size += path.stat().st_size
            kept.append((folder.stat().st_mtime, size, folder))
        total += size
    for _used, size, folder in sorted(kept):
        if total <= limit * 1e9:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= size
