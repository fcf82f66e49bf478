"""What lies over a slide or a volume, as layer data.

Each class's probability, the class of each tile, and the heatmaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask.array as da
import numpy as np
import pandas as pd
from napari.utils.colormaps import Colormap, DirectLabelColormap

from slidecam.drawing.heat import heat_table
from slidecam.drawing.style import lowest_share
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.exchange.volumes import read_volume_ome_zarr
from slidecam.explain.catalogue import title_of
from slidecam.pixels import halved
from slidecam.plugin.areas import unit_color
from slidecam.plugin.placing import Placing
from slidecam.plugin.slide import KEY, LayerData, volume_place
from slidecam.runs import RunRecord
from slidecam.runs.run import find_heatmaps
from slidecam.sources.display import displayed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari.layers import Layer
    from numpy.typing import NDArray

    from slidecam.exchange.ome_zarr import HeatmapImage
    from slidecam.plugin.open_run import ShownRun


CLASS, PROBABILITY, HEAT = "class", "probability", "heatmap"
"""Kinds of overlays, as their metadata say."""

OPACITY = {CLASS: 0.45, PROBABILITY: 0.7, HEAT: 0.75}

SMALLEST = 256
"""The pyramid of a heatmap in memory ends with the first level that is no longer than this."""

COLORS = 64
"""Control points of a colour map: finer than eyes are."""

UNCLASSIFIED = 0
"""What the class layer says where there is no class; class k is k + 1."""


def run_layers(run: ShownRun) -> list[LayerData]:
    """Return all overlays of a run.

    Heatmaps on top of classes, both on top of probabilities, most of them hidden.
    """
    return [*probability_layers(run), class_layer(run), *heatmap_layers(run)]


def heatmap_layers(run: ShownRun) -> list[LayerData]:
    """Return the heatmaps that lie beside a run, all methods' and classes'."""
    layers: list[LayerData] = []
    for number, path in enumerate(run.heatmaps):
        layers += heat_layers(path, run, first=number == 0)
    return layers


def class_layer(run: ShownRun, threshold: float = 0.0) -> LayerData:
    """Return the class of each tile as labels, with the classes' names and colours."""
    table = run.table
    counts = np.bincount(table.winners + 1, minlength=len(table.class_names) + 1)
    features = pd.DataFrame(
        {
            "index": np.arange(len(table.class_names) + 1),
            "class": ["not classified", *table.class_names],
            "tiles": counts,
        }
    )
    meta = {
        "name": f"{run.folder.name}: class",
        "colormap": label_colors(table.class_colors),
        "features": features,
        "opacity": OPACITY[CLASS],
        "metadata": {KEY: run, "kind": CLASS},
        **run.cells.placed(run.placing),
    }
    return class_raster(run, threshold), meta, "labels"


def class_raster(run: ShownRun, threshold: float) -> NDArray[np.uint8]:
    """Return each cell's class as its index + 1.

    0 where there is none or its probability is below a threshold.
    """
    return run.cells.painted(
        labels_of(run.table.winners, run.table.probabilities, threshold), UNCLASSIFIED
    )


def labels_of(
    winners: NDArray[np.int64], probabilities: NDArray[np.float32], threshold: float
) -> NDArray[np.uint8]:
    """Return winners as labels, `UNCLASSIFIED` where their probability is below a threshold."""
    best = np.take_along_axis(probabilities, np.maximum(winners, 0)[:, None], axis=1)[:, 0]
    return np.where((winners >= 0) & (best >= threshold), winners + 1, UNCLASSIFIED).astype(
        np.uint8
    )


def label_colors(colors: Iterable[tuple[int, int, int]]) -> DirectLabelColormap:
    """Return the classes' colours for a labels layer; the background is transparent."""
    named: dict[int | None, Any] = {
        index: (*unit_color(color), 1.0) for index, color in enumerate(colors, 1)
    }
    return DirectLabelColormap(color_dict={**named, UNCLASSIFIED: (0, 0, 0, 0), None: (0, 0, 0, 0)})


def probability_layers(run: ShownRun) -> list[LayerData]:
    """Return each class's probability as an image of one pixel per tile.

    What is not computed is transparent.
    """
    table = run.table
    layers: list[LayerData] = []
    for index, name in enumerate(table.class_names):
        meta = {
            "name": f"{run.folder.name}: P({name})",
            "colormap": class_ramp(name, table.class_colors[index]),
            "contrast_limits": (0, 1),
            "opacity": OPACITY[PROBABILITY],
            "blending": "translucent",
            "interpolation2d": "nearest",
            "visible": False,
            "metadata": {KEY: run, "kind": PROBABILITY, "class": name},
            **run.cells.placed(run.placing),
        }
        raster = run.cells.painted(table.probabilities[:, index], np.nan)
        layers.append((raster, meta, "image"))
    return layers


def class_ramp(name: str, color: tuple[int, int, int]) -> Colormap:
    """Return a colour map from nothing to a class's colour."""
    low, high = (*unit_color(color), 0.0), (*unit_color(color), 1.0)
    return Colormap([low, high], name=f"slidecam {name}", nan_color=(0, 0, 0, 0))


def heat_colors(*, signed: bool) -> Colormap:
    """Return the colours that slidecam's pictures have, fainter where there is less heat."""
    name = "slidecam heat"
    if signed:
        name = "slidecam signed heat"
    return Colormap(heat_table(COLORS, signed=signed), name=name, nan_color=(0, 0, 0, 0))


def heat_look(*, signed: bool) -> dict[str, Any]:
    """Return the colours of a layer of heat, as napari takes them."""
    return {
        "colormap": heat_colors(signed=signed),
        "contrast_limits": (lowest_share(signed=signed), 1),
        "blending": "translucent",
        "interpolation2d": "linear",
    }


def heat_layers(path: Path, run: ShownRun | None = None, *, first: bool = True) -> list[LayerData]:
    """Return a heatmap on disk as one multiscale image for each class.

    Only the commonest class's is shown at first.

    Parameters
    ----------
    path
        A ``heatmap.ome.zarr`` of slidecam.
    run
        The run it belongs to, where that is known.
    first
        Whether it is the first method's, of which one class is shown.

    Raises
    ------
    StoreError
        If it is no heatmap of slidecam.
    """
    image = read_heatmap_ome_zarr(path)
    shown = ""
    if first:
        shown = _shown_class(image.spec.class_names, run)
    return [
        _heat_layer(image, index, path, run, shown) for index in range(len(image.spec.class_names))
    ]


def _heat_layer(
    image: HeatmapImage, index: int, path: Path, run: ShownRun | None, shown: str
) -> LayerData:
    # A name of its own at each opening: napari caches dask's blocks by name, and a run may be
    # painted anew.
    levels = [da.from_zarr(array, name=f"slidecam-{uuid4().hex}")[index] for array in image.levels]  # type: ignore[no-untyped-call]
    spec, name = image.spec, image.spec.class_names[index]
    method = str(spec.attributes.get("method", "heatmap"))
    owner = spec.name
    if run is not None:
        owner = run.folder.name
    kept = {
        KEY: run,
        "kind": HEAT,
        "class": name,
        "heatmap": str(path),
        "method": method,
        "shows": spec.attributes.get("shows", ""),
        "measured": spec.attributes.get("measured", ""),
    }
    meta = {
        "name": f"{owner}: {title_of(method)} {name}",
        "multiscale": True,
        "opacity": OPACITY[HEAT],
        "visible": name == shown,
        "metadata": kept,
        **heat_look(signed=spec.signed),
        **Placing(spec.spacing).raster((spec.pitch, spec.pitch), spec.origin),
    }
    return levels, meta, "image"


def show_alone(layers: Sequence[Layer], kind: str, name: str) -> None:
    """Show the layers of one kind and one class, or of no class; hide the others.

    Of heatmaps those by the method that is looked at already, else by the one that leads.
    """
    heats = [layer for layer in layers if layer.metadata["kind"] == HEAT]
    heats.sort(key=lambda layer: not layer.visible)
    method = next((layer.metadata.get("method") for layer in heats), None)
    for layer in layers:
        facts = layer.metadata
        layer.visible = (
            facts["kind"] == kind
            and facts.get("class") in {None, name}
            and (kind != HEAT or facts.get("method") == method)
        )


def pyramid_of(finest: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return a raster and its halves, each the mean of the numbers it covers."""
    levels = [finest]
    while max(levels[-1].shape) > SMALLEST:
        levels.append(halved(levels[-1]))
    return levels


def _shown_class(names: Sequence[str], run: ShownRun | None) -> str:
    """Return the class that most tiles were called, of those that were mapped."""
    if run is None:
        return names[0]
    winners = run.table.winners[run.table.winners >= 0]
    counts = np.bincount(winners, minlength=len(run.table.class_names))
    ranked = sorted(names, key=lambda name: -counts[run.table.class_names.index(name)])
    return ranked[0]


VOLUME_OPACITY = 0.6


def is_volume_run(folder: Path) -> bool:
    """Whether a run is of a volume's slices and not of a slide's tiles."""
    record = RunRecord.find(folder)
    return record is not None and record.is_volume


def volume_heat_layers(path: Path, name: str, shown: str | None = None) -> list[LayerData]:
    """Return a volume's heatmap as one 3-D layer for each class.

    ``shown`` is the class that is visible at first.
    """
    heat = read_volume_ome_zarr(path)
    visible = shown
    if shown not in heat.spec.class_names:
        visible = heat.spec.class_names[0]
    layers: list[LayerData] = []
    for index, class_name in enumerate(heat.spec.class_names):
        array: Any = da.from_zarr(heat.array)[index]  # type: ignore[no-untyped-call]
        place = volume_place(heat.scale, heat.translate)
        if heat.spec.stack.grid.is_oblique:
            straight = displayed(np.nan_to_num(np.asarray(heat.array[index])), heat.spec.stack.grid)
            array, place = (
                straight.array,
                volume_place(straight.scale, straight.translate),
            )
        look = {
            "name": f"{name}: heat {class_name}",
            "colormap": heat_colors(signed=heat.spec.signed),
            "blending": "translucent_no_depth",
            "opacity": VOLUME_OPACITY,
            "contrast_limits": (lowest_share(signed=heat.spec.signed), 1),
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
    if call is None:
        return volume_heat_layers(heatmaps[0], folder.name)
    return volume_heat_layers(heatmaps[0], folder.name, call.called)
