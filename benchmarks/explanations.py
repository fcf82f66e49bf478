"""What do maps cost beside predictions? Grad-CAM++ of all classes, and every cheap method at once.

All in the same pass.

Both sides use one classifier, folded, on the same ready batch, in turn: pairs of runs next to each
other, so that what else the machine does falls on both. The figure is the median of the pairs'
ratios. A hook on the network's first convolution counts how often the backbone ran.

    python benchmarks/explanations.py [--rounds 30] [--batch 16] [--classes 9] [--threads N]
    [ARCHITECTURE ...]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from material import write_bundle
from torch import nn

from slidecam.explain.activation_maps import MapPlan, cheap_maps, plan_maps
from slidecam.models import open_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.models import Classifier

ARCHITECTURES = (
    "timm/resnet50",
    "timm/densenet121",
    "timm/mobilenetv2_100",
    "timm/efficientnet_b4",
    "slidecam/dense_head",
    "timm/convnext_tiny",
    "timm/vit_small_patch16_224",
    "slidecam/simple_cnn",
)
"""The first four average their map before one linear layer, and the others do not."""


class Passes:
    """Counts the tiles that a classifier's first convolution sees."""

    def __init__(self, classifier: Classifier) -> None:
        first = next(
            module for module in classifier.network.modules() if isinstance(module, nn.Conv2d)
        )
        first.register_forward_hook(self._count)
        self.tiles = 0

    def _count(self, _layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        self.tiles += len(output)


def predict(classifier: Classifier, tiles: torch.Tensor, plan: MapPlan | None) -> float:
    """Return the seconds that probabilities take, and the maps that are planned."""
    start = time.perf_counter()
    passed = classifier.run(tiles, gradients=plan is not None and plan.gradients)
    classifier.probabilities(passed.logits.detach()).numpy()
    if plan is not None:
        plan(passed).numpy()
    return time.perf_counter() - start


def ratios(classifier: Classifier, tiles: torch.Tensor, plan: MapPlan, rounds: int) -> list[float]:
    """Return how much longer predictions take with maps, pair by pair.

    Which of both comes first alternates.
    """
    found = []
    for number in range(rounds):
        if number % 2:
            mapped, alone = predict(classifier, tiles, plan), predict(classifier, tiles, None)
        else:
            alone, mapped = predict(classifier, tiles, None), predict(classifier, tiles, plan)
        found.append(mapped / alone)
    return found


def cheap_methods(classifier: Classifier) -> list[str]:
    """Return the names of the cheap methods that this classifier bears."""
    return [
        name
        for name, one in cheap_maps().items()
        if one.needs != "linear head" or classifier.linear_head is not None
    ]


def row(architecture: str, folder: Path, options: argparse.Namespace) -> str:
    """Return one row of the table."""
    classifier = open_bundle(
        write_bundle(folder, architecture, classes=options.classes)
    ).classifier()
    tiles = torch.randint(0, 256, (options.batch, 224, 224, 3), dtype=torch.uint8)
    every_class = range(options.classes - 1)
    plus = plan_maps(classifier, ["gradcam++"], range(options.classes))
    every = plan_maps(
        classifier, cheap_methods(classifier), every_class, against=options.classes - 1
    )
    warm = [predict(classifier, tiles, plan) for plan in (None, plus, every, None)]
    passes = Passes(classifier)
    predict(classifier, tiles, plus)
    a_tile = passes.tiles / options.batch
    of_plus, of_every = (ratios(classifier, tiles, plan, options.rounds) for plan in (plus, every))
    head = "linear" if classifier.linear_head is not None else "deep"
    return (
        f"{architecture} | {head} | {1000 * warm[-1] / options.batch:.1f} ms | {told(of_plus)} |"
        f" {told(of_every)} ({len(every.maps)}) | {a_tile:g}"
    )


def told(values: Sequence[float]) -> str:
    """Return the median and the quartiles of some ratios."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f}x ({low:.3f}-{high:.3f})"


def main() -> None:
    """Print one row per architecture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--classes", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} threads, batch {options.batch}, 224 px, "
        f"{options.classes} classes, {options.rounds} pairs; median of ratios (quartiles)"
    )
    print(
        "architecture | head | predictions, a tile | + Grad-CAM++ | + every cheap method | backbone"
        " passes a tile"
    )
    for architecture in options.architectures:
        with tempfile.TemporaryDirectory() as temporary:
            print(row(architecture, Path(temporary), options), flush=True)


if __name__ == "__main__":
    main()
