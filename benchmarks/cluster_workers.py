"""Tiles a second of one worker of a cluster and of two, each on a processor of its own.

A real scheduler and worker processes on loopback, in turn and repeated. The rate is that from the
plan to the last batch that the client hears of; the client and the scheduler take their part of the
same processors.

    python benchmarks/cluster_workers.py SLIDE BUNDLE FOLDER [ROUNDS [OVERLAP]]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil
from distributed import Client, LocalCluster

from slidecam import predict
from slidecam.events import BatchDone, Planned
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 60


@contextmanager
def workers(address: str, count: int, folder: Path) -> Iterator[None]:
    """Run so many worker processes, the first on the first processor and so on."""
    options = ["--nthreads", "2", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    running = []
    log = (folder / "workers.log").open("ab")
    for number in range(count):
        words = [sys.executable, "-m", "distributed.cli.dask_worker", address, *options]
        words += ["--local-directory", str(folder / f"worker-{number}")]
        running.append(subprocess.Popen(words, stdout=log, stderr=log, cwd=folder))
        psutil.Process(running[-1].pid).cpu_affinity([number])
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
        log.close()


def rate(
    client: Client, slide: str, bundle: str, out: Path, spec: PredictSpec
) -> tuple[int, float]:
    """Classify a slide anew, and return its tiles and how many of them a second."""
    shutil.rmtree(out, ignore_errors=True)
    begun = last = tiles = 0.0
    for event in predict(slide, bundle, out, spec, cluster=client):
        if isinstance(event, Planned):
            begun = time.perf_counter()
        if isinstance(event, BatchDone):
            tiles, last = event.done, time.perf_counter()
    return int(tiles), tiles / (last - begun)


def main() -> None:
    """Measure one worker and two, in turn."""
    slide, bundle, where, *numbers = sys.argv[1:]
    rounds, overlap = int((numbers or ["3"])[0]), float((*numbers, "0", "0")[1])
    folder = Path(where).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    spec = PredictSpec(overlap=overlap, outputs=("tiles.csv",), heatmap="none", workers=1)
    found: dict[int, list[float]] = {1: [], 2: []}
    cluster = LocalCluster(n_workers=0, processes=True, dashboard_address=None, host="127.0.0.1")
    with cluster, Client(cluster) as client:
        for _round in range(rounds):
            for count, rates in found.items():
                with workers(cluster.scheduler_address, count, folder):
                    client.wait_for_workers(count, LONGEST)
                    # The classifier is loaded and the processes are warm.
                    rate(client, slide, bundle, folder / "out", spec)
                    tiles, rated = rate(client, slide, bundle, folder / "out", spec)
                rates.append(rated)
                print(f"{count} workers: {tiles} tiles, {rated:.2f} a second", flush=True)
                while client.scheduler_info()["workers"]:
                    time.sleep(0.2)
    one, two = median(found[1]), median(found[2])
    print(f"medians {one:.2f} and {two:.2f} tiles/s: efficiency {two / one / 2:.2f}")


if __name__ == "__main__":
    main()
