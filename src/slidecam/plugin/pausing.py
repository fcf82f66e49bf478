"""Work beside the window that can be paused and stopped from it. It knows no Qt."""

from __future__ import annotations

import time
from threading import Event as Flag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STOPS = (
    "It stops at the next batch when the window is closed, and what is done stays: “Run”, or"
    " --resume on the command line, goes on with it."
)
"""What becomes of a run with its window."""

PAUSE = 0.05
"""Seconds between two looks at whether a pause is over."""


class Pausable:
    """Work that looks between two steps at whether it is to pause, or to stop.

    Attributes
    ----------
    abandoned
        Whether whoever follows it is to end and listens no more: the viewer closes.
    """

    def __init__(self) -> None:
        self._stop, self._hold = Flag(), Flag()
        self.abandoned: Callable[[], bool] = lambda: False

    @property
    def is_to_stop(self) -> bool:
        """Whether it is to stop before the next batch."""
        return self._stop.is_set() or self.abandoned()

    @property
    def is_held(self) -> bool:
        """Whether it is to pause."""
        return self._hold.is_set()

    def stop(self) -> None:
        """Stop before the next batch; what is committed stays."""
        self._stop.set()
        self._hold.clear()

    def hold(self) -> None:
        """Pause before the next batch."""
        self._hold.set()

    def go_on(self) -> None:
        """End a pause."""
        self._hold.clear()

    def wait_while_held(self) -> None:
        """Wait until the pause is over, or the work is to stop."""
        while self.is_held and not self.is_to_stop:
            time.sleep(PAUSE)
