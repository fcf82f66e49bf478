"""Memory of a real scheduler, and of who gives out the work, over many simulated slides.

Every slide is a task that answers at once with what a slide of one part answers; locks, logs and
events are the real ones.

    python benchmarks/cluster_scheduler.py BUNDLE FOLDER [SLIDES]
"""

from __future__ import annotations

import shutil
import sys
import time
from importlib.metadata import version
from pathlib import Path

import psutil
from distributed import Client, LocalCluster

from slidecam.cluster import scheduling
from slidecam.cluster.messages import Call, SlideJob, SlidePlanned
from slidecam.events import Planned, SlideFinished
from slidecam.exchange.manifest import SlideReport
from slidecam.models import open_bundle
from slidecam.prediction.work import Timings
from slidecam.runlog import RunLog
from slidecam.runs.spec import PredictSpec
from slidecam.sources.names import FoundSlide
from slidecam.store import Outlet

MB = 1_000_000
SAID = 10
"""How often the memory is said."""


def simulated(_call: Call, job: SlideJob) -> SlidePlanned:
    """Answer what a small slide answers."""
    event = Planned(job.name, job.slide.path, 200, 300, 200, 0.5, "the file", 256, 0)
    report = SlideReport(job.name, job.slide.path, "done", seconds=1.0)
    return SlidePlanned(event, (), (), Timings(), report=report)


def main() -> None:
    """Give out all slides and say the memory now and then."""
    bundle, folder, *rest = sys.argv[1:]
    count, out = int([*rest, "10000"][0]), Path(folder).absolute()
    shutil.rmtree(out, ignore_errors=True)
    slides = [FoundSlide(f"s{number}", f"/nowhere/s{number}.svs") for number in range(count)]
    opened = open_bundle(bundle)
    log = RunLog(Outlet(out), opened, PredictSpec(), slides)
    call = Call("bench", version("slidecam"), bundle, opened.digest, out, PredictSpec())
    jobs = [SlideJob(slide, place, count, {}, {}) for place, slide in enumerate(slides, 1)]
    vars(scheduling)["plan_slide"] = simulated
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster.scheduler_address) as client,
    ):
        work = scheduling.Scheduling(client, call, jobs, log, on_gpu=False)
        start, ended = time.perf_counter(), 0
        for event in work.events():
            if isinstance(event, SlideFinished):
                ended += 1
                if ended % (count // SAID) == 0:
                    held = psutil.Process().memory_info().rss / MB
                    seconds = time.perf_counter() - start
                    known = len(client.who_has())
                    print(
                        f"{ended:6} slides {seconds:7.1f} s, scheduler and giver {held:.0f} MB,"
                        f" {known} results kept",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
