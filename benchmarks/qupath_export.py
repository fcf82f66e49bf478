"""How long it takes to write many tiles for QuPath: `python benchmarks/qupath_export.py [TILES …]`.

No QuPath is needed; what its import costs is told in `qupath-scripts/README.md`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from slidecam.classes import ClassSet
from slidecam.exchange.geojson import write_tiles_geojson
from slidecam.exchange.qupath import write_tiles_table
from slidecam.runs.tiles import TileTable

CLASSES = ("Tumour", "Stroma", "Other")


def make_table(tiles: int) -> TileTable:
    """Return a square grid of tiles with three random probabilities each."""
    rng = np.random.default_rng(0)
    places = np.arange(tiles)
    across = int(np.ceil(np.sqrt(tiles)))
    boxes = np.stack(
        [places % across * 512, places // across * 512, *np.full((2, tiles), 512)], axis=1
    )
    values = rng.dirichlet(np.ones(len(CLASSES)), tiles).astype(np.float32)
    status, colors = np.ones(tiles, np.uint8), ((200, 0, 0), (150, 200, 150), (255, 200, 0))
    return TileTable(boxes.astype(np.int64), status, values, ClassSet(CLASSES, "softmax", colors))


def main() -> None:
    """Print a table of seconds and megabytes."""
    print("| tiles | what | seconds | MB |\n|---|---|---|---|")
    for tiles in map(int, sys.argv[1:] or ("100000", "1000000")):
        table = make_table(tiles)
        with TemporaryDirectory() as folder:
            for name, write in (
                ("tiles.geojson", write_tiles_geojson),
                ("tiles.geojson.gz", write_tiles_geojson),
                ("tiles.csv.gz", write_tiles_table),
            ):
                path = Path(folder) / name
                start = time.perf_counter()
                write(table, path)
                seconds = time.perf_counter() - start
                print(f"| {tiles} | {name} | {seconds:.2f} | {path.stat().st_size / 1e6:.1f} |")


if __name__ == "__main__":
    main()
