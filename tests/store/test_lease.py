"""Leases: one owner at a time, as long as it lives."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from run_files import fill_memory
from slidecam.errors import RunExistsError
from slidecam.objects import Location
from slidecam.store import lease as lease_module
from slidecam.store.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder() -> Iterator[Location]:
    """Return an empty folder."""
    yield Location("memory://leases/S1")
    fill_memory({})


def content(folder: Location) -> dict[str, object]:
    (name,) = folder.children()
    return dict(json.loads((folder / name).read()))


def test_of_many_who_try_at_once_one_has_it(folder: Location) -> None:
    def tried(_number: int) -> Lease | None:
        try:
            return Lease.take(folder)
        except RunExistsError:
            return None

    with ThreadPoolExecutor(8) as pool:
        (held,) = filter(None, pool.map(tried, range(8)))
    held.release()
    assert folder.children() == {}
    Lease.take(folder).release()


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ({"process": "1 another boot 5"}, True),
        ({"host": "elsewhere"}, False),
        ({"host": "elsewhere", "heartbeat": 1.5}, True),
        ({"heartbeat": 1.5}, False),
    ],
)
def test_a_lease_ends_with_its_process_or_its_heartbeat(
    folder: Location, change: dict[str, object], *, free: bool
) -> None:
    held = Lease.take(folder)
    (name,) = folder.children()
    (folder / name).write(json.dumps({**content(folder), **change}).encode())
    if free:
        second = Lease.take(folder)
        assert list(folder.children()) == [".lease-2"]
        second.release()
    else:
        with pytest.raises(RunExistsError) as refused:
            Lease.take(folder)
        assert refused.value.claimed
    held.release()


def test_an_owner_says_that_it_lives_and_learns_that_it_lost(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT", 0.01)
    held = Lease.take(folder)
    before = content(folder)["heartbeat"]
    end = time.monotonic() + 60
    while content(folder)["heartbeat"] == before and time.monotonic() < end:
        time.sleep(0.01)
    assert content(folder)["heartbeat"] != before
    held.check()
    (folder / ".lease-2").write(b"{}")
    while not held._lost and time.monotonic() < end:
        time.sleep(0.01)
    with pytest.raises(RunExistsError):
        held.check()
    held.release()
    assert ".lease-2" in folder.children()
