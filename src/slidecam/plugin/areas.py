"""Areas by class: from QuPath's GeoJSON to shapes in the viewer and back.

napari shows a polygon with holes as one path: each ring is closed, and the path comes back to the
first corner of the outer ring before the next hole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.drawing.style import default_colors
from slidecam.errors import UsageError
from slidecam.exchange.geojson import read_annotations
from slidecam.plugin.ownership import ON_TOP, SLIDE, owner_of
from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from slidecam.geometry import Box
    from slidecam.pixels import RGB
    from slidecam.plugin.placing import Placing
    from slidecam.plugin.slide import LayerData
else:
    pd = deferred("pandas")

FEATURE = "class"
BOUNDS, COLORS = "bounds", "class colors"
"""What a layer of areas remembers of its slide (scanned bounds) and its classes."""

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
        GeoJSON as QuPath writes it.
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
    shapes = [path_of(each.area)[:, ::-1] for each in found]
    data, meta, kind = shapes_layer(
        path.name.split(".")[0],
        shapes,
        names,
        class_colors(names) | own_colors,
        placing,
        bounds,
    )
    meta["metadata"] |= {SLIDE: slide, ON_TOP: "opened"}
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


def classes_seen(layers: Iterable[Any], slide: str) -> dict[str, RGB]:
    """Return the classes of the areas that are seen of a slide, with their colours."""
    seen: dict[str, RGB] = {}
    for layer in layers:
        facts = layer.metadata
        is_seen = layer.visible and owner_of(layer) == slide
        if COLORS not in facts or not is_seen:
            continue
        for name in filter(None, layer.features[FEATURE]):
            seen[str(name)] = facts[COLORS].get(name, GREY)
    return seen


def path_of(area: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return rings as the one path that napari draws with holes, (corners, 2).

    A ring alone stays as it is.
    """
    outer, *holes = area
    if not holes:
        return outer
    parts = [outer, outer[:1]]
    for hole in holes:
        parts += [hole, hole[:1], outer[:1]]
    return np.concatenate(parts[:-1])


def rings_of(data: NDArray[np.float64], kind: str) -> tuple[NDArray[np.float64], ...]:
    """Return one of napari's shapes as rings of x, y in the layer's own pixels.

    The outer one first, then its holes; none where the shape is half made and holds no area.

    Raises
    ------
    UsageError
        If it is a line or a path, which hold no area.
    """
    if kind not in AREA_TYPES:
        raise UsageError(f"a {kind} holds no area.", "Draw rectangles, ellipses or polygons.")
    path = np.asarray(data, np.float64)[:, -2:][:, ::-1]
    if kind == "ellipse":
        path = _ellipse(path)
    return tuple(ring for ring in _rings(path) if _holds_area(ring))


def _rings(path: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the closed rings that a path consists of; a path that closes nowhere is one."""
    rings: list[NDArray[np.float64]] = []
    start = 0
    while start < len(path):
        again = np.flatnonzero((path[start + 1 :] == path[start]).all(axis=1))
        end = len(path)
        if len(again):
            end = start + 1 + int(again[0])
        rings.append(path[start:end])
        start = end + 1
        back_at_the_first = start < len(path) and bool((path[start] == path[0]).all())
        start += back_at_the_first
    return rings


def _holds_area(ring: NDArray[np.float64]) -> bool:
    x, y = (ring - ring[:1]).T
    return bool(abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) > 0)


def areas_of(
    data: Sequence[NDArray[np.float64]],
    kinds: Sequence[str],
    features: Any,  # noqa: ANN401  (a table or a mapping)
) -> Iterator[tuple[int, str, tuple[NDArray[np.float64], ...]]]:
    """Yield number, class and rings of each area of a shapes layer, in the layer's own pixels.

    Lines, paths and what is half made are no areas; napari may keep a class for a shape that was
    never finished.
    """
    names: list[Any] = []
    if FEATURE in features:
        names = list(features[FEATURE])
    names += [""] * (len(data) - len(names))
    for number, kind in enumerate(kinds):
        if kind not in AREA_TYPES:
            continue
        rings = rings_of(data[number], kind)
        if rings:
            yield number, str(names[number] or ""), rings


def in_pixels(
    layer: Any,  # noqa: ANN401  (a napari layer)
    rings: Iterable[NDArray[np.float64]],
    placing: Placing,
) -> tuple[NDArray[np.float64], ...]:
    """Return rings of a layer's own data as level-0 pixels of the slide, wherever it lies."""
    return tuple(ring_in_pixels(layer, ring, placing) for ring in rings)


def ring_in_pixels(
    layer: Any,  # noqa: ANN401  (a napari layer)
    ring: NDArray[np.float64],
    placing: Placing,
) -> NDArray[np.float64]:
    """Return x, y of a layer's own data as level-0 pixels of the slide.

    Wherever the layer lies, and in whatever unit of length.
    """
    world = np.stack([layer.data_to_world(point)[-2:] for point in ring[:, ::-1]])
    return placing.to_pixels(world * _in_units_of(placing, layer.units))


def _in_units_of(placing: Placing, units: Sequence[Any]) -> NDArray[np.float64]:
    """Return how many of a slide's units one of a layer's is, along y and x.

    1 where one of them is no length: such a layer lies in the slide's world as it is.
    """
    factors = np.ones(2)
    for axis, (own, theirs) in enumerate(zip(units[-2:], placing.units, strict=True)):
        if own.is_compatible_with(theirs):
            factors[axis] = (1 * own).to(theirs).magnitude
    return factors


def _ellipse(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ellipse within the four corners of a box, turned or not."""
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
    centre, across, down = box.mean(axis=0), (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    return np.asarray(centre + np.cos(angles)[:, None] * across + np.sin(angles)[:, None] * down)


def unit_color(color: RGB) -> tuple[float, float, float]:
    """Return a colour as napari takes it, from 0 to 1."""
    red, green, blue = color
    return red / 255, green / 255, blue / 255
