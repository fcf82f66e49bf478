"""A volume's run: heatmaps on its voxels, and a profile along its slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from slidecam.errors import StoreError
from slidecam.exchange.volumes import read_volume_ome_zarr
from slidecam.plugin.overlays import HEAT, heat_colors
from slidecam.plugin.volume import placed
from slidecam.runs import Run, RunRecord
from slidecam.runs.record import RUN_AGAIN
from slidecam.runs.run import find_heatmaps
from slidecam.sources.display import displayed

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.plugin.slide import LayerData
    from slidecam.runs.slices import SliceTable

HEAT_OPACITY = 0.6
ANATOMIC = {"axial": 0, "coronal": 1, "sagittal": 2}


def is_volume_run(folder: Path) -> bool:
    """Whether a run is of a volume's slices and not of a slide's tiles."""
    record = RunRecord.find(folder)
    return record is not None and record.is_volume


def volume_heat_layers(path: Path, name: str, shown: str | None = None) -> list[LayerData]:
    """Return a volume's heatmap as one 3-D layer for each class.

    ``shown`` is the class that is visible at first.
    """
    heat = read_volume_ome_zarr(path)
    visible = heat.spec.class_names[0] if shown not in heat.spec.class_names else shown
    layers: list[LayerData] = []
    for index, class_name in enumerate(heat.spec.class_names):
        array: Any = da.from_zarr(heat.array)[index]  # type: ignore[no-untyped-call]
        place = placed(heat.scale, heat.translate)
        if heat.spec.stack.grid.is_oblique:
            straight = displayed(np.nan_to_num(np.asarray(heat.array[index])), heat.spec.stack.grid)
            array, place = straight.array, placed(straight.scale, straight.translate)
        look = {
            "name": f"{name}: heat {class_name}",
            "colormap": heat_colors(signed=heat.spec.signed),
            "blending": "translucent_no_depth",
            "opacity": HEAT_OPACITY,
            "contrast_limits": (-1 if heat.spec.signed else 0, 1),
            "visible": class_name == visible,
            "metadata": {
                "kind": HEAT,
                "class": class_name,
                "heatmap": str(path),
                "volume run": str(path.parent),
            },
        }
        layers.append((array, {**look, **place}, "image"))
    return layers


def volume_run_layers(folder: Path) -> list[LayerData]:
    """Return the heatmaps of a volume's run.

    That of the class it was called is on top, and alone visible.
    """
    heatmaps, call = find_heatmaps(folder), RunRecord.read(folder).call
    if not heatmaps:
        return []
    return volume_heat_layers(heatmaps[0], folder.name, None if call is None else call.called)


@dataclass(frozen=True, eq=False)
class Profile:
    """A classifier's probabilities along the slices of a volume.

    Attributes
    ----------
    table
        One row for each slice.
    axis
        Which of napari's axes it runs along: 0 S, 1 P, 2 L.
    colors
        Of the classes.
    called
        What the volume was called, in words.
    """

    table: SliceTable
    axis: int
    colors: tuple[tuple[int, int, int], ...]
    called: str


def read_profile(folder: Path) -> Profile:
    """Read the profile of a volume's run; StoreError if it is none, or damaged."""
    run = Run.open(folder)
    volume, table, call = run.record.input.volume, run.slices, run.record.call
    if volume is None or table is None:
        raise StoreError(folder, "this is no finished run of a volume.", RUN_AGAIN)
    called = "nothing" if call is None else call.words
    return Profile(table, ANATOMIC[volume.axis], run.tiles.class_colors, called)
