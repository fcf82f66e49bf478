"""A volume's run: heatmaps on its voxels, and a profile along its slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from slidecam.exchange.slices_csv import read_slices_csv
from slidecam.exchange.volume_zarr import read_volume_ome_zarr
from slidecam.plugin.overlays import HEAT, heat_colors
from slidecam.plugin.volume import placed
from slidecam.sources.display import displayed
from slidecam.store import read_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.exchange.slices_csv import SliceTable
    from slidecam.plugin.slide import LayerData

HEAT_OPACITY = 0.6
SLICES = "slices.csv"
ANATOMIC = {"axial": 0, "coronal": 1, "sagittal": 2}


def is_volume_run(folder: Path) -> bool:
    """Whether a run is of a volume's slices and not of a slide's tiles."""
    return bool((read_run(folder) or {}).get("input", {}).get("planes"))


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
    called = (read_run(folder) or {}).get("volume", {}).get("called")
    paths = [*folder.glob("heatmap.ome.zarr"), *sorted(folder.glob("heatmap-*.ome.zarr"))]
    return [layer for path in paths[:1] for layer in volume_heat_layers(path, folder.name, called)]


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
    """Read the profile of a volume's run."""
    record = read_run(folder) or {}
    table = read_slices_csv(folder / SLICES)
    colors = tuple(
        (int(red), int(green), int(blue)) for red, green, blue in record["bundle"]["class_colors"]
    )
    called = _call(record.get("volume", {}))
    return Profile(table, ANATOMIC[record["input"]["axis"]], colors, called)


def _call(volume: Mapping[str, Any]) -> str:
    """Return what a volume was called, in words; records of before name one class at most."""
    named = volume.get("called_classes") or [volume.get("called")]
    return " + ".join(filter(None, named)) or "nothing"
