"""slidecam beside WSInfer, TIAToolbox and LazySlide: the same slide, tiles, weights and threads.

Each engine runs in a process and an environment of its own, which this makes where it is missing;
they take turns, and each figure is the median of the rounds. The seconds are those of the whole
call after its imports: reading the slide, the network, writing the results. WSInfer and LazySlide
are given their tiles, TIAToolbox and slidecam a mask; the peers only predict, slidecam writes
heatmaps of all classes too, but where a row says otherwise. Beside them stand the limits of the
machine: decoding alone, and the bare network over ready batches. Probabilities are compared tile by
tile. A page keeps the tables of other networks: each may be made in a call of its own.

    python benchmarks/peers/compare.py FOLDER [--slide sample_data/slide.tif] [--edge 20480]
        [--tiles 32] [--rounds 3] [--engines slidecam,wsinfer,…] [--results benchmarks/RESULTS.md]
        [ARCHITECTURE ...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import venv
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openslide
import torch
from job import Done, Job
from peer_material import SPACING, Block, write_models, write_slide_of

from slidecam.models import open_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slidecam.models.splits import Precision

TILE = 224
BATCH = 16
CLASSES = 3
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Engine:
    """One row of the table.

    Attributes
    ----------
    name
        What stands in the row.
    driver
        The file that runs it.
    package, beside
        What its environment is made with; empty for ours. And what it does not say that it needs.
    settings
        What it is given beside the job.
    """

    name: str
    driver: str
    package: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()


OLD_ZARR = ("zarr<3", "numcodecs<0.16")
"""WSInfer 0.6.1 asks zarr for what version 3 no longer has."""

ENGINES = (
    Engine("slidecam, Grad-CAM++ of 3 classes", "slidecam"),
    Engine("slidecam, predictions alone", "slidecam", settings={"heatmap": "none"}),
    Engine("slidecam, OpenVINO, Grad-CAM++", "slidecam", settings={"backend": "openvino"}),
    Engine(
        "slidecam, OpenVINO bf16, Grad-CAM++",
        "slidecam",
        settings={"backend": "openvino", "precision": "bf16"},
    ),
    Engine("WSInfer, loader in the process", "wsinfer", "wsinfer", {"workers": "0"}, OLD_ZARR),
    Engine("WSInfer, a loader beside it", "wsinfer", "wsinfer", {"workers": "1"}, OLD_ZARR),
    Engine("TIAToolbox, loader in the process", "tiatoolbox", "tiatoolbox", {"workers": "0"}),
    Engine("TIAToolbox, a loader beside it", "tiatoolbox", "tiatoolbox", {"workers": "1"}),
    Engine("LazySlide, loader in the process", "lazyslide", "lazyslide", {"workers": "0"}),
    Engine("LazySlide, a loader beside it", "lazyslide", "lazyslide", {"workers": "1"}),
)


def python_of(engine: Engine, environments: Path) -> Path:
    """Return the interpreter of an engine's environment, which is made where it is missing."""
    if not engine.package:
        return Path(sys.executable)
    folder = environments / engine.package
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not interpreter.exists():
        venv.create(folder, with_pip=True)
        wanted = [engine.package, *engine.beside]
        subprocess.run([interpreter, "-m", "pip", "install", "-q", *wanted], check=True)
    return interpreter


def run(engine: Engine, job: Job, environments: Path, log: Path) -> Done | None:
    """Let an engine do a job; None where it fails, which the log says."""
    shutil.rmtree(job.out, ignore_errors=True)
    Path(job.out).mkdir(parents=True)
    written = replace(job, settings=engine.settings).write(Path(job.out).with_suffix(".json"))
    threads = str(job.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    ended = subprocess.run(
        [python_of(engine, environments), HERE / f"drive_{engine.driver}.py", written],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    with log.open("a", encoding="utf-8") as file:
        file.write(f"== {engine.name}\n{ended.stdout}\n{ended.stderr}\n")
    if ended.returncode:
        return None
    return Done(**json.loads(ended.stdout.splitlines()[-1]))


def decoding_alone(slide: Path, block: Block) -> float:
    """Return the tiles a second of OpenSlide in one thread, cut and thrown away."""
    with openslide.OpenSlide(slide) as reader:
        start = time.perf_counter()
        for x, y in block.corners:
            reader.read_region((int(x), int(y)), 0, (TILE, TILE)).convert("RGB")
        return len(block.corners) / (time.perf_counter() - start)


BARE: tuple[tuple[str, Precision], ...] = (
    ("eager", "fp32"),
    ("folded", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
)
"""Backends whose networks are run over ready batches, and their number formats."""


def network_alone(model: Path, threads: int, backend: str, precision: Precision) -> float:
    """Return the tiles a second of the bare network over ready batches."""
    torch.set_num_threads(threads)
    bundle = open_bundle(model / "bundle")
    classifier = bundle.classifier("cpu", precision, backend=backend)
    ready = torch.rand(BATCH, 3, TILE, TILE)
    with torch.no_grad():
        for _ in range(3):
            classifier.run_normalised(ready, gradients=False)
        start, count = time.perf_counter(), 12
        for _ in range(count):
            classifier.run_normalised(ready, gradients=False)
    return count * BATCH / (time.perf_counter() - start)


@dataclass
class Row:
    """What was measured of an engine with one network."""

    engine: Engine
    rates: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    version: str = ""
    difference: float = float("nan")

    def add(self, done: Done, tiles: int, reference: Path | None) -> None:
        """Keep a round."""
        self.rates.append(tiles / done.seconds)
        self.megabytes.append(done.megabytes)
        self.version = done.version
        if reference is not None:
            ours, theirs = np.load(reference), np.load(done.probabilities)
            self.difference = float(np.abs(ours - theirs).max())

    @property
    def line(self) -> str:
        """The row of the table."""
        if not self.rates:
            return f"| {self.engine.name} | failed | | | |"
        spread = f"{min(self.rates):.1f} to {max(self.rates):.1f}"
        rate, memory = statistics.median(self.rates), statistics.median(self.megabytes)
        return (
            f"| {self.engine.name} {self.version} | {rate:.1f} | {spread} | {memory:.0f} |"
            f" {self.difference:.1e} |"
        )


def measure(options: argparse.Namespace, architecture: str) -> Iterator[str]:
    """Yield the lines of one network's table."""
    folder = options.folder
    block = Block(options.edge, TILE, options.tiles)
    slide = write_slide_of(options.slide, folder / "slide.tif", options.edge)
    model = write_models(folder / "models", architecture, CLASSES, TILE)
    job = Job(
        slide=str(slide),
        mask=str(block.write_mask(folder / "mask.png")),
        tiles=str(block.write_corners(folder / "tiles.npy")),
        tile_px=TILE,
        model=str(model),
        architecture=architecture,
        classes=CLASSES,
        out=str(folder / "out"),
        threads=options.threads,
        batch=BATCH,
    )
    rows = [Row(engine) for engine in ENGINES if engine.driver in options.engines]
    decoding: list[float] = []
    bare: dict[str, list[float]] = {}
    tiles = len(block.corners)
    reference: Path | None = None
    for _ in range(options.rounds):
        decoding.append(decoding_alone(slide, block))
        for backend, precision in BARE:
            rate = network_alone(model, options.threads, backend, precision)
            bare.setdefault(f"{backend} {precision}", []).append(rate)
        for row in rows:
            done = run(row.engine, job, folder / "environments", folder / "log.txt")
            if done is None:
                continue
            if reference is None:
                reference = folder / "reference.npy"
                shutil.copy(done.probabilities, reference)
            row.add(done, tiles, reference)
            sys.stderr.write(f"{architecture}: {row.engine.name} {row.rates[-1]:.1f}\n")
    yield f"{architecture}, {tiles} tiles of {TILE} px\n"
    yield f"{circumstances(options)}\n"
    yield "| engine | tiles/s, whole call | spread | peak MB | largest difference |"
    yield "|---|---|---|---|---|"
    yield from (row.line for row in rows)
    for name, rates in bare.items():
        spread = f"{min(rates):.1f} to {max(rates):.1f}"
        middle = statistics.median(rates)
        yield f"| *limit:* the bare network, {name} | {middle:.1f} | {spread} | | |"
    cut = statistics.median(decoding)
    yield f"| *limit:* decoding alone, one thread, OpenSlide | {cut:.1f} | | | |"


HEAD = """# Measured beside peers

Each table is of one call, whose engines took turns on one machine with nothing else to do.
"""


def circumstances(options: argparse.Namespace) -> str:
    """Return how a table was made, on what and when."""
    command = " ".join(["python", *map(str, sys.argv)])
    return (
        f"`{command}`, {datetime.now(UTC):%d %B %Y}, slidecam {version('slidecam')}."
        f" {platform.processor() or platform.machine()}, {os.cpu_count()} processors,"
        f" {options.threads} threads, Python {platform.python_version()}, torch"
        f" {version('torch')}, OpenVINO {version('openvino')}. A slide of {options.edge}² px"
        f" at {SPACING} µm/px, batches of {BATCH}, medians of {options.rounds} rounds in turn."
    )


def tables_in(results: Path) -> dict[str, str]:
    """Return the tables that a page holds already, by network."""
    if not results.exists():
        return {}
    _head, *tables = results.read_text(encoding="utf-8").split("\n## ")
    return {table.partition(",")[0]: table for table in tables}


def main() -> None:
    """Measure, and put each network's table into the page as it is made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    usual = ["resnet18", "resnet50", "densenet121"]
    parser.add_argument("architectures", nargs="*", default=usual)
    parser.add_argument("--slide", type=Path, default=HERE.parents[1] / "sample_data" / "slide.tif")
    parser.add_argument("--edge", type=int, default=20480)
    parser.add_argument("--tiles", type=int, default=32, help="tiles along a side of the block")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--engines", default="slidecam,wsinfer,tiatoolbox,lazyslide")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    options.engines = options.engines.split(",")
    options.folder = options.folder.absolute()
    options.folder.mkdir(parents=True, exist_ok=True)
    results = options.results or options.folder / "RESULTS.md"
    for architecture in options.architectures:
        table = "\n".join(measure(options, architecture))
        tables = {**tables_in(results), architecture: f"{table}\n"}
        text = "\n## ".join([HEAD, *tables.values()])
        results.write_text(text, encoding="utf-8")
    sys.stdout.write(results.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
