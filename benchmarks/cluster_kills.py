"""Kill workers, clients and the scheduler of a cluster at drawn moments: nothing may be lost.

Each round classifies a slide anew on a real scheduler and two worker processes on loopback, kills
one of the processes with SIGKILL at a moment that its seed draws, starts what is gone again,
repeats the call with --resume until it is done, and holds every file of the run against those of
an undisturbed run of one process.

    python benchmarks/cluster_kills.py SLIDE BUNDLE FOLDER [ROUNDS [FIRST_SEED]]
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

VOLATILE = {"started", "finished", "seconds", "machine", "resumed", "made_in", "input"}
SETTINGS = ["--overlap", "0.5", "--batch", "8", "--outputs", "tiles.csv,heatmap.ome.zarr"]
LONGEST = 300
MOST_CALLS = 6


def command(*words: str) -> list[str]:
    """Return a command of this environment's Python."""
    return [sys.executable, "-m", *words]


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
            for name in ("worker-0", "worker-1"):
                self.kill(name)
            self._start("scheduler", "distributed.cli.dask_scheduler", "--port", str(self.port))
        for name in ("worker-0", "worker-1"):
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
        log = (self.folder / f"{name}.log").open("ab")
        self.running[name] = subprocess.Popen(
            command(module, *words, *extra), stdout=log, stderr=log, cwd=self.folder
        )


def files_of(out: Path) -> dict[str, bytes]:
    """Return every file of a slide's run, times left out of its record."""
    found: dict[str, bytes] = {}
    for path in out.rglob("*"):
        if not path.is_file() or path.name == ".lock":
            continue
        found[str(path.relative_to(out))] = path.read_bytes()
        if path.name == "run.json":
            record = json.loads(path.read_bytes())
            kept = {key: value for key, value in record.items() if key not in VOLATILE}
            found[str(path.relative_to(out))] = json.dumps(kept, sort_keys=True).encode()
    return found


def call(slide: str, bundle: str, out: Path, *words: str) -> subprocess.Popen[bytes]:
    """Begin a call of predict."""
    log = out.with_suffix(".log").open("ab")
    whole = ["slidecam", "predict", slide, "-m", bundle, "-o", str(out), "--json", *SETTINGS]
    return subprocess.Popen(command(*whole, *words), stdout=log, stderr=log)


def disturbed(machines: Machines, slide: str, bundle: str, out: Path, seed: int) -> tuple[str, int]:
    """Classify a slide while something is killed; return what, and how many calls it took."""
    draw = random.Random(seed)  # noqa: S311  (nothing secret)
    victim = draw.choice(["worker-0", "worker-1", "client", "scheduler"])
    machines.start()
    running = call(slide, bundle, out, "--cluster", machines.address)
    begun = out / Path(slide).stem / "run.zarr" / "zarr.json"
    end = time.monotonic() + LONGEST
    while not begun.exists() and running.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(draw.uniform(0.0, 4.0))
    if victim == "client":
        running.send_signal(signal.SIGKILL)
    else:
        machines.kill(victim)
        if victim != "scheduler":
            machines.start()
    calls = 1
    while running.wait(LONGEST) != 0:
        calls += 1
        if calls > MOST_CALLS:
            return victim, calls
        machines.start()
        running = call(slide, bundle, out, "--cluster", machines.address, "--resume")
    return victim, calls


def main() -> None:
    """Run the rounds, and say of each what was killed and whether anything was lost."""
    slide, bundle, where, *numbers = sys.argv[1:]
    folder = Path(where).absolute()
    rounds, first = map(int, [*numbers, "30", "0"][:2] if not numbers else [*numbers, "0"][:2])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    whole = call(slide, bundle, folder / "whole")
    if whole.wait(LONGEST):
        sys.exit("the undisturbed run failed")
    name, machines, lost = Path(slide).stem, Machines(folder), 0
    expected = files_of(folder / "whole" / name)
    try:
        for seed in range(first, first + rounds):
            out = folder / f"round-{seed}"
            start = time.monotonic()
            victim, calls = disturbed(machines, slide, bundle, out, seed)
            same = files_of(out / name) == expected
            lost += not same
            seconds = time.monotonic() - start
            words = "same bytes" if same else "DIFFERS"
            print(f"{seed:3} {victim:10} {calls} calls {seconds:6.1f} s {words}", flush=True)
            if same:
                shutil.rmtree(out)
    finally:
        for name in list(machines.running):
            machines.kill(name)
    print(f"{rounds} kills, {lost} runs with other bytes")
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
