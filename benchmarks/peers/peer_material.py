"""The slide, the tiles and the networks that every engine is given."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile
import timm
import torch
from PIL import Image

from slidecam.models import Card, save_bundle
from slidecam.models.architectures import build_network

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SPACING = 0.5
CUT = 256
"""Edge of the slide's own tiles."""

PER_TILE = 7
"""Mask pixels along a tile: what divides it, so that no mask pixel lies on two."""


@dataclass(frozen=True)
class Block:
    """A square of ``side`` x ``side`` tiles in the middle of a slide of ``edge`` pixels."""

    edge: int
    tile: int
    side: int

    @property
    def first(self) -> int:
        """The first tile's number along either axis."""
        return (self.edge // self.tile - self.side) // 2

    @property
    def corners(self) -> NDArray[np.int64]:
        """Level-0 corners, (tiles, 2), row by row."""
        along = (self.first + np.arange(self.side)) * self.tile
        y, x = np.meshgrid(along, along, indexing="ij")
        return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.int64)

    def write_corners(self, path: Path) -> Path:
        """Write the tiles for the drivers."""
        np.save(path, self.corners)
        return path

    def write_mask(self, path: Path) -> Path:
        """Write the block as a picture of tissue."""
        pixel = self.tile // PER_TILE
        mask = np.zeros((self.edge // pixel, self.edge // pixel), np.uint8)
        start, stop = self.first * PER_TILE, (self.first + self.side) * PER_TILE
        mask[start:stop, start:stop] = 255
        Image.fromarray(mask).save(path)
        return path


def write_slide_of(source: Path, path: Path, edge: int) -> Path:
    """Write a JPEG pyramid of ``edge`` pixels a side, a real slide repeated; it may lie there."""
    if path.exists():
        return path
    picture = tifffile.imread(source)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for step in (1, 4, 16):
            per_cm = 10_000 / (SPACING * step)
            shown = np.asarray(Image.fromarray(picture).reduce(step))
            writer.write(
                _repeated(shown, edge // step),
                shape=(edge // step, edge // step, 3),
                dtype=np.uint8,
                tile=(CUT, CUT),
                photometric="rgb",
                compression="jpeg",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(step > 1),
            )
    return path


def _repeated(picture: NDArray[np.uint8], edge: int) -> Iterator[NDArray[np.uint8]]:
    """Yield tiles of a picture that goes on for ever, shifted a little so that no two are equal."""
    height, width = picture.shape[:2]
    count = -(-edge // CUT)
    for row in range(count):
        rows = np.arange(row * CUT, (row + 1) * CUT) % height
        for column in range(count):
            columns = np.arange(column * CUT, (column + 1) * CUT) % width
            yield picture[rows[:, None], columns]


def write_models(folder: Path, architecture: str, classes: int, tile: int) -> Path:
    """Write one network of random weights as every engine wants it."""
    folder = folder / architecture
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    name = f"timm/{architecture}"
    network = build_network(name, {}, classes, folder)
    names = tuple(f"class{number}" for number in range(classes))
    half = (0.5, 0.5, 0.5)
    card = Card(
        name=architecture,
        architecture=name,
        class_names=names,
        activation="softmax",
        tile_px=tile,
        spacing=SPACING,
        input_px=tile,
        mean=half,
        std=half,
    )
    save_bundle(folder / "bundle", card, network, overwrite=True)
    plain = timm.create_model(architecture, num_classes=classes)
    plain.load_state_dict(network.state_dict())
    torch.save(plain.state_dict(), folder / "weights.pt")
    traced = torch.jit.trace(  # type: ignore[no-untyped-call]  # WSInfer takes nothing else
        plain.eval(), torch.rand(1, 3, tile, tile)
    )
    traced.save(str(folder / "torchscript_model.pt"))
    config = {
        "spec_version": "1.0",
        "architecture": architecture,
        "num_classes": classes,
        "class_names": list(names),
        "patch_size_pixels": tile,
        "spacing_um_px": SPACING,
        "transform": [
            {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": half, "std": half}},
        ],
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
