"""What is explained: a tile of a run, the tiles of an area that was drawn, or a volume's slice.

It knows no Qt, and nothing of torch: what is chosen here is looked at beside the window.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from slidecam.exchange.geojson import Annotation, write_annotations
from slidecam.runs.located import recorded_view
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.geometry import Axis, Box
    from slidecam.plugin.run_request import Region
    from slidecam.runs import Run

FOLDER = "close-ups"


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained of a run's slide or volume, by the run's own model.

    Attributes
    ----------
    run
        The run.
    folder
        Where the report goes.
    chosen
        What `slidecam.close_up.TileChoice` is given, the area left out.
    box
        x, y, width, height of the tile in level-0 pixels; None for an area and a slice.
    region, bounds
        The area, and the part of the slide that QuPath counts from the corner of.
    """

    run: Run
    folder: Path
    chosen: Mapping[str, Any] = field(default_factory=dict)
    box: tuple[int, int, int, int] | None = None
    region: Region | None = None
    bounds: Box | None = None

    def choice(self) -> dict[str, Any]:
        """Return what `slidecam.close_up.TileChoice` is given; an area is written for it."""
        # The colours that the run saw, though the card or the call of today may say otherwise.
        seen = replace(self.run.seen, profile=self.run.seen.profile or "ignore")
        choice = {**self.chosen, "reader": self.run.reader, "seen": seen}
        if self.region is not None:
            path = self.folder.with_suffix(".geojson")
            path.parent.mkdir(exist_ok=True)
            drawn = [Annotation("", rings) for rings in self.region.areas]
            write_annotations(path, drawn, self.bounds)
            choice["region"] = path
        return choice

    @property
    def stack(self) -> PlaneStack | None:
        """The slices of the run's volume; None of a slide, or where the record does not say."""
        volume = self.run.record.input.volume
        if volume is None or not volume.affine_ras_mm:
            return None
        first, second, third = volume.voxels
        grid = VolumeGrid((first, second, third), np.array(volume.affine_ras_mm, np.float64))
        return PlaneStack(grid, cast("Axis", volume.axis))


def tile_of(run: Run, row: int) -> Subject:
    """Return one tile of a run, by its number."""
    x, y, width, height = (int(value) for value in run.tiles.boxes[row])
    centre = (x + width / 2, y + height / 2)
    chosen = {"at": (centre,), "mpp": run.spacing}
    return Subject(run, run.folder / FOLDER / f"{x}_{y}", chosen, (x, y, width, height))


def area_of(run: Run, region: Region, bounds: Box | None) -> Subject:
    """Return the tiles of a run's slide that lie in an area by more than half."""
    folder = run.folder / FOLDER / region.name
    return Subject(run, folder, {"mpp": run.spacing}, region=region, bounds=bounds)


def slice_of(run: Run, number: int) -> Subject:
    """Return one slice of a volume's run, by its number in ``slices.csv``."""
    view = recorded_view(run.digest)
    chosen = {"slices": (number,), "axis": view.axis, "volume": view.volume}
    return Subject(run, run.folder / FOLDER / f"slice-{number}", chosen)
