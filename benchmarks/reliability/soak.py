"""The same work over and over in one process: memory, threads and handles must stay as they are.

Through the pipeline, the server and, where Qt is, napari's window. What the first
runs load is not counted: figures are flat from the tenth run on.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from reliability.calls import SLIDE
from reliability.kills import Server, done, job_of
from reliability.rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOADING_RUNS = 10
"""Runs in which what is loaded once is loaded."""

LEAST_RUNS = 40
"""Runs behind those without which nothing can be said."""

MOST_GROWTH = 0.05
"""Of memory, from the median of the first quarter behind them to that of the last."""

CACHE_BYTES = 64_000_000
"""Of blocks that napari keeps while it is watched."""

MOST_MORE = 4
"""Threads or handles, by the same."""


@dataclass(frozen=True)
class Reading:
    """What a process and its children hold."""

    megabytes: float
    threads: int
    handles: int

    @classmethod
    def of(cls, process: psutil.Process) -> Reading:
        """Take it now."""
        found = [process, *process.children(recursive=True)]
        memory, threads, handles = 0.0, 0, 0
        for each in found:
            with suppress(psutil.Error):
                memory += each.memory_info().rss / 2**20
                threads += each.num_threads()
                handles += _handles_of(each)
        return cls(memory, threads, handles)


def _handles_of(process: psutil.Process) -> int:
    count = getattr(process, "num_fds", None) or getattr(process, "num_handles", None)
    return int(count()) if count else 0


def growth(readings: list[Reading]) -> str:
    """Return what grew over the runs behind the loading ones, or nothing."""
    flat = readings[LOADING_RUNS:]
    if len(flat) < LEAST_RUNS:
        return f"only {len(readings)} runs: too few to tell"
    part = len(flat) // 4
    first, last = flat[:part], flat[-part:]
    said = []
    before, after = (statistics.median(each.megabytes for each in ends) for ends in (first, last))
    if after > before * (1 + MOST_GROWTH):
        said.append(f"memory {before:.0f} to {after:.0f} MB")
    for name in ("threads", "handles"):
        least, most = (
            statistics.median(getattr(each, name) for each in ends) for ends in (first, last)
        )
        if most > least + MOST_MORE:
            said.append(f"{name} {least:.0f} to {most:.0f}")
    return ", ".join(said)


def soak(folder: Path, seconds: float) -> Iterator[Row]:
    """Yield a row for each of the three, a third of the time each."""
    folder.mkdir(parents=True, exist_ok=True)
    share = seconds / 3
    yield _in_process("pipeline", folder / "pipeline", share)
    yield _server(folder / "server", share)
    if find_spec("napari") is None or find_spec("qtpy") is None:
        yield Row("soak", "viewer", note="not tried: napari and Qt are not installed")
    else:
        yield _in_process("viewer", folder / "viewer", share)


def _row(name: str, readings: list[Reading]) -> Row:
    row = Row("soak", name, len(readings))
    fault = growth(readings)
    if fault.startswith("only"):
        row.note = fault
    elif fault:
        row.lost.append(f"{len(readings)} runs: {fault}")
    if len(readings) > LOADING_RUNS:
        start, end = readings[LOADING_RUNS], readings[-1]
        row.note = (
            f"{row.note} {start.megabytes:.0f} MB, {start.threads} threads, {start.handles} handles"
            f" after {LOADING_RUNS} runs; {end.megabytes:.0f} MB, {end.threads} threads,"
            f" {end.handles} handles at the end"
        ).strip()
    return row


def _in_process(name: str, folder: Path, seconds: float) -> Row:
    """Repeat a run in a process of its own, which prints a reading after each."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "QT_QPA_PLATFORM": "offscreen"}
    words = [sys.executable, "-m", "reliability.soak", name, str(folder), str(seconds)]
    place = str(Path(__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [place, environment.get("PYTHONPATH")])
    )
    with (folder / "soak.log").open("wb") as log:
        done_ = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=log, env=environment, check=False
        )
    readings = [_parsed(line) for line in done_.stdout.decode().splitlines() if "\t" in line]
    row = _row(name, readings)
    if done_.returncode:
        said = (folder / "soak.log").read_text(errors="replace").strip()[-200:]
        row.lost.append(f"ended with {done_.returncode}: {said!r}")
        row.tries = max(1, row.tries)
    return row


def _parsed(line: str) -> Reading:
    memory, threads, handles = line.split("\t")
    return Reading(float(memory), int(threads), int(handles))


def _server(folder: Path, seconds: float) -> Row:
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(SLIDE, folder)
    server.wait()
    process, readings = psutil.Process(server.call.process.pid), []
    end = time.monotonic() + seconds
    fault = ""
    try:
        while time.monotonic() < end and not fault:
            out = folder / "job"
            fault = done(server, server.ask("/v1/jobs", job_of(SLIDE, out, "refuse")))
            found = server.ask(f"/v1/slides/open?path={SLIDE.path}")
            server.ask_bytes(f"/v1/slides/{found['id']}_files/8/0_0.jpeg")
            shutil.rmtree(out, ignore_errors=True)
            readings.append(Reading.of(process))
    finally:
        server.call.kill_after(0)
    row = _row("server", readings)
    if fault:
        row.lost.append(f"run {len(readings)}: {fault}")
    return row


def _pipeline_run() -> None:
    # lazy on purpose: the parent loads no torch
    from slidecam.prediction.pipeline import predict  # noqa: PLC0415
    from slidecam.runs.spec import PredictSpec  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as out:
        spec = PredictSpec(batch=8, existing="overwrite")
        for _event in predict(SLIDE.path, SLIDE.bundle, Path(out), spec):
            pass


def _viewer_runs() -> Callable[[], None]:
    """Return what opens a slide in napari's window, looks at it, and closes it."""
    # lazy on purpose: only here is there a window
    import napari  # noqa: PLC0415
    from qtpy.QtWidgets import QApplication  # noqa: PLC0415

    # Shown, or what is drawn waits for ever; and napari's cache of blocks, which grows to a quarter
    # of the machine's memory, is full after a few runs.
    viewer = napari.Viewer(show=True)
    napari.utils.resize_dask_cache(CACHE_BYTES)

    def once() -> None:
        viewer.open(str(SLIDE.path), plugin="slidecam")
        for step in (1.0, 0.25, 2.0):
            viewer.camera.zoom = step
            QApplication.processEvents()
        viewer.layers.clear()
        QApplication.processEvents()

    return once


def main() -> None:
    """Repeat a run for so long, and print what this process holds after each."""
    name, _folder, seconds = sys.argv[1:]
    run = _viewer_runs() if name == "viewer" else _pipeline_run
    process, end = psutil.Process(), time.monotonic() + float(seconds)
    while time.monotonic() < end:
        run()
        found = Reading.of(process)
        print(f"{found.megabytes}\t{found.threads}\t{found.handles}", flush=True)
    sys.stdout.flush()
    # At once: Qt's own end is not what is measured.
    os._exit(0)


if __name__ == "__main__":
    main()
