"""Tiles a second of one worker of a cluster and of two, each on a processor of its own.

A real scheduler and worker processes on loopback, in turn and repeated. The rate is that from the
plan to the last batch that the client hears of. The client and the scheduler (one process here)
take their part of the same processors, which they would not on a real cluster: their seconds of
processor are measured beside the workers', and a worker's tiles per second of *its own* processor
say what a second worker brings where it does not share.

    python benchmarks/cluster_workers.py SLIDE BUNDLE FOLDER [ROUNDS [OVERLAP]]
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil
from distributed import Client, LocalCluster

from slidecam import predict
from slidecam.events import BatchDone, Planned
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LONGEST = 60


@dataclass(frozen=True)
class Measured:
    """One classification: its tiles, and seconds of the clock and of processors for them."""

    tiles: int
    seconds: float
    of_workers: float
    of_client: float

    @property
    def rate(self) -> float:
        """Tiles a second of the clock."""
        return self.tiles / self.seconds

    @property
    def rate_of_processor(self) -> float:
        """Tiles a second of the workers' processors."""
        return self.tiles / self.of_workers


def processor(processes: Sequence[psutil.Process]) -> float:
    """Return the seconds of processor that processes and what they started have used."""
    every = [one for process in processes for one in (process, *process.children(recursive=True))]
    return sum(sum(one.cpu_times()[:2]) for one in every)


@contextmanager
def workers(address: str, count: int, folder: Path) -> Iterator[list[psutil.Process]]:
    """Run so many worker processes, the first on the first processor and so on."""
    options = ["--nthreads", "2", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    running: list[psutil.Process] = []
    log = (folder / "workers.log").open("ab")
    for number in range(count):
        words = [sys.executable, "-m", "distributed.cli.dask_worker", address, *options]
        words += ["--local-directory", str(folder / f"worker-{number}")]
        running.append(psutil.Popen(words, stdout=log, stderr=log, cwd=folder))
        running[-1].cpu_affinity([number])
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()
        log.close()


def measure(
    client: Client,
    running: Sequence[psutil.Process],
    paths: tuple[str, str, Path],
    spec: PredictSpec,
) -> Measured:
    """Classify a slide anew, and return what it took."""
    slide, bundle, out = paths
    shutil.rmtree(out, ignore_errors=True)
    own = time.process_time
    begun, theirs, ours = time.perf_counter(), processor(running), own()
    found = Measured(0, 1, 1, 1)
    for event in predict(slide, bundle, out, spec, cluster=client):
        if isinstance(event, Planned):
            begun, theirs, ours = time.perf_counter(), processor(running), own()
        if isinstance(event, BatchDone):
            passed = time.perf_counter() - begun
            found = Measured(event.done, passed, processor(running) - theirs, own() - ours)
    return found


def main() -> None:
    """Measure one worker and two, in turn."""
    slide, bundle, where, *numbers = sys.argv[1:]
    rounds, overlap = int((numbers or ["3"])[0]), float((*numbers, "0", "0")[1])
    folder = Path(where).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    spec = PredictSpec(overlap=overlap, outputs=("tiles.csv",), heatmap="none", workers=1)
    paths = (slide, bundle, folder / "out")
    found: dict[int, list[Measured]] = {1: [], 2: []}
    cluster = LocalCluster(n_workers=0, processes=True, dashboard_address=None, host="127.0.0.1")
    with cluster, Client(cluster) as client:
        for _round in range(rounds):
            for count, ones in found.items():
                with workers(cluster.scheduler_address, count, folder) as running:
                    client.wait_for_workers(count, LONGEST)
                    # The classifier is loaded and the processes are warm.
                    measure(client, running, paths, spec)
                    now = measure(client, running, paths, spec)
                ones.append(now)
                print(
                    f"{count} workers: {now.tiles} tiles, {now.rate:.2f} a second; processors:"
                    f" workers {now.of_workers:.1f} s ({now.rate_of_processor:.2f} tiles a second),"
                    f" client and scheduler {now.of_client:.1f} s of {now.seconds:.1f}",
                    flush=True,
                )
                while client.scheduler_info()["workers"]:
                    time.sleep(0.2)
    one, two = (median(each.rate for each in found[count]) for count in (1, 2))
    alone, beside = (median(each.rate_of_processor for each in found[count]) for count in (1, 2))
    print(f"medians {one:.2f} and {two:.2f} tiles/s: efficiency {two / one / 2:.2f}")
    print(f"of the workers' processors {alone:.2f} and {beside:.2f}: {beside / alone:.2f}")


if __name__ == "__main__":
    main()
