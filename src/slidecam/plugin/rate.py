"""How fast tiles come and how long the rest will take, pauses left out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MINUTE, HOUR = 60, 3600


class Rate:
    """A stopwatch for tiles.

    Parameters
    ----------
    clock
        Seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = self._told = clock()
        self._done_before = 0

    def start(self, done: int) -> None:
        """Count from now on; ``done`` tiles were there already."""
        self._began, self._done_before = self._clock(), done

    def is_due(self, every: float) -> bool:
        """Whether ``every`` seconds have passed since this was last so."""
        now = self._clock()
        if now - self._told < every:
            return False
        self._told = now
        return True

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Leave the time out that passes meanwhile."""
        start = self._clock()
        try:
            yield
        finally:
            self._began += self._clock() - start

    def at(self, done: int, total: int) -> tuple[float, float]:
        """Return tiles per second, and seconds until ``total`` (infinite if none is done yet)."""
        per_second = (done - self._done_before) / max(self._clock() - self._began, 1e-6)
        return per_second, (total - done) / per_second if per_second > 0 else float("inf")


def duration(seconds: float) -> str:
    """Return seconds as a person says them: ``42 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds == float("inf"):
        return "unknown"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
