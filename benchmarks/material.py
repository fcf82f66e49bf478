"""Slides and bundles to measure with, made here so that a benchmark needs no download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile
import torch

from slidecam.models import Card, save_bundle
from slidecam.models.architectures import build_network

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

TILE = 256
SPACING = 0.5


def write_slide(path: Path, edge: int, seed: int = 0) -> Path:
    """Write a square slide of stained noise, a JPEG pyramid of 256 px tiles, in bounded memory."""
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for step in (1, 4, 16):
            size = edge // step
            per_cm = 10_000 / (SPACING * step)
            writer.write(
                _tiles(size, seed + step),
                shape=(size, size, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="jpeg",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(step > 1),
            )
    return path


def _tiles(size: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    stock = []
    for _ in range(8):
        coarse = rng.integers(-40, 40, (TILE // 8, TILE // 8, 3)).repeat(8, 0).repeat(8, 1)
        stock.append(np.clip(np.array([205, 140, 180]) + coarse, 0, 255).astype(np.uint8))
    for index in range((-(-size // TILE)) ** 2):
        yield stock[index % len(stock)]


def write_bundle(folder: Path, architecture: str, input_px: int = 224, classes: int = 3) -> Path:
    """Write a bundle of random weights: what it predicts is nonsense, what it costs is not."""
    torch.manual_seed(0)
    network = build_network(architecture, {}, classes, folder)
    card = Card(
        name=architecture,
        architecture=architecture,
        class_names=tuple(f"class {number}" for number in range(classes)),
        activation="softmax",
        tile_px=input_px,
        spacing=SPACING,
        input_px=input_px,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    return save_bundle(folder / architecture.replace("/", "-"), card, network, overwrite=True).path
