"""From slides and what was drawn on them to pictures to learn from.

How a pathologist teaches a classifier.

The grid, the resize and the pixels are those of `predict`; a tile that is learnt here is seen in
the same way there. Slices of volumes become pictures to learn from alike.
"""

from slidecam.tile_sets.slices import SliceSet, SliceSetSpec, write_slice_set
from slidecam.tile_sets.spec import SlideTiles, TileSet, TileSetSpec
from slidecam.tile_sets.writing import RECORD, safe_name, write_tile_set

__all__ = [
    "RECORD",
    "SliceSet",
    "SliceSetSpec",
    "SlideTiles",
    "TileSet",
    "TileSetSpec",
    "safe_name",
    "write_slice_set",
    "write_tile_set",
]
