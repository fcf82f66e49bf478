"""What a GPU makes of slidecam: the same answers, how fast, and what happens when it is full.

Needs torch with CUDA and slidecam's own packages, and no network: slides and the bundle are made
here. On a machine without them, carry wheels (`pip download -d WHEELS .`) and install them with
`pip install --no-index --find-links WHEELS slidecam`. With ``--device cpu`` every part runs too,
smaller, which shows that the script does.

    python benchmarks/gpu.py FOLDER [--device cuda] [--architecture timm/resnet50] [--side 40]

Prints a table: equality of fp32 and bf16 with the CPU's fp32, the bare network by batch size, a
CUDA graph of it, copies beside computing, whole calls over slides and their share of the bare rate,
and a device whose memory is full.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from material import write_bundle, write_slide

from slidecam.events import BatchDone, Finished, SlideFailed, Warned
from slidecam.explain.map_request import MapRequest
from slidecam.inference import classify, find_batch_size
from slidecam.models import open_bundle
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.streaming import TileBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slidecam.models import Bundle, Classifier
    from slidecam.models.splits import Precision

INPUT = 224
CLASSES = 3
SLIDES = 3
SECONDS = 4.0
"""Each rate is of so long, after as many batches as `WARM`."""

WARM = 3
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True)
class Bench:
    """Where it runs and with what."""

    folder: Path
    bundle: Bundle
    device: torch.device
    batches: tuple[int, ...]
    side: int

    def classifier(self, precision: Precision) -> Classifier:
        """Return the classifier on its device."""
        return self.bundle.classifier(self.device, precision)

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def rate(self, step: Callable[[], object], tiles: int) -> float:
        """Return the tiles a second of a step, repeated."""
        for _ in range(WARM):
            step()
        self.wait()
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < SECONDS:
            step()
            self.wait()
            count += 1
        return count * tiles / (time.perf_counter() - begun)


def noise(tiles: int, seed: int = 0) -> TileBatch:
    """Return a batch of noise."""
    shape = (tiles, INPUT, INPUT, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return TileBatch(seed, np.arange(tiles), pixels, (), 0.0)


def equality(bench: Bench) -> Iterator[str]:
    """Yield how far logits, probabilities and maps are from the CPU's in fp32."""
    request = MapRequest(("gradcam++",), tuple(range(CLASSES)))
    batches = [noise(8, seed) for seed in range(4)]
    plain = [one.results for one in classify(batches, bench.bundle.classifier("cpu"), request)]
    for precision in PRECISIONS:
        found = [one.results for one in classify(batches, bench.classifier(precision), request)]
        logits, maps, changed = 0.0, 0.0, 0
        for one, other in zip(plain, found, strict=True):
            logits = max(logits, float(np.abs(one.logits - other.logits).max()))
            ours, theirs = (np.asarray(each.maps, np.float64) for each in (one, other))
            maps = max(maps, float(np.abs(ours - theirs).max() / (np.abs(ours).max() or 1.0)))
            changed += int((one.logits.argmax(1) != other.logits.argmax(1)).sum())
        words = f"logits {logits:.1e}, maps {maps:.1e} of their largest, {changed} of 32 classes"
        yield f"| equality, {precision} | {words} |"


def bare(bench: Bench) -> Iterator[str]:
    """Yield the rates of the network over batches that lie on the device."""
    for precision in PRECISIONS:
        classifier = bench.classifier(precision)
        for count in bench.batches:
            found = bare_rate(bench, classifier, count)
            yield f"| bare network, {precision}, {count} tiles | {found:,.0f} tiles/s |"


def bare_rate(bench: Bench, classifier: Classifier, count: int) -> float:
    """Return the tiles a second of a classifier over one batch on its device."""
    pixels = torch.from_numpy(noise(count).pixels).to(bench.device)
    with torch.inference_mode():
        return bench.rate(lambda: classifier.run(pixels, gradients=False), count)


def graph(bench: Bench) -> Iterator[str]:
    """Yield the rate of a small batch in a CUDA graph: what launching kernels costs without."""
    if bench.device.type != "cuda":
        yield "| CUDA graph, 8 tiles | not tried: no CUDA device |"
        return
    classifier = bench.classifier("bf16")
    pixels = torch.from_numpy(noise(8).pixels).to(bench.device)
    with torch.inference_mode():
        plain = bench.rate(lambda: classifier.run(pixels, gradients=False), 8)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            classifier.run(pixels, gradients=False)
        replayed = bench.rate(captured.replay, 8)
    yield f"| CUDA graph, 8 tiles, bf16 | {replayed:,.0f} tiles/s, {plain:,.0f} without |"


def overlap(bench: Bench) -> Iterator[str]:
    """Yield what copying costs beside computing: `classify` over batches that lie in memory."""
    classifier, count = bench.classifier("bf16"), bench.batches[-1]
    batches = [noise(count, seed) for seed in range(4)]
    list(classify(batches[:1], classifier, None))
    begun, rounds = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS:
        list(classify(batches, classifier, None))
        rounds += 1
    rate = rounds * len(batches) * count / (time.perf_counter() - begun)
    alone = bare_rate(bench, classifier, count)
    words = f"{rate:,.0f} tiles/s, {rate / alone:.2f} of bare"
    yield f"| copies beside computing, bf16, {count} tiles | {words} |"


def whole(bench: Bench) -> Iterator[str]:
    """Yield the rates of whole calls over slides that stream, and their share of the bare one."""
    slides = bench.folder / "slides"
    slides.mkdir(exist_ok=True)
    for number in range(SLIDES):
        write_slide(slides / f"slide{number}.tif", bench.side * INPUT, number)
    for precision in PRECISIONS:
        for heatmap in ("none", "gradcam++"):
            count = bench.batches[-1]
            spec = PredictSpec(
                device=str(bench.device), precision=precision, heatmap=heatmap, batch=count
            )
            shutil.rmtree(bench.folder / "out", ignore_errors=True)
            seconds, between, tiles = call(slides, bench, spec)
            alone = bare_rate(bench, bench.classifier(precision), count)
            words = f"{tiles / seconds:,.0f} tiles/s, {between:,.0f} from first to last batch"
            share = f"{between / alone:.2f} of bare"
            yield f"| {SLIDES} slides, {precision}, heatmap {heatmap} | {words}: {share} |"


def call(slides: Path, bench: Bench, spec: PredictSpec) -> tuple[float, float, int]:
    """Return the seconds of a call, the tiles a second between its batches, and its tiles."""
    begun, times = time.perf_counter(), []
    for event in predict(slides, bench.bundle.path, bench.folder / "out", spec):
        if isinstance(event, SlideFailed):
            raise SystemExit(event.problem)
        if isinstance(event, BatchDone):
            times.append((time.perf_counter(), len(event.boxes)))
        if isinstance(event, Finished):
            seconds = time.perf_counter() - begun
    tiles = sum(count for _when, count in times)
    span = max(times[-1][0] - times[0][0], 1e-9)
    return seconds, (tiles - times[0][1]) / span, tiles


def full(bench: Bench) -> Iterator[str]:
    """Yield what becomes of a run on a device whose memory another program holds."""
    if bench.device.type != "cuda":
        yield "| memory that is full | not tried: no CUDA device |"
        return
    found = find_batch_size(bench.classifier("bf16"), None)
    free, _total = torch.cuda.mem_get_info(bench.device)
    held = torch.empty(free - 2**30, dtype=torch.uint8, device=bench.device)
    spec = PredictSpec(device=str(bench.device), precision="bf16", heatmap="none", batch=512)
    shutil.rmtree(bench.folder / "out", ignore_errors=True)
    said = [
        event.message
        for event in predict(bench.folder / "slides", bench.bundle.path, bench.folder / "out", spec)
        if isinstance(event, Warned) and "held" in event.message
    ]
    del held
    words = said[0] if said else "1 GB was enough"
    yield f"| 1 GB left, batches of 512 | {words} |"
    yield f"| batch that is found, bf16 | {found} tiles |"


def main() -> None:
    """Measure, and print a line as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--architecture", default="timm/resnet50")
    parser.add_argument("--side", type=int, default=40, help="tiles along each slide")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 256])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    bundle = open_bundle(write_bundle(options.folder, options.architecture, INPUT, CLASSES))
    bench = Bench(options.folder, bundle, device, tuple(options.batches), options.side)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    sys.stdout.write(
        f"{name}, torch {torch.__version__}, {options.architecture}\n\n|  |  |\n|---|---|\n"
    )
    for part in (equality, bare, graph, overlap, whole, full):
        for line in part(bench):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
