"""What the server does under a thousand requests at once, good and bad, and what is left of them.

A real ``slidecam serve`` on the sample bundle is flooded wave by wave; its memory, files and
threads are looked at after each. It ends with what the process uses while nobody calls.

    python benchmarks/server.py --requests 1000 --waves 4
    python benchmarks/server.py --tiles slide.svs --clients 1,8 --rounds 5

The second measures the page's tiles beside a plain OpenSlide server's instead; see `tile_rates`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import psutil
from PIL import Image
from tile_rates import compare_tiles

from slidecam.server import Endpoint, read_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SAMPLE = Path(__file__).parents[1] / "sample_data"
IDLE_SECONDS = 20


def main() -> None:
    """Flood a server and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--waves", type=int, default=4)
    parser.add_argument("--tiles", type=Path, metavar="SLIDE")
    parser.add_argument("--clients", default="1,8")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    root = SAMPLE
    if asked.tiles is not None:
        root = asked.tiles.parent.resolve()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "server.json"
        command = [
            sys.executable,
            "-m",
            "slidecam",
            "serve",
            "--json",
            "--root",
            str(root),
            "-o",
            f"{folder}/out",
        ]
        environment = {**os.environ, "SLIDECAM_SERVER_FILE": str(file)}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None  # noqa: S101  (for the type checker: it is a pipe)
            json.loads(server.stdout.readline())
            endpoint = read_endpoint(file)
            assert endpoint is not None  # noqa: S101  (it was just told of)
            if asked.tiles is None:
                flood(endpoint, asked.requests, asked.waves)
                idle(psutil.Process(server.pid))
            else:
                clients = [int(count) for count in asked.clients.split(",")]
                compare_tiles(endpoint, asked.tiles, clients, asked.rounds)
            server.terminate()


def flood(endpoint: Endpoint, requests: int, waves: int) -> None:
    """Send the waves and print what each has left."""
    process = psutil.Process(endpoint.pid)
    asyncio.run(wave(endpoint, 100))
    print("| wave | seconds | answers | MB after | files | threads |")
    print("|---|---|---|---|---|---|")
    print(f"| before | | | {left(process)} |")
    for number in range(1, waves + 1):
        start = time.perf_counter()
        counts = Counter(asyncio.run(wave(endpoint, requests)))
        seconds = time.perf_counter() - start
        told = ", ".join(f"{count} x {status}" for status, count in sorted(counts.items()))
        time.sleep(1)
        print(f"| {number} | {seconds:.1f} | {told} | {left(process)} |")


def left(process: psutil.Process) -> str:
    """Return memory, open files and threads."""
    files = process.num_handles() if hasattr(process, "num_handles") else process.num_fds()
    return f"{process.memory_info().rss / 1e6:.0f} | {files} | {process.num_threads()}"


async def wave(endpoint: Endpoint, count: int) -> list[int]:
    """Send so many requests, each on a connection of its own; return the answers' statuses."""
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    async with httpx.AsyncClient(
        base_url=endpoint.url, headers=headers, limits=limits, timeout=300, trust_env=False
    ) as client:
        kinds = requests_of(client)
        return [
            answer.status_code
            for answer in await asyncio.gather(*(send() for send in islice(cycle(kinds), count)))
        ]


def requests_of(
    client: httpx.AsyncClient,
) -> list[Callable[[], Coroutine[None, None, httpx.Response]]]:
    """Return one request of each kind: good ones, and all that can be wrong with one."""
    sound = picture()
    slide = str(SAMPLE / "slide.tif")
    return [
        lambda: client.post("/v1/image?methods=gradcam%2B%2B", content=sound),
        lambda: client.post("/v1/image", content=b"no picture"),
        lambda: client.post("/v1/image", content=sound[:3000]),
        lambda: client.get("/v1/status", headers={"Authorization": "Bearer wrong"}),
        lambda: client.get("/v1/status", headers={"Host": "evil.example"}),
        lambda: client.get("/v1/slides/open", params={"path": slide}),
        lambda: client.post("/v1/jobs", json={"slides": ["/etc/passwd"]}),
        lambda: client.post("/v1/jobs", content=b"{"),
        lambda: client.get("/v1/jobs/none/events"),
        lambda: client.get("/page/app.js"),
    ]


def picture() -> bytes:
    """Return a tile as PNG."""
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def idle(process: psutil.Process) -> None:
    """Print what the process uses while nobody calls."""
    time.sleep(2)
    before, switches = process.cpu_times(), process.num_ctx_switches().voluntary
    time.sleep(IDLE_SECONDS)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    woken = process.num_ctx_switches().voluntary - switches
    print(f"\nIdle for {IDLE_SECONDS} s: {used:.3f} s of processor time, woken {woken} times.")


if __name__ == "__main__":
    main()
