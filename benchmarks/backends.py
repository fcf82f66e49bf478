"""How fast each backend runs networks here, over ready batches, and which of them ``auto`` takes.

All have their turn in each round, on the same batch, and give what a run needs: logits and the
activation that maps are made of. The figure is the median of the rounds.

    python benchmarks/backends.py [--rounds 3] [--batches 4] [--batch 16] [ARCHITECTURE ...]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from material import write_bundle

from slidecam.models import open_bundle
from slidecam.models.trial import machine_here

if TYPE_CHECKING:
    from slidecam.models import Classifier
    from slidecam.models.splits import Precision

ARCHITECTURES = (
    "timm/resnet18",
    "timm/resnet50",
    "timm/densenet121",
    "timm/mobilenetv2_100",
    "timm/efficientnet_b0",
    "timm/efficientnet_b4",
    "timm/convnext_tiny",
    "timm/vit_small_patch16_224",
    "timm/swin_tiny_patch4_window7_224",
)

WAYS: tuple[tuple[str, Precision], ...] = (
    ("eager", "fp32"),
    ("folded", "fp32"),
    ("openvino", "fp32"),
    ("auto", "fp32"),
    ("openvino", "bf16"),
)


def tiles_a_second(classifier: Classifier, batch: torch.Tensor, batches: int) -> float:
    """Return how many tiles a second a classifier takes, of batches that are ready."""
    start = time.perf_counter()
    for _ in range(batches):
        classifier.run_normalised(batch, gradients=False)
    return batches * len(batch) / (time.perf_counter() - start)


def measure(architecture: str, options: argparse.Namespace, folder: Path) -> str:
    """Return a network's row."""
    bundle = open_bundle(write_bundle(folder, architecture))
    found = [bundle.classifier("cpu", precision, backend=backend) for backend, precision in WAYS]
    ready = torch.rand(options.batch, 3, bundle.card.input_px, bundle.card.input_px)
    rates: list[list[float]] = [[] for _ in found]
    with torch.no_grad():
        for classifier in found:
            tiles_a_second(classifier, ready, 1)  # the first batch is slower
        for _ in range(options.rounds):
            for classifier, known in zip(found, rates, strict=True):
                known.append(tiles_a_second(classifier, ready, options.batches))

    middle = [statistics.median(known) for known in rates]
    taken = WAYS.index(("auto", "fp32"))
    cells = " | ".join(f"{rate:.1f}" for rate in middle)
    times = middle[taken] / middle[0]
    return f"| {architecture} | {cells} | {found[taken].backend} | {times:.2f} |"


def main() -> None:
    """Print a table, a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    names = " | ".join(f"{backend} {precision}" for backend, precision in WAYS)
    sys.stdout.write(f"{machine_here()}, torch {torch.__version__}\n\n")
    print(f"| network, tiles/s | {names} | auto took | auto against eager |")
    print("|---|" + "---|" * (len(WAYS) + 2), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for architecture in options.architectures:
            print(measure(architecture, options, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
