"""What napari saves through slidecam.

Annotations and tiles for QuPath, CSV, a figure, heatmaps as OME-Zarr.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import UsageError
from slidecam.exchange.geojson import Annotation
from slidecam.exchange.geojson import write_annotations as write_areas
from slidecam.exchange.geojson import write_tiles_geojson as tiles_geojson
from slidecam.exchange.wsinfer_csv import write_tiles_csv as tiles_csv
from slidecam.files import replacing_folder
from slidecam.plugin.areas import AREA_TYPES, BOUNDS, COLORS, FEATURE, class_colors, corners_of
from slidecam.plugin.open_run import ShownRun
from slidecam.plugin.slide import KEY
from slidecam.reports.run_figure import write_figure as figure

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_annotations(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:  # noqa: ANN401  (npe2's protocol)
    """Write the areas of a shapes layer that is told in a slide's pixels as QuPath annotations."""
    told_kinds = meta.get("shape_type", "polygon")
    kinds = [told_kinds] * len(data) if isinstance(told_kinds, str) else told_kinds
    kept = [number for number, kind in enumerate(kinds) if kind in AREA_TYPES]
    features = meta.get("features", {})
    classes = list(features[FEATURE]) if FEATURE in features else [""] * len(data)
    names = [str(classes[number] or "") for number in kept]
    told = meta.get("metadata", {})
    colors = class_colors(names) | told.get(COLORS, {})
    rings = [corners_of(np.asarray(data[number]), kinds[number]) for number in kept]
    drawn = [
        Annotation(name, (ring,), colors.get(name)) for name, ring in zip(names, rings, strict=True)
    ]
    write_areas(Path(path), drawn, told.get(BOUNDS))
    return [path]


def write_tiles_geojson(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:  # noqa: ANN401, ARG001
    """Write the run behind a layer of classes as tiles for QuPath."""
    tiles_geojson(_run_of(meta).table, Path(path))
    return [path]


def write_tiles_csv(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:  # noqa: ANN401, ARG001
    """Write the run behind a layer of classes as a table of tiles."""
    tiles_csv(_run_of(meta).table, Path(path))
    return [path]


def write_figure(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:  # noqa: ANN401, ARG001
    """Draw the slide with the class of each tile, scale bar and legend."""
    figure(Path(path), _run_of(meta).stored)
    return [path]


def write_ome_zarr(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:  # noqa: ANN401, ARG001
    """Write the heatmap behind a layer, all its classes, as OME-Zarr."""
    heatmap = meta.get("metadata", {}).get("heatmap")
    if heatmap is None or not Path(heatmap).exists():
        name = meta.get("name", "this layer")
        raise UsageError(
            f"{name} is no heatmap of a finished run.", "Save a layer that slidecam made."
        )
    if Path(heatmap).resolve() == Path(path).resolve():
        return [path]
    if _holds_something_else(Path(path)):
        raise UsageError(
            "this is a folder, and no OME-Zarr.", "It was not touched: choose another name.", path
        )
    with replacing_folder(Path(path)) as fresh:
        shutil.copytree(heatmap, fresh)
    return [path]


def _holds_something_else(path: Path) -> bool:
    known = (".zgroup", ".zattrs", "zarr.json")
    return path.exists() and not any((path / name).is_file() for name in known)


def _run_of(meta: Mapping[str, Any]) -> ShownRun:
    run = meta.get("metadata", {}).get(KEY)
    if not isinstance(run, ShownRun):
        name = meta.get("name", "this layer")
        raise UsageError(
            f"{name} shows no run of slidecam.", "Save the layer whose name ends in ': class'."
        )
    return run
