"""The right to work on a slide's folder in an object store, which has no locks.

A lock on a drive ends with its process. Here an object does its work that names its owner and is
written anew as long as it lives.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from slidecam.errors import RunExistsError, StoreError
from slidecam.objects import Location, begun, is_alive
from slidecam.parsing import json_of

if TYPE_CHECKING:
    from collections.abc import Mapping

HEARTBEAT = 20.0
"""Seconds after which a lease is written anew."""

LEASE_SECONDS = 120.0
"""Seconds without that after which it is nobody's. Clocks that differ by less do no harm."""

LEASE = ".lease-"
"""How the objects of leases begin; the number after it grows with every takeover."""


class Lease:
    """The right to work on a slide, as long as its owner lives.

    Take one with `Lease.take`. The lease of the highest number counts, and only one of those who
    try at once can make it.
    """

    def __init__(self, place: Location, content: dict[str, Any]) -> None:
        self._place, self._content = place, content
        self._over = Event()
        self._lost = False
        self._thread = Thread(target=self._beat, name="slidecam-lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, folder: Location) -> Lease:
        """Take the lease of a slide's folder.

        Raises
        ------
        RunExistsError
            If another process holds it; it is ``claimed`` then.
        StoreError
            If the server does not answer.
        """
        before = _leases(folder)
        if before:
            _refuse_held(folder, before)
        number = max(before, default=0) + 1
        own: dict[str, Any] = {
            "owner": uuid4().hex,
            "host": socket.gethostname(),
            "process": begun(os.getpid()),
            "heartbeat": time.time(),
        }
        place = folder / f"{LEASE}{number}"
        try:
            place.write(_written(own), new=True)
        except FileExistsError as error:
            raise _claimed(folder) from error
        # Another one may have come and gone since we looked, and a third one be at work.
        others = {each: found for each, found in _leases(folder).items() if each != number}
        try:
            _refuse_held(folder, others)
        except RunExistsError:
            place.remove()
            raise
        for each in others:
            (folder / f"{LEASE}{each}").remove()
        return cls(place, own)

    def check(self) -> None:
        """Refuse to go on where another process has taken the lease over; RunExistsError."""
        if self._lost:
            raise _claimed(self._place)

    def release(self) -> None:
        """Let others in; that the server does not hear of it costs them the time of a lease."""
        self._over.set()
        self._thread.join()
        if not self._lost:
            with suppress(StoreError, OSError):
                self._place.remove()

    def _beat(self) -> None:
        folder, name = Location(self._place.url.rpartition("/")[0]), self._place.name
        number = int(name.removeprefix(LEASE))
        while not self._over.wait(HEARTBEAT):
            with suppress(StoreError, OSError):
                if max(_leases(folder), default=0) > number:
                    self._lost = True
                    return
                self._content["heartbeat"] = time.time()
                self._place.write(_written(self._content))


def _written(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _leases(folder: Location) -> dict[int, dict[str, Any]]:
    """Return the leases of a folder by their numbers."""
    found: dict[int, dict[str, Any]] = {}
    for name in folder.children():
        if name.startswith(LEASE):
            with suppress(FileNotFoundError, ValueError):  # let go of meanwhile; none of ours
                found[int(name.removeprefix(LEASE))] = dict(json_of((folder / name).read()))
    return found


def _refuse_held(folder: Location, leases: Mapping[int, Mapping[str, Any]]) -> None:
    if any(map(_is_held, leases.values())):
        raise _claimed(folder)


def _is_held(lease: Mapping[str, Any]) -> bool:
    """Whether a lease's owner lives: by its process on this machine, elsewhere by its heartbeat."""
    process = str(lease.get("process", ""))
    if process and lease.get("host") == socket.gethostname():
        return is_alive(process)
    return time.time() - float(lease.get("heartbeat", 0)) < LEASE_SECONDS


def _claimed(folder: Location) -> RunExistsError:
    problem = "Another slidecam is at work in this folder."
    remedy = "Wait until it is done, or choose another --out."
    error = RunExistsError(str(folder), problem, remedy)
    error.claimed = True
    return error
