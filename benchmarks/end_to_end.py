"""Compare `predict`, decoding and heatmaps and files and all, with the eager model alone.

The model alone runs over ready batches.

The plain loop gets batches that are decoded, normalised and in memory, and computes logits with the
unmodified network. `predict` gets the slide. Both run in this process, in turn, on the same tiles.
The figure is tiles per second of the classification itself, and beside it of the whole call with
opening, masking and writing.

    python benchmarks/end_to_end.py [--edge 8192] [--rounds 3] [ARCHITECTURE ...]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from material import write_bundle, write_slide

from slidecam.events import BatchDone, Planned, SlideFinished
from slidecam.models import open_bundle
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec

BATCH = 16


def plain_loop(bundle: Path, tiles: int) -> float:
    """Return the tiles per second of the eager network over ready batches."""
    network, card = open_bundle(bundle).network(), open_bundle(bundle).card
    ready = torch.rand(BATCH, 3, card.input_px, card.input_px)
    with torch.inference_mode():
        network(ready)
        start = time.perf_counter()
        for _ in range(-(-tiles // BATCH)):
            network(ready).softmax(1).numpy()
    return -(-tiles // BATCH) * BATCH / (time.perf_counter() - start)


def whole_way(slide: Path, bundle: Path, out: Path) -> tuple[float, float, int]:
    """Return tiles per second of the classification, of the whole call, and the number of tiles."""
    start, planned, classified, tiles = time.perf_counter(), 0.0, 0.0, 0
    for event in predict(slide, bundle, out, PredictSpec(existing="overwrite", batch=BATCH)):
        if isinstance(event, Planned):
            planned, tiles = time.perf_counter(), event.tiles
        elif isinstance(event, BatchDone):
            classified = time.perf_counter()
        elif isinstance(event, SlideFinished):
            finished = time.perf_counter()
    return tiles / (classified - planned), tiles / (finished - start), tiles


def main() -> None:
    """Print one row per architecture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "architectures", nargs="*", default=["timm/resnet50", "timm/mobilenetv2_100"]
    )
    parser.add_argument("--edge", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {BATCH},"
        f" {options.rounds} rounds"
    )
    print("architecture | tiles | plain eager loop | predict + Grad-CAM++ | ratio | whole call")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        slide = write_slide(folder / "slide.tif", options.edge)
        for architecture in options.architectures:
            bundle = write_bundle(folder, architecture)
            rounds = []
            for _ in range(options.rounds):
                ours, call, tiles = whole_way(slide, bundle, folder / "out")
                rounds.append((plain_loop(bundle, min(tiles, 320)), ours, call))
            plain, ours, call = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(one[1] / one[0] for one in rounds)
            print(
                f"{architecture} | {tiles} | {plain:.1f}/s | {ours:.1f}/s | {ratio:.2f} |"
                f" {call:.1f}/s"
            )


if __name__ == "__main__":
    main()
