"""Many requests at once, good and bad, are all answered, and leave nothing behind."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from itertools import cycle, islice
from typing import TYPE_CHECKING

import httpx
import psutil

from stopping import PATIENCE

from .conftest import picture

if TYPE_CHECKING:
    from .conftest import Running

WAVE = 120
"""`benchmarks/server.py` sends a thousand."""


async def send(client: httpx.AsyncClient, kind: str) -> tuple[str, int]:
    """Send one request; return its kind and the answer's status."""
    answer = await {
        "picture": lambda: client.post("/v1/image?methods=gradcam%2B%2B", content=picture()),
        "no picture": lambda: client.post("/v1/image", content=b"no picture"),
        "too large": lambda: client.post("/v1/image", content=bytes(400_000)),
        "stranger": lambda: client.get("/v1/status", headers={"Authorization": "Bearer wrong"}),
        "status": lambda: client.get("/v1/status"),
        "no job": lambda: client.get("/v1/jobs/none/events"),
        "wrong job": lambda: client.post("/v1/jobs", json={"slides": ["/etc/passwd"]}),
        "page": lambda: client.get("/page/app.js"),
    }[kind]()
    return kind, answer.status_code


EXPECTED = {
    "picture": {200, 503},
    "no picture": {415, 503},
    "too large": {413},
    "stranger": {401},
    "status": {200},
    "no job": {404},
    "wrong job": {403},
    "page": {200},
}


async def wave(server: Running, count: int) -> list[tuple[str, int]]:
    """Send so many requests at once, each on a connection of its own."""
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, limits=limits, timeout=PATIENCE, trust_env=False
    ) as client:
        return await asyncio.gather(
            *(send(client, kind) for kind in islice(cycle(EXPECTED), count))
        )


def test_a_flood_is_answered_and_leaves_no_file_thread_or_place_taken(server: Running) -> None:
    asyncio.run(wave(server, 60))
    before = files(), threads()
    answers = asyncio.run(wave(server, WAVE))
    assert len(answers) == WAVE
    unexpected = Counter(answer for answer in answers if answer[1] not in EXPECTED[answer[0]])
    assert not unexpected
    assert ("picture", 200) in answers
    with server.client() as client:
        assert client.post("/v1/image", content=picture()).status_code == 200
    assert files() <= before[0] + 2
    assert threads() <= before[1]


def threads() -> int:
    """Return how many threads there are, without the server's pools, which grow to their bounds."""
    names = [thread.name for thread in threading.enumerate()]
    return sum("AnyIO" not in name and "slidecam-opening" not in name for name in names)


def files() -> int:
    """Return how many files and sockets are open."""
    process = psutil.Process()
    return process.num_handles() if hasattr(process, "num_handles") else process.num_fds()
