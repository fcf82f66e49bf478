"""Where on a slide a run shall work: the tissue in the current view, or areas that were drawn."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import UsageError
from slidecam.exchange.geojson import Annotation, write_annotations
from slidecam.foreground import Foreground, ForegroundSpec, find_foreground, save_foreground
from slidecam.sources import open_source, settle_spacing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.geometry import Box


@dataclass(frozen=True, eq=False)
class Region:
    """Part of a slide.

    Attributes
    ----------
    rings
        Areas as drawn, (N, 2) x, y in level-0 pixels each: all that lies in them is classified.
    view
        A box of which only the tissue is classified; None where areas were drawn.
    """

    rings: tuple[NDArray[np.float64], ...] = ()
    view: Box | None = None

    @property
    def name(self) -> str:
        """A short name of its own: runs of different regions are different runs."""
        told = repr(self.view).encode() + b"".join(
            np.round(ring, 1).tobytes() for ring in self.rings
        )
        kind = "view" if self.view is not None else "areas"
        return f"{kind}-{hashlib.sha256(told).hexdigest()[:8]}"


def write_region(region: Region, slide: str, out: Path, mpp: float | None) -> Path:
    """Write the mask that `predict` takes for a region, and return where it lies.

    Raises
    ------
    UsageError
        If there is no tissue in the view.
    SlidecamError
        If the slide cannot be read.
    """
    with open_source(slide) as source:
        facts = source.facts
        if region.view is None:
            path = out / f"{region.name}.geojson"
            write_annotations(
                path, [Annotation("", (ring,)) for ring in region.rings], facts.bounds
            )
            return path
        tissue = find_foreground(source, settle_spacing(facts, mpp).spacing, ForegroundSpec())
    seen = within(tissue, region.view)
    if not seen.mask.any():
        raise UsageError(
            "there is no tissue in the current view.",
            "Move the view to some, or choose another region.",
        )
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{region.name}.png"
    save_foreground(seen, path)
    return path


def within(tissue: Foreground, view: Box) -> Foreground:
    """Return the tissue whose mask pixels have their centres in a box of level-0 pixels."""
    rows, columns = tissue.mask.shape
    y = (np.arange(rows) + 0.5) * tissue.size.height / rows
    x = (np.arange(columns) + 0.5) * tissue.size.width / columns
    inside = np.outer((y >= view.y) & (y < view.bottom), (x >= view.x) & (x < view.right))
    return Foreground(tissue.mask & inside, tissue.size, f"{tissue.origin}, in the current view")
