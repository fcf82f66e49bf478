"""Work on a thread for a caller who may leave: what nobody waits for is not begun, or given up."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from starlette.requests import Request

Result = TypeVar("Result")


class CallerLeftError(Exception):
    """Whoever wanted an answer waits for it no more."""


class Caller:
    """Somebody who waits for an answer."""

    def __init__(self) -> None:
        self._left = Event()

    def leave(self) -> None:
        """Wait no more."""
        self._left.set()

    def stays(self) -> None:
        """Return where the caller still waits, else raise `CallerLeftError`."""
        if self._left.is_set():
            raise CallerLeftError


async def answered(request: Request, threads: Executor, work: Callable[[Caller], Result]) -> Result:
    """Return what ``work`` returns on one of the threads.

    Parameters
    ----------
    request
        Whose body has been read.
    threads
        Where it is done.
    work
        Looks from step to step whether its caller `Caller.stays`; it is not begun at all where
        that one leaves before.

    Raises
    ------
    ClientDisconnect
        At once when the caller leaves.
    """
    caller = Caller()
    working: asyncio.Future[Result] = asyncio.wrap_future(threads.submit(work, caller))
    leaving: asyncio.Future[None] = asyncio.ensure_future(_left(request))
    both: set[asyncio.Future[Any]] = {working, leaving}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        leaving.cancel()
        if not working.done():
            caller.leave()
            working.cancel()


async def _left(request: Request) -> None:
    """Return once the caller has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
