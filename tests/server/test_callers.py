"""What nobody waits for any more is not begun, or given up in the middle: a tile, a mask, a job."""

from __future__ import annotations

import json
import socket
from queue import Queue
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.server import deepzoom
from slidecam.server.callers import Caller, CallerLeftError
from slidecam.server.deepzoom import DeepZoom
from slidecam.server.job_requests import JobDefaults
from slidecam.server.service import TILE_THREADS, Service
from stopping import PATIENCE, gate_before

from .test_pictures import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    import numpy as np
    from numpy.typing import NDArray

    from conftest import MakeSource
    from slidecam.geometry import LevelBox
    from slidecam.server.job import Job

    from .conftest import Running


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Event:
    """Return what is set once a caller has left."""
    found, leave = Event(), Caller.leave

    def left(caller: Caller) -> None:
        leave(caller)
        found.set()

    monkeypatch.setattr(Caller, "leave", left)
    return found


def sent(server: Running, method: str, path: str, body: bytes = b"") -> socket.socket:
    """Send a request and return its connection, on which nobody reads."""
    line = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), PATIENCE)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {server.url[7:]}\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    line.sendall(head.encode() + body)
    return line


def test_a_tile_that_is_made_by_quarters_is_given_up_between_two_of_them(
    array_source: MakeSource,
    noise: Callable[[int, int], NDArray[np.uint8]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deepzoom, "MOST_READ", 300 * 300)
    source, caller = array_source(noise(4500, 1100)), Caller()
    DeepZoom(source).tile(12, 0, 0, caller=caller)
    whole = len(source.decoded)
    source.decoded.clear()
    decode = type(source)._decode

    def decode_and_leave(source: Any, level: int, box: LevelBox) -> NDArray[np.uint8]:
        caller.leave()
        return decode(source, level, box)

    monkeypatch.setattr(type(source), "_decode", decode_and_leave)
    with pytest.raises(CallerLeftError):
        DeepZoom(source).tile(12, 0, 0, caller=caller)
    assert 0 < len(source.decoded) <= whole / 4


def test_a_tile_whose_caller_left_while_it_waited_is_not_cut(
    client: httpx.Client, server: Running, left: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = {"path": str(server.root / "small.tif")}
    slide = client.get("/v1/slides/open", params=path).json()
    going, cut = Event(), []
    tile, threads = DeepZoom.tile, server.service.tile_threads

    def counted(zoom: DeepZoom, *place: Any) -> NDArray[np.uint8]:
        cut.append(place[:3])
        return tile(zoom, *place)

    monkeypatch.setattr(DeepZoom, "tile", counted)
    taken = [threads.submit(going.wait, PATIENCE) for _thread in range(TILE_THREADS)]
    tiles = f"/v1/slides/{slide['id']}_files"
    line = sent(server, "GET", f"{tiles}/0/0_0.jpeg")
    wait_until(lambda: threads._work_queue.qsize() == 1)
    line.close()
    assert left.wait(PATIENCE)
    going.set()
    assert all(one.result() for one in taken)
    assert client.get(f"{tiles}/1/0_0.jpeg").status_code == 200
    assert cut == [(1, 0, 0)]


def test_a_job_with_a_mask_whose_sender_left_meanwhile_is_not_put_in_line(
    client: httpx.Client, server: Running, left: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: Queue[Exception | None] = Queue()
    submit = Service.submit

    def kept(service: Service, *given: Any) -> Job:
        try:
            job = submit(service, *given)
        except CallerLeftError as error:
            outcomes.put(error)
            raise
        outcomes.put(None)
        return job

    monkeypatch.setattr(Service, "submit", kept)
    ring = [[0, 0], [300, 0], [300, 300], [0, 0]]
    mask = {"type": "Polygon", "coordinates": [ring]}
    order = {"slides": [str(server.root / "small.tif")], "options": {"mask": mask}}
    before = client.get("/v1/jobs").json()["jobs"]
    with gate_before(JobDefaults, "job_of", 1) as gate:
        line = sent(server, "POST", "/v1/jobs", json.dumps(order).encode())
        gate.wait_reached()
        line.close()
        assert left.wait(PATIENCE)
        gate.open()
        assert isinstance(outcomes.get(timeout=PATIENCE), CallerLeftError)
    after = client.get("/v1/jobs").json()["jobs"]
    assert [job["id"] for job in after] == [job["id"] for job in before]
