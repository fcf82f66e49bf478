"""From the raw maps of single tiles to one heatmap of the slide, painted band by band.

Every cell of a tile's map is a sample at the cell's centre. A raster pixel is the weighted mean of
the samples around it: a tent as wide as a cell, so that values run on smoothly from one tile into
the next, times a Hann window over the tile where tiles overlap, so that a tile counts most where it
sees most context. Nothing is blurred beyond that, and what no tile covers is not-a-number.

All tiles of a slide share one scale (`slide_scales`). Scaling every tile by its own maximum makes
normal tissue glow like tumour.
"""

from slidecam.heatmap.maps import (
    PaintSpec,
    Scale,
    TileMaps,
    presence,
    slide_scales,
    slide_thresholds,
)
from slidecam.heatmap.painting import Heatmap, Raster, paint, paint_bands, plan_raster

__all__ = [
    "Heatmap",
    "PaintSpec",
    "Raster",
    "Scale",
    "TileMaps",
    "paint",
    "paint_bands",
    "plan_raster",
    "presence",
    "slide_scales",
    "slide_thresholds",
]
