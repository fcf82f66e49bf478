"""Where the tiles of a volume lie: whole planes, or a grid on every plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import TilingError
from slidecam.tiling import BLACK, TileGrid, boxes_of, edges_of, in_tissue

if TYPE_CHECKING:
    from slidecam.foreground import VolumeForeground
    from slidecam.geometry import Spacing
    from slidecam.sources import SourceFacts
    from slidecam.sources.volume_grid import PlaneStack
    from slidecam.tiling import TilingSpec


def lay_planes(
    facts: SourceFacts,
    foreground: VolumeForeground,
    input_px: int,
    min_share: float,
) -> TileGrid:
    """Lay one tile over each plane of a volume, for a classifier that sees whole pictures.

    A tile is the square, in millimetres, that holds the plane, so that a head keeps its shape
    whatever that of the voxels; what lies beyond the plane is black.

    Parameters
    ----------
    facts
        The volume.
    foreground
        Where there is a head, or whatever was scanned.
    input_px
        Edge of a tile after the one resize.
    min_share
        Least foreground of a plane, as a share of the fullest plane's: what has less is left out.

    Raises
    ------
    TilingError
        If it is no volume.
    """
    stack = _stack_of(facts)
    _planes, rows, columns = stack.shape
    _apart, row_mm, column_mm = stack.spacing_mm
    side = max(rows * row_mm, columns * column_mm)
    width, height = round(side / column_mm), round(side / row_mm)
    shares = foreground.shares
    # The floor keeps planes without any foreground out when min_share is 0.
    full = shares >= max(min_share * float(shares.max(initial=0)), 1e-9)
    full[list(stack.missing)] = False
    kept = np.flatnonzero(full)
    box = [(columns - width) // 2, (rows - height) // 2, width, height]
    boxes = np.tile(np.array(box, np.int64), (len(kept), 1))
    step, level = max(width, height), facts.levels[0]
    return TileGrid(boxes, len(shares), step, level, input_px, BLACK, kept)


def lay_tiles_on_planes(
    facts: SourceFacts,
    spacing: Spacing,
    foreground: VolumeForeground,
    spec: TilingSpec,
) -> TileGrid:
    """Lay the tiles of ``spec`` over the foreground of every plane of a volume.

    Tiles are squares in millimetres, so that on planes of unequal spacing they are none in voxels.

    Raises
    ------
    TilingError
        If it is no volume, or a tile would be smaller than a voxel.
    """
    stack = _stack_of(facts)
    edges = edges_of(facts, spacing, spec)
    boxes = boxes_of(facts, edges, spec)
    kept, on = [boxes[:0]], [np.zeros(0, np.int64)]
    for plane in range(facts.planes):
        if plane in stack.missing:
            continue
        found = boxes[in_tissue(boxes, foreground.of_plane(plane), spec)]
        kept.append(found)
        on.append(np.full(len(found), plane, np.int64))
    return TileGrid(
        boxes=np.concatenate(kept),
        candidates=len(boxes) * facts.planes,
        step=edges[1].width,
        level=facts.levels[0],
        input_px=spec.input_px,
        fill=BLACK,
        planes=np.concatenate(on),
        row_step=edges[1].height,
    )


def _stack_of(facts: SourceFacts) -> PlaneStack:
    if facts.stack is None:
        remedy = "Lay a slide's grid with lay_grid or lay_whole."
        raise TilingError("This is no volume.", remedy, facts.path)
    return facts.stack
