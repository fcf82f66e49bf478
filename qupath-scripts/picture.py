"""Draw what the scripts show.

``python qupath-scripts/picture.py RESULTS/<slide> SLIDE docs/pictures/qupath.png``.

RESULTS are of ``slidecam predict SLIDE`` and ``slidecam export --to qupath``. No QuPath takes part:
the tiles come from ``tiles.geojson.gz``, the heatmap from its PNG and its place in the index, as
QuPath takes them.
"""

from __future__ import annotations

import gzip
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from slidecam.sources import open_source

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.patches import Patch, Rectangle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

LONGEST = 1024
"""Longest side of the slide's picture, in pixels."""

THRESHOLD = 0.5
"""Of `4_merge_regions`."""

SHOWN = "tumour"
"""The class whose heatmap is drawn."""


def main(results: Path, slide: Path, picture: Path) -> None:
    """Draw three panels: tiles, regions, heatmap."""
    folder = results / "qupath"
    index = json.loads((folder / "slidecam.json").read_text(encoding="ascii"))
    with gzip.open(folder / "tiles.geojson.gz", "rt") as file:
        tiles = json.load(file)["features"]
    with open_source(str(slide)) as source:
        thumbnail, size = source.thumbnail(LONGEST), source.facts.size
    figure, panels = plt.subplots(1, 3, figsize=(15, 5.6), layout="constrained")
    for panel, title in zip(
        panels, ("Tiles, by class", "Regions, merged tiles", f"Heatmap, {SHOWN}"), strict=True
    ):
        panel.imshow(thumbnail, extent=(0, size.width, size.height, 0))
        panel.set(title=title, xticks=[], yticks=[])
    _tiles(panels[0], tiles)
    _regions(panels[1], tiles)
    _heatmap(panels[2], next(told for told in index["heatmaps"] if told["class"] == SHOWN), folder)
    legend = [
        Patch(color=tuple(value / 255 for value in told["color"]), label=told["name"])
        for told in index["classes"]
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False)
    figure.suptitle("Drawn from slidecam's export for QuPath; not a screenshot", fontsize=10)
    figure.savefig(picture, dpi=90)


def _box(tile: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    corners = np.array(tile["geometry"]["coordinates"][0], np.float64)
    return corners.min(axis=0), np.ptp(corners, axis=0)


def _color(tile: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(value / 255 for value in tile["properties"]["classification"]["color"])


def _tiles(panel: Axes, tiles: list[dict[str, Any]]) -> None:
    for tile in tiles:
        corner, size = _box(tile)
        color = _color(tile)
        panel.add_patch(
            Rectangle((corner[0], corner[1]), *size, fc=(*color, 0.45), ec=color, lw=0.6)
        )


def _regions(panel: Axes, tiles: list[dict[str, Any]]) -> None:
    """Outline the likely tiles of each class together: edges that two of them share are inside."""
    edges: dict[tuple[Any, ...], int] = {}
    for tile in tiles:
        name = tile["properties"]["classification"]["name"]
        if tile["properties"]["measurements"][f"prob_{name}"] < THRESHOLD:
            continue
        ring = [tuple(corner) for corner in tile["geometry"]["coordinates"][0]]
        for start, end in pairwise(ring):
            key = (_color(tile), *sorted((start, end)))
            edges[key] = edges.get(key, 0) + 1
    for (color, start, end), count in edges.items():
        if count == 1:
            panel.plot((start[0], end[0]), (start[1], end[1]), color=color, lw=2.2)


def _heatmap(panel: Axes, told: Mapping[str, Any], folder: Path) -> None:
    with Image.open(folder / told["file"]) as heat:
        pixels = np.asarray(heat)
    left, top = told["x"], told["y"]
    limits = panel.axis()
    panel.imshow(pixels, extent=(left, left + told["width"], top + told["height"], top))
    panel.axis(limits)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
