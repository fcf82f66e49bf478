"""How a command ends that is asked to."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.cli.stopping import Stopping, heeded

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


@pytest.fixture
def _heard() -> Iterator[None]:
    stopping = Stopping()
    before = signal.signal(signal.SIGINT, stopping._interrupt)
    yield
    signal.signal(signal.SIGINT, before)
    stopping._heard.close()
    stopping._signals.close()


@pytest.mark.usefixtures("_heard")
def test_an_interrupt_that_a_library_swallows_stops_the_run_at_the_next_event() -> None:
    closed: list[bool] = []

    def run() -> Generator[Any]:
        try:
            yield from range(9)
        finally:
            closed.append(True)

    events: Generator[Any] = heeded(run())
    assert [next(events), next(events)] == [0, 1]
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert not closed
    with pytest.raises(KeyboardInterrupt):
        next(events)
    assert closed


def test_a_run_that_nobody_stops_is_shown_to_its_end() -> None:
    events: Any = (each for each in (3, 5, 7))
    shown: list[Any] = [*heeded(events)]
    assert shown == [3, 5, 7]
