"""Kill workers, clients and the scheduler of a cluster at drawn moments: nothing may be lost.

Each round classifies a slide anew on a real scheduler and two worker processes on loopback, kills
one of the processes with SIGKILL at a moment that its seed draws, starts what is gone again, and
repeats the call with --resume until it is done.
"""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reliability.calls import LONGEST, MOST_CALLS, SLIDE, Call, difference, files_of, predict
from reliability.kills import Undisturbed
from reliability.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VICTIMS = ("worker-0", "worker-1", "client", "scheduler")
WORKERS = ("worker-0", "worker-1")

LATEST = 4.0
"""Seconds after the first number of a run within which something is killed."""


@dataclass
class Machines:
    """A scheduler and two workers, each a process of its own; whatever is gone is started again."""

    folder: Path
    port: int = 0
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        """Start what does not run."""
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        if self._is_gone("scheduler"):
            for name in WORKERS:
                self.kill(name)
            self._start("scheduler", "distributed.cli.dask_scheduler", "--port", str(self.port))
        for name in WORKERS:
            if self._is_gone(name):
                options = ["--nthreads", "2", "--no-nanny", "--no-dashboard"]
                self._start(name, "distributed.cli.dask_worker", self.address, *options)

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return f"tcp://127.0.0.1:{self.port}"

    def kill(self, name: str) -> None:
        """End a process at once."""
        process = self.running.get(name)
        if process is not None:
            process.kill()
            process.wait()

    def _is_gone(self, name: str) -> bool:
        return name not in self.running or self.running[name].poll() is not None

    def _start(self, name: str, module: str, *words: str) -> None:
        extra = ["--host", "127.0.0.1"]
        if name == "scheduler":
            extra.append("--no-dashboard")
        else:
            extra += ["--local-directory", str(self.folder / name)]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", module, *words, *extra],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )


def cluster_kills(folder: Path, count: int, seed: int) -> Iterator[Row]:
    """Yield a row for each kind of process of a cluster, of as many kills together."""
    rows = {name: Row("kills", f"SIGKILL of a cluster's {name}") for name in VICTIMS}
    if count:
        folder.mkdir(parents=True, exist_ok=True)
        whole, machines = Undisturbed.of(SLIDE, folder), Machines(folder)
        try:
            for number in range(seed, seed + count):
                out = folder / f"kill-{number}"
                victim, fault = _disturbed(machines, out, number)
                fault = fault or difference(whole.files, files_of(out / SLIDE.folder))
                rows[victim].add(fault and f"seed {number}: {fault}")
                if not fault:
                    shutil.rmtree(out, ignore_errors=True)
        finally:
            for name in list(machines.running):
                machines.kill(name)
    merged = Row("kills", "SIGKILL of a cluster's worker")
    for name in WORKERS:
        merged.tries += rows[name].tries
        merged.lost += rows[name].lost
    yield merged
    yield rows["client"]
    yield rows["scheduler"]


def _disturbed(machines: Machines, out: Path, seed: int) -> tuple[str, str]:
    """Classify a slide while something is killed; return what, and what is wrong, or nothing."""
    draw = random.Random(seed)  # noqa: S311  (nothing secret)
    victim = draw.choice(VICTIMS)
    machines.start()
    log = out.with_suffix(".log")
    running = Call(predict(SLIDE, out, "--cluster", machines.address), log)
    begun = out / SLIDE.folder / "run.zarr" / "zarr.json"
    end = time.monotonic() + LONGEST
    while not begun.exists() and running.process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(draw.uniform(0.0, LATEST))
    if victim == "client":
        running.kill_after(0)
    else:
        machines.kill(victim)
        if victim != "scheduler":
            machines.start()
    ended = running.end()
    for _again in range(MOST_CALLS):
        if ended.code == 0:
            return victim, ""
        if victim != "client" and ended.fault:
            return victim, ended.fault
        machines.start()
        resumed = predict(SLIDE, out, "--cluster", machines.address, "--resume")
        ended = Call(resumed, log).end()
    return victim, f"not done after {MOST_CALLS + 1} calls: {ended.said.strip()[-200:]!r}"
