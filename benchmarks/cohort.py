"""What many small slides cost: their tile rate beside one large slide's, and what a cohort holds.

`rate` classifies n x n slides of 49 tiles each and one slide with all their tiles, in turn and
repeated, every output and heatmap written; the figure is the tiles per second of the whole call.

`grow` classifies thousands of slides of four tiles in one process and says, after each hundred,
what that process holds: memory, open files, threads, and its children's memory.

    python benchmarks/cohort.py rate FOLDER [--side 5] [--rounds 3] [--architecture timm/resnet18]
    python benchmarks/cohort.py grow FOLDER [--slides 2000]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path

import psutil
from material import write_bundle, write_slide

from slidecam.events import Finished, SlideFailed, SlideFinished
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec

INPUT = 224
"""Edge of a tile in px."""

ACROSS = 7
"""Tiles across a small slide."""

MANY = 100
"""After so many slides a line says what the process holds."""


def call_seconds(slides: Path, bundle: Path, out: Path) -> tuple[int, float]:
    """Return the tiles of a call, and the seconds from its start to its last file."""
    shutil.rmtree(out, ignore_errors=True)
    tiles, start = 0, time.perf_counter()
    for event in predict(slides, bundle, out, PredictSpec()):
        if isinstance(event, SlideFailed):
            raise SystemExit(event.problem)
        if isinstance(event, SlideFinished):
            tiles += event.tiles
    return tiles, time.perf_counter() - start


def rate(options: argparse.Namespace) -> None:
    """Compare many small slides with one large one."""
    small, large = options.folder / "small", options.folder / "large"
    for folder in (small, large):
        folder.mkdir(parents=True, exist_ok=True)
    edge = ACROSS * INPUT
    for number in range(options.side**2):
        write_slide(small / f"slide{number:03}.tif", edge, number)
    write_slide(large / "slide.tif", options.side * edge)
    bundle = write_bundle(options.folder, options.architecture, INPUT)
    rates: dict[str, list[float]] = {"large": [], "small": []}
    call_seconds(small, bundle, options.folder / "out")  # what is loaded once is loaded
    for _ in range(options.rounds):
        for name, slides in (("large", large), ("small", small)):
            tiles, seconds = call_seconds(slides, bundle, options.folder / "out")
            rates[name].append(tiles / seconds)
            print(
                f"{name}: {tiles} tiles, {seconds:.1f} s, {tiles / seconds:.2f} a second",
                flush=True,
            )
    whole, many = (statistics.median(rates[name]) for name in ("large", "small"))
    print(f"medians: one large slide {whole:.2f}, {options.side**2} small ones {many:.2f}:", end="")
    print(f" {many / whole:.2f}")


def held(process: psutil.Process) -> str:
    """Return what a process holds, in words."""
    memory = process.memory_info().rss / 1e6
    children = sum(child.memory_info().rss for child in process.children(recursive=True)) / 1e6
    files, threads = process.num_fds(), process.num_threads()
    return f"{memory:.0f} MB, {files} files, {threads} threads, children {children:.0f} MB"


def grow(options: argparse.Namespace) -> None:
    """Watch one process over thousands of slides."""
    slides, out = options.folder / "many", options.folder / "out"
    slides.mkdir(parents=True, exist_ok=True)
    for number in range(options.slides):
        write_slide(slides / f"slide{number:05}.tif", 2 * INPUT, number)
    bundle = write_bundle(options.folder, "slidecam/pocket_resnet", INPUT)
    shutil.rmtree(out, ignore_errors=True)
    me, ended, start, used = psutil.Process(), 0, time.perf_counter(), time.process_time()
    for event in predict(slides, bundle, out, PredictSpec()):
        if isinstance(event, SlideFailed):
            print(f"failed: {event.problem}", flush=True)
        ended += isinstance(event, SlideFinished | SlideFailed)
        is_full = ended % MANY == 0
        if isinstance(event, Finished) or (isinstance(event, SlideFinished) and is_full):
            seconds, spent = time.perf_counter() - start, time.process_time() - used
            print(
                f"{ended} slides, {seconds:.0f} s ({spent:.0f} of processor): {held(me)}",
                flush=True,
            )


def main() -> None:
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("rate", "grow"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--architecture", default="timm/resnet18")
    parser.add_argument("--slides", type=int, default=2000)
    options = parser.parse_args()
    {"rate": rate, "grow": grow}[options.part](options)


if __name__ == "__main__":
    main()
