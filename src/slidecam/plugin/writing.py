"""What napari saves through slidecam.

Annotations and tiles for QuPath, CSV, heatmaps as OME-Zarr, a run's figure; and a picture of what
is on the canvas, with what one needs to judge it: scale bar, legend, slide and model.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points

from slidecam.drawing.pen import Pen, Place, Type
from slidecam.drawing.style import INK, MUTED, as_hex
from slidecam.errors import UsageError
from slidecam.exchange.geojson import Annotation
from slidecam.exchange.geojson import write_annotations as write_areas
from slidecam.exchange.geojson import write_tiles_geojson as tiles_geojson
from slidecam.exchange.tables import write_tiles_csv as tiles_csv
from slidecam.files import replacing, replacing_folder
from slidecam.plugin import compat
from slidecam.plugin.areas import (
    BOUNDS,
    COLORS,
    areas_of,
    class_colors,
    classes_seen,
    in_pixels,
)
from slidecam.plugin.cards import class_rows, classes_left
from slidecam.plugin.colour_bar import scale_shown
from slidecam.plugin.open_run import ShownRun
from slidecam.plugin.ownership import SLIDE, chosen_in, facts_in
from slidecam.plugin.slide import KEY, shown_viewer
from slidecam.plugin.tasks import warn
from slidecam.reports.run_figure import write_figure as figure
from slidecam.reports.sidebar import DISCLAIMER, HEAT_SCALE, draw_heat_scale
from slidecam.runs.legend import SHARE_NAMES, UM2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from slidecam.plugin.slide import SlideFacts
    from slidecam.plugin.viewer_state import ViewerState

PLACED = ("scale", "translate", "rotate", "shear", "affine", "units")
"""What napari says of where a layer lies."""


def write_annotations(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:  # noqa: ANN401  (npe2's protocol)
    """Write the areas of a shapes layer as QuPath annotations, in pixels of the slide below it."""
    given_kinds = meta.get("shape_type", "polygon")
    kinds = [given_kinds] * len(data) if isinstance(given_kinds, str) else given_kinds
    found = list(areas_of(data, kinds, meta.get("features", {})))
    metadata = meta.get("metadata", {})
    slide, bounds = _slide_below(metadata), metadata.get(BOUNDS)
    colors = class_colors([name for _number, name, _rings in found]) | metadata.get(COLORS, {})
    if slide is not None and BOUNDS not in metadata:
        bounds = slide.bounds
    placed: Any = Points(np.empty((0, 2)), **{key: meta[key] for key in PLACED if key in meta})
    drawn: list[Annotation] = []
    for _number, name, own in found:
        rings = own
        if slide is not None:
            rings = in_pixels(placed, own, slide.placing)
        drawn.append(Annotation(name, rings, colors.get(name)))
    if slide is None and BOUNDS not in metadata:
        warn("No slide is open, so these areas are written in the layer's own pixels.")
    write_areas(Path(path), drawn, bounds)
    return [path]


def _slide_below(metadata: Mapping[str, Any]) -> SlideFacts | None:
    """Return the slide that a layer lies on: its own, else the chosen one; None if it is shut."""
    viewer = shown_viewer()
    if viewer is None:
        return None
    return facts_in(viewer.layers, metadata.get(SLIDE) or chosen_in(viewer.layers))


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
        name = meta.get("name", "without a name")
        raise UsageError(
            f"The layer {name!r} is no heatmap of a finished run.",
            "Save a layer that slidecam made.",
        )
    if Path(heatmap).resolve() == Path(path).resolve():
        return [path]
    if _holds_something_else(Path(path)):
        raise UsageError(
            "this is a folder, and no OME-Zarr.",
            "It was not touched: choose another name.",
            path,
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
        name = meta.get("name", "without a name")
        raise UsageError(
            f"The layer {name!r} shows no run of slidecam.",
            "Save the layer whose name ends in ': class'.",
        )
    return run


LONGEST = 9.0
"""Inches of the picture's longer side."""

MARGIN, HEADER, FOOTER, LEGEND = 0.4, 0.9, 0.75, 2.6
ROW, MOST_ROWS, MOST_SHOWN = 0.26, 12, 6
BAR_SHARE = 0.25


def write_view(path: Path, pixels: NDArray[np.uint8], state: ViewerState) -> None:
    """Write a figure of the canvas.

    Parameters
    ----------
    path
        The PNG to write.
    pixels
        The canvas, uint8, (height, width, 3).
    state
        Whose run stands beside it, and whose camera says how long the scale bar is.
    """
    per_world = (
        compat.camera(state.viewer).zoom * pixels.shape[1] / compat.canvas_size(state.viewer)[1]
    )
    rows, columns = slide_part(state, (pixels.shape[0], pixels.shape[1]), per_world)
    pixels = pixels[rows, columns]
    high, wide = pixels.shape[:2]
    inch = LONGEST / max(high, wide)
    place = Place(MARGIN, HEADER, wide * inch, high * inch)
    high_enough = max(place.height, _legend_height(state))
    pen = Pen(place.width + LEGEND + 3 * MARGIN, high_enough + HEADER + FOOTER)
    pen.image(place, pixels)
    _words(pen, state)
    facts = state.slide()
    if facts is not None and facts.spacing is not None:
        pen.scale_bar(place, wide / per_world, BAR_SHARE)
    _legend(pen, place.left + place.width + MARGIN, state)
    with replacing(path) as fresh:
        pen.save(fresh)


def _words(pen: Pen, state: ViewerState) -> None:
    run = state.run
    if run is not None:
        model = run.stored.model
        pen.text(MARGIN, 0.45, run.folder.name, Type(15, INK, "bold"), pen.width - 2 * MARGIN)
        line = f"{model}   ·   {datetime.now(UTC).date().isoformat()}"
        pen.text(MARGIN, 0.7, line, Type(9, MUTED), pen.width - 2 * MARGIN)
    pen.text(MARGIN, pen.height - 0.15, DISCLAIMER, Type(8, MUTED))


def slide_part(state: ViewerState, shape: tuple[int, int], per_world: float) -> tuple[slice, slice]:
    """Return the rows and columns of a picture of the canvas that the slide is on.

    All of them where it is not.
    """
    facts = state.slide()
    if facts is None:
        return slice(None), slice(None)
    corners = facts.placing.to_world(
        np.array([[0, 0], [facts.size.width, facts.size.height]], np.float64)
    )
    middle = np.array(shape) / 2
    edges = (corners - np.array(compat.camera(state.viewer).center[-2:])) * per_world + middle
    (top, left), (bottom, right) = np.clip(np.rint(edges), 0, shape).astype(int)
    if bottom <= top or right <= left:
        return slice(None), slice(None)
    return slice(top, bottom), slice(left, right)


def _legend_height(state: ViewerState) -> float:
    """Return how many inches the legend takes at most."""
    if state.run is None:
        return 0.0
    rows = min(len(state.run.table.class_names), MOST_ROWS)
    areas = min(len(classes_seen(state.viewer.layers, state.chosen)), MOST_SHOWN)
    return (rows + areas + 5 + MOST_SHOWN) * ROW + HEAT_SCALE


def _areas(pen: Pen, left: float, top: float, state: ViewerState) -> float:
    """Draw what the areas are that are seen, and return where the next part begins."""
    drawn = classes_seen(state.viewer.layers, state.chosen)
    if not drawn:
        return top
    pen.text(left, top, "Areas", Type(9.5, INK, "bold"), LEGEND)
    for name in list(drawn)[:MOST_SHOWN]:
        top += ROW
        pen.box(Place(left, top - 0.11, 0.13, 0.13), as_hex(drawn[name]), 0.02)
        pen.text(left + 0.2, top, name, Type(9.5), LEGEND - 0.2)
    if len(drawn) > MOST_SHOWN:
        top += ROW
        words = f"and {len(drawn) - MOST_SHOWN} more"
        pen.text(left + 0.2, top, words, Type(8, MUTED), LEGEND)
    return top + 1.6 * ROW


def _legend(pen: Pen, left: float, state: ViewerState) -> None:
    if state.run is None:
        return
    pen.text(left, HEADER + 0.12, f"Class, {SHARE_NAMES[UM2]}", Type(9.5, INK, "bold"), LEGEND)
    rows = class_rows(state.run, most=MOST_ROWS)
    for number, (name, color, figures) in enumerate(rows, 1):
        top = HEADER + 0.12 + number * ROW
        pen.box(Place(left, top - 0.11, 0.13, 0.13), as_hex(color), 0.02)
        pen.text(left + 0.2, top, name, Type(9.5), LEGEND - 0.95)
        pen.text(left + LEGEND, top, figures[0], Type(9.5, align="right"))
    shown = [layer.name for layer in state.viewer.layers if layer.visible]
    top = HEADER + 0.12 + (len(rows) + 1) * ROW
    pen.text(left + 0.2, top, classes_left(state.run, len(rows)), Type(8, MUTED), LEGEND)
    top = _areas(pen, left, top + 0.6 * ROW, state)
    scale = scale_shown(state)
    if scale is not None:
        name, _comma, counted = scale.label.partition(", ")
        top = draw_heat_scale(pen, left, top, replace(scale, label=name), LEGEND) + 0.6 * ROW
        pen.text(left, top, counted, Type(8, MUTED), LEGEND)
        top += 1.4 * ROW
    pen.text(left, top, "Shown", Type(9.5, INK, "bold"), LEGEND)
    for number, name in enumerate(shown[-MOST_SHOWN:], 1):
        pen.text(left, top + number * ROW * 0.8, name, Type(8, MUTED), LEGEND)
