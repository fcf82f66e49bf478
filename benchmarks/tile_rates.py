"""How fast the page's Deep Zoom tiles come, beside a plain OpenSlide server on the same slide.

Both servers get the same requests from the same client, in turn: a round of the one, a round of
the other. Processor time counts the processes that read slides too.

    python benchmarks/server.py --tiles slide.svs --clients 1,8 --rounds 5
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import psutil

from slidecam.server.deepzoom import TILE
from slidecam.server.slides import QUALITY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slidecam.server import Endpoint

PLAIN = Path(__file__).with_name("plain_deepzoom.py")


@dataclass
class Contender:
    """A server's tiles of one slide, and what was measured of it.

    Attributes
    ----------
    name, process
        Which server.
    tiles
        URL of the folder of levels.
    token
        What it must be given; empty for none.
    seconds, processor, answers
        Of all its rounds so far: by the clock, of the processor, and each answer's.
    """

    name: str
    process: psutil.Process
    tiles: str
    token: str = ""
    seconds: float = 0.0
    processor: float = 0.0
    answers: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """Forget what was measured."""
        self.seconds, self.processor, self.answers = 0.0, 0.0, []

    def row(self) -> str:
        """Return answers in a second, their times in ms, and processor time of each in ms."""
        median, most, worst = np.percentile(self.answers, (50, 95, 99)) * 1e3
        count = len(self.answers)
        times = f"{median:.0f}/{most:.0f}/{worst:.0f}"
        return f"{count / self.seconds:.1f}; {times}; {self.processor / count * 1e3:.1f}"


def compare_tiles(endpoint: Endpoint, slide: Path, clients: list[int], rounds: int) -> None:
    """Print a table of both servers' rates."""
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    params = {"path": str(slide.resolve())}
    answer = httpx.get(f"{endpoint.url}/v1/slides/open", headers=headers, params=params)
    answer.raise_for_status()
    facts = answer.json()
    sets = tiles_of(facts["width"], facts["height"])
    own = Contender(
        "slidecam",
        psutil.Process(endpoint.pid),
        f"{endpoint.url}/v1/slides/{facts['id']}_files",
        endpoint.token,
    )
    with plain_server(slide) as plain:
        print(f"{slide.name}, {facts['reader']}; load {psutil.getloadavg()[0]:.1f} before")
        print("| tiles | clients | slidecam: req/s; ms 50/95/99 %; ms CPU | plain | ratio |")
        print("|---|---|---|---|---|")
        for name, paths in sets.items():
            for count in clients:
                ratio = run_rounds(own, plain, paths, count, rounds)
                row = f"{own.row()} | {plain.row()} | {ratio:.2f}"
                print(f"| {name} ({len(paths)}) | {count} | {row} |")
        print(f"load {psutil.getloadavg()[0]:.1f} after")


def tiles_of(width: int, height: int) -> dict[str, list[str]]:
    """Return the paths of the finest level's tiles, and of all coarser levels'."""
    finest = (max(width, height) - 1).bit_length()
    levels = {level: list(level_tiles(width, height, finest, level)) for level in range(finest + 1)}
    coarse = [path for level in range(finest) for path in levels[level]]
    return {"finest": levels[finest], "coarse": coarse}


def level_tiles(width: int, height: int, finest: int, level: int) -> Iterator[str]:
    """Yield the paths of one level's tiles."""
    edge = TILE << (finest - level)
    for row in range(-(-height // edge)):
        for column in range(-(-width // edge)):
            yield f"{level}/{column}_{row}.jpeg"


def run_rounds(
    own: Contender, plain: Contender, paths: list[str], clients: int, rounds: int
) -> float:
    """Send each tile's request to both in turn, so often; return the ratio of their rates."""
    for each in (own, plain):
        asyncio.run(one_round(each, paths, clients))  # what is opened once is opened
        each.begin()
    for number in range(rounds):
        order = (own, plain) if number % 2 == 0 else (plain, own)
        for each in order:
            asyncio.run(one_round(each, paths, clients))
    return plain.seconds / own.seconds


async def one_round(server: Contender, paths: list[str], clients: int) -> None:
    """Get all tiles once, by so many clients that each wait for their answer."""
    waiting = list(reversed(paths))
    headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}

    async def work(client: httpx.AsyncClient) -> None:
        while waiting:
            path = waiting.pop()
            start = time.perf_counter()
            answer = await client.get(f"{server.tiles}/{path}")
            answer.raise_for_status()
            server.answers.append(time.perf_counter() - start)

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(
        headers=headers, limits=limits, timeout=300, trust_env=False
    ) as client:
        used, start = processor_of(server.process), time.perf_counter()
        await asyncio.gather(*(work(client) for _each in range(clients)))
        server.seconds += time.perf_counter() - start
        server.processor += processor_of(server.process) - used


def processor_of(process: psutil.Process) -> float:
    """Return the processor seconds of a process and of those that it started."""
    used = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        used += times.user + times.system
    return used


@contextmanager
def plain_server(slide: Path) -> Iterator[Contender]:
    """Run a plain server of a slide."""
    command = [sys.executable, str(PLAIN), str(slide), f"--tile={TILE}", f"--quality={QUALITY}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None  # noqa: S101  (for the type checker: it is a pipe)
        port = int(server.stdout.readline())
        url = f"http://127.0.0.1:{port}/slide_files"
        wait_for(f"{url}/0/0_0.jpeg")
        yield Contender("plain", psutil.Process(server.pid), url)
        server.terminate()


def wait_for(url: str) -> None:
    """Return once a server answers."""
    for _try in range(200):
        try:
            httpx.get(url, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
