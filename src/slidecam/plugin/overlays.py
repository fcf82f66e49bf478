"""What lies over a slide or a volume, as layer data.

Each class's probability, the class of each tile, and the heatmaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask.array as da
import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap

from slidecam.drawing.heat import heat_table
from slidecam.drawing.style import lowest_share
from slidecam.errors import UsageError
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.exchange.volumes import read_volume_ome_zarr
from slidecam.explain.catalogue import title_of
from slidecam.pixels import halved
from slidecam.plugin.areas import unit_color
from slidecam.plugin.ownership import SLIDE, show
from slidecam.plugin.placing import Placing
from slidecam.plugin.slide import KEY, LayerData, volume_place
from slidecam.registry import deferred
from slidecam.runs import RunRecord
from slidecam.runs.run import find_heatmaps
from slidecam.sources.display import displayed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from napari.layers import Layer
    from numpy.typing import NDArray

    from slidecam.exchange.ome_zarr import HeatmapImage
    from slidecam.plugin.open_run import ShownRun
else:
    pd = deferred("pandas")


CLASS, PROBABILITY, HEAT = "class", "probability", "heatmap"
"""Kinds of overlays, as their metadata say."""

OPACITY = {CLASS: 0.45, PROBABILITY: 0.7, HEAT: 0.75}

SMALLEST = 256
"""The pyramid of a heatmap in memory ends with the first level that is no longer than this."""

MOST_HEATS = 12
"""Classes of a heatmap that is opened by itself; each is a layer."""

COLORS = 64
"""Control points of a colour map: finer than eyes are."""

LABEL = np.uint16
"""Of a layer of classes: a classifier may have more than 255."""

UNCLASSIFIED = 0
"""What the class layer says where there is no class; class k is k + 1."""


def run_layers(run: ShownRun) -> list[LayerData]:
    """Return the overlays that a run is opened with: the class of each tile, which alone is seen.

    And the heat of the class that most tiles were called. Those of other classes and methods, and
    probabilities, are made when they are chosen: adding layers costs the window more than they
    are many.
    """
    return [class_layer(run), *leading_heat(run)]


def leading_heat(run: ShownRun) -> list[LayerData]:
    """Return the first method's heat of the class that most tiles were called, hidden."""
    if not run.heatmaps:
        return []
    names = read_heatmap_ome_zarr(run.heatmaps[0]).spec.class_names
    return heat_layers(run.heatmaps[0], run, [commonest(names, run)])


def method_of(path: Path) -> str:
    """Return by which method a heatmap on disk was made."""
    return str(read_heatmap_ome_zarr(path).spec.attributes.get("method", "heatmap"))


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


def class_raster(run: ShownRun, threshold: float) -> NDArray[np.uint16]:
    """Return each cell's class as its index + 1.

    0 where there is none or its probability is below a threshold.
    """
    return run.cells.painted(
        labels_of(run.table.winners, run.table.probabilities, threshold), UNCLASSIFIED
    )


def labels_of(
    winners: NDArray[np.int64], probabilities: NDArray[np.float32], threshold: float
) -> NDArray[np.uint16]:
    """Return winners as labels, `UNCLASSIFIED` where their probability is below a threshold."""
    best = np.take_along_axis(probabilities, np.maximum(winners, 0)[:, None], axis=1)[:, 0]
    seen = (winners >= 0) & (best >= threshold)
    return np.where(seen, winners + 1, UNCLASSIFIED).astype(LABEL)


def label_colors(colors: Iterable[tuple[int, int, int]]) -> DirectLabelColormap:
    """Return the classes' colours for a labels layer; the background is transparent."""
    named: dict[int | None, Any] = {
        index: (*unit_color(color), 1.0) for index, color in enumerate(colors, 1)
    }
    return DirectLabelColormap(color_dict={**named, UNCLASSIFIED: (0, 0, 0, 0), None: (0, 0, 0, 0)})


def probability_layer(run: ShownRun, name: str) -> LayerData:
    """Return a class's probability as an image of one pixel per tile.

    What is not computed is transparent.
    """
    table = run.table
    index = table.class_names.index(name)
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
    return run.cells.painted(table.probabilities[:, index], np.nan), meta, "image"


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


def heat_layers(
    path: Path, run: ShownRun | None = None, names: Sequence[str] = ()
) -> list[LayerData]:
    """Return a heatmap on disk as one multiscale image for each class; all of them hidden.

    Parameters
    ----------
    path
        A ``heatmap.ome.zarr`` of slidecam.
    run
        The run it belongs to, where that is known.
    names
        The classes whose heat is wanted; none for all that were mapped.

    Raises
    ------
    StoreError
        If it is no heatmap of slidecam.
    """
    image = read_heatmap_ome_zarr(path)
    mapped = image.spec.class_names
    return [
        _heat_layer(image, mapped.index(name), path, run)
        for name in mapped
        if name in (names or mapped)
    ]


def opened_heat(path: Path, run: ShownRun | None = None) -> list[LayerData]:
    """Return a heatmap that was opened by itself: at most `MOST_HEATS` classes, one of them seen.

    Raises
    ------
    StoreError
        If it is no heatmap of slidecam.
    """
    mapped = read_heatmap_ome_zarr(path).spec.class_names
    shown = commonest(mapped, run)
    layers = heat_layers(path, run, first_of(mapped, shown))
    for _data, meta, _kind in layers:
        meta["visible"] = meta["metadata"]["class"] == shown
    return layers


def first_of(mapped: Sequence[str], shown: str) -> list[str]:
    """Return the class that is seen and as many others as are layers at once."""
    return [shown, *(name for name in mapped if name != shown)][:MOST_HEATS]


def _heat_layer(image: HeatmapImage, index: int, path: Path, run: ShownRun | None) -> LayerData:
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
        "visible": False,
        "metadata": kept,
        **heat_look(signed=spec.signed),
        **Placing(spec.spacing).raster((spec.pitch, spec.pitch), spec.origin),
    }
    return levels, meta, "image"


def heat_of(run: ShownRun, name: str, method: str = "") -> list[LayerData]:
    """Return a class's heat by a method, or by the run's first one where none is named.

    Raises
    ------
    UsageError
        If the run has no such heat.
    """
    for path in run.heatmaps:
        if method in {"", method_of(path)}:
            layers = heat_layers(path, run, [name])
            if layers:
                return layers
    remedy = "Run again with a heatmap of this class."
    if not run.is_finished:
        remedy = "It is painted at the run's end."
    raise UsageError(f"There is no heat of {name} in this run.", remedy)


def is_shown_by(facts: Mapping[str, Any], name: str, method: str) -> bool:
    """Whether an overlay, by its metadata, is of a class, or of none, and by a method."""
    return facts.get("class") in {None, name} and (not method or facts.get("method") == method)


def method_looked_at(heats: Iterable[Layer]) -> str:
    """Return the method of the heat that is visible, else of the first; nothing without heat."""
    ranked = sorted(heats, key=lambda layer: not layer.visible)
    return next((str(layer.metadata.get("method", "")) for layer in ranked), "")


def show_alone(layers: Iterable[Layer], kind: str, name: str, method: str = "") -> None:
    """Show the layer of one kind, one class and, of heat, one method; hide the others."""
    for layer in layers:
        facts = layer.metadata
        show(layer, seen=facts["kind"] == kind and is_shown_by(facts, name, method))


def pyramid_of(finest: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return a raster and its halves, each the mean of the numbers it covers."""
    levels = [finest]
    while max(levels[-1].shape) > SMALLEST:
        levels.append(halved(levels[-1]))
    return levels


def commonest(names: Sequence[str], run: ShownRun | None) -> str:
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


def volume_heat_layers(path: Path, shown: str | None = None) -> list[LayerData]:
    """Return a volume's heatmap as one 3-D layer for each class, of at most `MOST_HEATS`.

    ``shown`` is the class that is visible at first.
    """
    heat = read_volume_ome_zarr(path)
    folder = path.parent
    owner = RunRecord.read(folder).input.fingerprint
    mapped = heat.spec.class_names
    visible = mapped[0]
    if shown in mapped:
        visible = shown
    layers: list[LayerData] = []
    for index, class_name in enumerate(mapped):
        if class_name not in first_of(mapped, visible):
            continue
        array: Any = da.from_zarr(heat.array)[index]  # type: ignore[no-untyped-call]
        place = volume_place(heat.scale, heat.translate)
        if heat.spec.stack.grid.is_oblique:
            straight = displayed(np.nan_to_num(np.asarray(heat.array[index])), heat.spec.stack.grid)
            array, place = (
                straight.array,
                volume_place(straight.scale, straight.translate),
            )
        look = {
            "name": f"{folder.name}: heat {class_name}",
            "colormap": heat_colors(signed=heat.spec.signed),
            "blending": "translucent_no_depth",
            "opacity": VOLUME_OPACITY,
            "contrast_limits": (lowest_share(signed=heat.spec.signed), 1),
            "visible": class_name == visible,
            "metadata": {
                "kind": HEAT,
                "class": class_name,
                "heatmap": str(path),
                "method": str(heat.spec.attributes.get("method", "heatmap")),
                "volume run": str(folder),
                SLIDE: owner,
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
        return volume_heat_layers(heatmaps[0])
    return volume_heat_layers(heatmaps[0], call.called)
