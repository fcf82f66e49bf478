"""Measure a bundle on a synthetic slide.

How often it is right, and how well Grad-CAM++ points at nuclei.

Run from anywhere::

    python sample_data/measure.py --slide sample_data/slide.tif --seed 7 --bundle sample_data/bundle

The truth comes from the generator, which draws the slide's seed again; the pixels come from the
file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openslide
import torch
from make_slide import synthesise
from tiles import EDGE, cut_tiles, grid_corners
from tissue import CLASS_NAMES
from torch.nn import functional

from slidecam.explain.activation_maps import plan_maps
from slidecam.models import open_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from tiles import Tiles

    from slidecam.models import Classifier

BATCH = 64


@dataclass(frozen=True)
class Pointing:
    """How Grad-CAM++ of the predicted class lies on the tiles that were predicted as it.

    Attributes
    ----------
    tiles
        How many.
    energy, area
        Mean share of the map that lies on nuclei, and of the tile that does, which an even map
        would get.
    energy_ratio
        Their quotient; 1 is chance.
    hits
        Share of tiles whose map is highest on a nucleus, without tolerance; ``area`` is chance here
        as well.
    """

    tiles: int
    energy: float
    area: float
    energy_ratio: float
    hits: float


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Return level 0 of a slide as OpenSlide reads it, uint8 (height, width, 3)."""
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def classify(
    classifier: Classifier, pixels: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield, batch by batch, the winning class of each tile and its raw map at the tile's size."""
    plan = plan_maps(classifier, ["gradcam++"], range(len(CLASS_NAMES)))
    for batch in torch.split(torch.from_numpy(pixels), BATCH):
        done = classifier.run(batch, gradients=plan.gradients)
        winners = done.logits.detach().argmax(1)
        maps = plan(done)[torch.arange(len(batch)), 0, winners]
        large = functional.interpolate(
            maps[:, None], (EDGE, EDGE), mode="bilinear", align_corners=False
        )
        yield winners.numpy(), large[:, 0].numpy()


def pointing(maps: NDArray[np.float32], nuclei: NDArray[np.bool_]) -> Pointing:
    """Return how well raw ``maps`` (N, h, w) point at ``nuclei`` (N, h, w)."""
    flat, cells = maps.reshape(len(maps), -1), nuclei.reshape(len(nuclei), -1)
    energy = float(np.mean((flat * cells).sum(axis=1) / np.maximum(flat.sum(axis=1), 1e-12)))
    area = float(cells.mean())
    hits = float(np.mean(cells[np.arange(len(cells)), flat.argmax(axis=1)]))
    return Pointing(len(maps), energy, area, energy / area, hits)


def measure(classifier: Classifier, tiles: Tiles) -> dict[str, object]:
    """Return accuracies over all and clear tiles, the confusion matrix, and classes' pointing."""
    parts = list(classify(classifier, tiles.pixels))
    winners, maps = (np.concatenate(column) for column in zip(*parts, strict=True))
    right = winners == tiles.truth
    confusion = np.zeros((len(CLASS_NAMES), len(CLASS_NAMES)), int)
    np.add.at(confusion, (tiles.truth, winners), 1)
    return {
        "tiles": len(right),
        "accuracy_all": float(right.mean()),
        "clear_tiles": int(tiles.clear.sum()),
        "accuracy_clear": float(right[tiles.clear].mean()),
        "confusion_rows_are_truth": confusion.tolist(),
        "pointing": {
            name: asdict(pointing(maps[winners == index], tiles.nuclei[winners == index]))
            for index, name in enumerate(CLASS_NAMES)
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Write the figures as JSON to the terminal."""
    parser = argparse.ArgumentParser(description="Measure a bundle on a synthetic slide.")
    parser.add_argument("--slide", type=Path, required=True, help="slide that make_slide.py wrote")
    parser.add_argument("--seed", type=int, default=7, help="the seed that it was made from")
    parser.add_argument(
        "--bundle", type=Path, required=True, help="folder of card.json and weights"
    )
    options = parser.parse_args(arguments)
    pixels = read_pixels(options.slide)
    slide = replace(synthesise(options.seed, len(pixels)), pixels=pixels)
    tiles = cut_tiles(slide, grid_corners(len(pixels)))
    figures = measure(open_bundle(options.bundle).classifier("cpu"), tiles)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
