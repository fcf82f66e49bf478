"""The tiles of a GeoJSON, ours or QuPath's, as classes on their slide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import MaskError
from slidecam.plugin.areas import GREY
from slidecam.plugin.overlays import (
    CLASS,
    LABEL,
    OPACITY,
    UNCLASSIFIED,
    label_colors,
)
from slidecam.plugin.ownership import SLIDE
from slidecam.plugin.placing import CellGrid
from slidecam.registry import deferred

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from slidecam.exchange.geojson import FileTiles
    from slidecam.plugin.placing import Placing
    from slidecam.plugin.slide import LayerData
else:
    pd = deferred("pandas")

TILES = "tiles of a file"
"""The kind of the layer."""

TILES_OF = "-tiles"
"""What the name of a file of tiles has behind that of its slide."""

MOST_CELLS = 100
"""Cells of a grid for each tile on it: of more the tiles lie on no grid."""


def tiles_layer(
    path: Path,
    tiles: FileTiles,
    placing: Placing,
    slide: str,
) -> LayerData:
    """Return the tiles of a file as labels, with the names and colours of their classes.

    Parameters
    ----------
    path, tiles
        The file, and its tiles, one at least.
    placing, slide
        Where the slide lies, and its fingerprint; nothing where none is open.

    Raises
    ------
    MaskError
        If the tiles lie on no grid.
    """
    cells = CellGrid(tiles.boxes, _step(tiles.boxes))
    rows, columns = cells.shape
    if rows * columns > MOST_CELLS * (len(tiles) + MOST_CELLS):
        problem = "The tiles of this file lie on no grid."
        raise MaskError(problem, "Open the result that they are of instead.", path)
    known = list(dict.fromkeys(filter(None, tiles.names)))
    places = range(UNCLASSIFIED, len(known) + 1)
    numbers = dict(zip(("", *known), places, strict=True))
    values = list(map(numbers.__getitem__, tiles.names))
    counts = np.bincount(values, minlength=len(known) + 1)
    features = pd.DataFrame(
        {"index": range(len(known) + 1), "class": ["none", *known], "tiles": counts}
    )
    meta = {
        "name": f"{path.name.split('.')[0]}: tiles",
        "colormap": label_colors(tiles.colors.get(name, GREY) for name in known),
        "features": features,
        "opacity": OPACITY[CLASS],
        "metadata": {"kind": TILES, SLIDE: slide},
        **cells.placed(placing),
    }
    return cells.painted(np.array(values, LABEL), UNCLASSIFIED), meta, "labels"


def _step(boxes: NDArray[np.int64]) -> tuple[int, int]:
    """Return level-0 pixels from one tile to the next, across and down, of tiles on a grid."""
    steps: list[int] = []
    for axis in range(2):
        # One row or column of tiles steps by a tile.
        apart = np.diff(np.unique(boxes[:, axis])).tolist() or boxes[:1, axis + 2].tolist()
        steps.append(math.gcd(*apart))
    return steps[0], steps[1]
