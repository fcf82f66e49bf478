"""A job's journal is told from any place, to many, without anybody looking again and again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.server import progress as module
from slidecam.server.devices import FairLock
from slidecam.server.progress import Journal

if TYPE_CHECKING:
    import pytest


async def read(journal: Journal, after: int = 0) -> list[dict[str, Any] | None]:
    return [None if line is None else json.loads(line[1]) async for line in journal.follow(after)]


def test_lines_are_numbered_and_told_to_those_who_come_late() -> None:
    journal = Journal(10)
    for name in ("Planned", "Warned"):
        journal.write({"event": name})
    journal.write({"event": "JobEnded"}, last=True)
    told = asyncio.run(read(journal, after=1))
    assert told == [{"seq": 2, "event": "Warned"}, {"seq": 3, "event": "JobEnded"}]


def test_listeners_are_woken_from_another_thread() -> None:
    journal = Journal(100)

    def write() -> None:
        for index in range(50):
            journal.write({"event": "Warned", "index": index})
        journal.write({"event": "JobEnded"}, last=True)

    async def listen() -> list[list[dict[str, Any] | None]]:
        thread = threading.Thread(target=write)
        listeners = [asyncio.create_task(read(journal)) for _listener in range(5)]
        await asyncio.sleep(0)
        thread.start()
        told = list(await asyncio.gather(*listeners))
        thread.join()
        return told

    told = asyncio.run(listen())
    assert all([line["seq"] for line in one if line] == list(range(1, 52)) for one in told)
    assert not journal._listeners


def test_silence_is_told_so_that_a_dead_connection_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)

    async def first() -> object:
        lines = Journal(10).follow(0)
        found = await anext(lines)
        await lines.aclose()
        return found

    assert asyncio.run(first()) is None


def test_batches_are_told_of_now_and_then_and_the_last_always(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter(np.arange(1, 100, 0.1))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    journal = Journal(1000)
    for done in range(1, 24):
        journal.write({"event": "BatchDone", "done": done, "total": 23})
    journal.write({"event": "JobEnded"}, last=True)
    told = [line["done"] for line in asyncio.run(read(journal)) if line and "done" in line]
    assert told == [1, 4, 7, 10, 13, 16, 19, 22, 23]


def test_the_oldest_lines_are_forgotten_first() -> None:
    journal = Journal(3)
    for _line in range(9):
        journal.write({"event": "Warned"})
    journal.write({"event": "JobEnded"}, last=True)
    assert [line["seq"] for line in asyncio.run(read(journal)) if line] == [8, 9, 10]


def test_a_device_is_given_in_the_order_in_which_it_was_asked_for() -> None:
    lock, order = FairLock(), []
    queue = lock._queue = Announced()

    def greedy() -> None:
        for _batch in range(3):
            with lock.held():
                order.append("job")
                queue.both.wait()

    def once() -> None:
        with lock.held():
            order.append("picture")

    job, picture = threading.Thread(target=greedy), threading.Thread(target=once)
    job.start()
    queue.one.wait()
    picture.start()
    job.join()
    picture.join()
    assert order == ["job", "picture", "job", "job"]


class Announced(deque[object]):
    """A queue that tells when one stands in it, and when two do."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.both = threading.Event(), threading.Event()

    def append(self, ticket: object) -> None:
        """Let somebody stand in line."""
        super().append(ticket)
        self.one.set()
        if len(self) > 1:
            self.both.set()
