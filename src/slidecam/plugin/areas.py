"""Areas by class: from QuPath's GeoJSON to shapes in the viewer and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from slidecam.drawing.style import default_colors
from slidecam.errors import UsageError
from slidecam.exchange.geojson import read_annotations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.geometry import Box
    from slidecam.pixels import RGB
    from slidecam.plugin.placing import Placing
    from slidecam.plugin.slide import LayerData

FEATURE = "class"
BOUNDS, COLORS, SLIDE = "bounds", "class colors", "of slide"
"""What a layer of areas remembers of its slide (scanned bounds, fingerprint) and its classes."""

EDGE_PX = 3
FILL = 0.25
GREY: RGB = (150, 150, 150)
"""Of an area without a class."""

ELLIPSE_CORNERS = 64
"""Corners of the polygon that an ellipse is written as."""

AREA_TYPES = ("rectangle", "ellipse", "polygon")


def annotation_layer(
    path: Path, placing: Placing, bounds: Box | None, slide: str = ""
) -> LayerData:
    """Read annotations as a shapes layer.

    Parameters
    ----------
    path
        GeoJSON as QuPath writes it. Holes in areas are left out, which napari's shapes cannot have.
    placing, bounds
        Where the slide lies, and the part of it that QuPath counts from the corner of.
    slide
        Its fingerprint; nothing where no slide is open.

    Raises
    ------
    MaskError
        If the file is no GeoJSON.
    """
    found = read_annotations(path, bounds)
    names = [each.class_name for each in found]
    own_colors = {each.class_name: each.color for each in found if each.color is not None}
    shapes = [each.area[0][:, ::-1] for each in found]
    data, meta, kind = shapes_layer(
        path.name.split(".")[0],
        shapes,
        names,
        class_colors(names) | own_colors,
        placing,
        bounds,
    )
    meta["metadata"][SLIDE] = slide
    return data, meta, kind


def class_colors(names: Sequence[str]) -> dict[str, RGB]:
    """Return a colour for each class, in the order in which they first come."""
    known = list(dict.fromkeys(name for name in names if name))
    return dict(zip(known, default_colors(len(known)), strict=True))


def shapes_layer(
    name: str,
    shapes: Sequence[NDArray[np.float64]],
    names: Sequence[str],
    colors: Mapping[str, RGB],
    placing: Placing,
    bounds: Box | None = None,
) -> LayerData:
    """Return areas as a shapes layer in the slide's pixels, each outlined in its class's colour."""
    faces = [(*unit_color(colors.get(name, GREY)), FILL) for name in names]
    meta: dict[str, Any] = {
        "name": name,
        "shape_type": "polygon",
        "features": pd.DataFrame({FEATURE: pd.Series(list(names), dtype="object")}),
        "edge_width": EDGE_PX,
        "opacity": 0.8,
        "metadata": {BOUNDS: bounds, COLORS: dict(colors)},
        **placing.vectors(),
    }
    if len(shapes):
        meta |= {
            "edge_color": [(*unit_color(colors.get(name, GREY)), 1.0) for name in names],
            "face_color": faces,
        }
    return list(shapes), meta, "shapes"


def corners_of(data: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return one of napari's shapes as a ring of x, y in level-0 pixels.

    Raises
    ------
    UsageError
        If it is a line or a path, which hold no area.
    """
    if kind not in AREA_TYPES:
        raise UsageError(f"a {kind} holds no area.", "Draw rectangles, ellipses or polygons.")
    ring = np.asarray(data, np.float64)[:, -2:][:, ::-1]
    if kind == "ellipse":
        return _ellipse(ring)
    return ring


def ring_in_pixels(
    layer: Any,  # noqa: ANN401  (a napari layer)
    ring: NDArray[np.float64],
    placing: Placing,
) -> NDArray[np.float64]:
    """Return x, y of a layer's own data as level-0 pixels of the slide, wherever the layer lies."""
    world = np.stack([layer.data_to_world(point)[-2:] for point in ring[:, ::-1]])
    return placing.to_pixels(world)


def _ellipse(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ellipse within the four corners of a box, turned or not."""
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
    centre, across, down = box.mean(axis=0), (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    return np.asarray(centre + np.cos(angles)[:, None] * across + np.sin(angles)[:, None] * down)


def unit_color(color: RGB) -> tuple[float, float, float]:
    """Return a colour as napari takes it, from 0 to 1."""
    red, green, blue = color
    return red / 255, green / 255, blue / 255
