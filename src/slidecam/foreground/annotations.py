"""Areas drawn in other programs (GeoJSON as QuPath writes it) as a mask."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.class_names import normal_name
from slidecam.errors import MaskError
from slidecam.parsing import ParseError, json_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.geometry import Size

    Ring = NDArray[np.float64]
    Area = list[Ring]

LONGEST_PX = 4096
"""Longest side of a mask made from annotations."""

FINEST_PX = 8192
"""Longest side where the smallest annotation asks for more: 64 MiB of mask at most."""

ACROSS = 8.0
"""Mask pixels that the smallest annotation should span."""

MEMBERS = {
    "FeatureCollection": "features",
    "Feature": "geometry",
    "GeometryCollection": "geometries",
}
"""What holds the geometries in each GeoJSON object that is none itself."""

DETECTED = ("cell", "detection", "tile")
"""QuPath's types of objects that a program found: they are results."""

NOT_DRAWN = (*DETECTED, "tmaCore")
"""QuPath's types of objects that no one drew as an area of a class."""

STAR = "*"
"""What the names of classes end in that QuPath sets apart: ``Ignore*``, ``Region*``."""

IGNORE = "ignore"
"""What the name of a starred class begins with whose areas are cut out of the others."""

WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")

EXPORT_AGAIN = "Export the annotations again (in QuPath: File > Export objects as GeoJSON)."


@dataclass(frozen=True, eq=False)
class DrawnArea:
    """One polygon that somebody drew.

    Its class (empty where there is none), rings, colour, its own name, QuPath's type of object
    (empty where there is none), whether it is a TMA core that is missing, and the plane and the
    point in time that it was drawn on, from 0.
    """

    class_name: str
    area: Area
    color: tuple[int, int, int] | None = None
    name: str = ""
    kind: str = ""
    is_missing: bool = False
    plane: tuple[int, int] = (0, 0)


def is_set_apart(class_name: str) -> bool:
    """Whether QuPath sets a class apart: it is no tissue, and no class to learn."""
    return class_name.endswith(STAR)


def is_ignored(class_name: str) -> bool:
    """Whether the areas of a class are cut out of whatever else is drawn there."""
    return is_set_apart(class_name) and class_name.lower().startswith(IGNORE)


@dataclass(frozen=True, eq=False)
class DrawnTissue:
    """What a GeoJSON marks as tissue.

    Attributes
    ----------
    areas
        One list of rings per polygon, the outer one first and then the holes; a ring is (N, 2)
        float64, x and y.
    ignored
        Polygons that are no tissue, whatever else is drawn there (``Ignore*``).
    notes
        What was left out or had to be decided, as sentences.
    """

    areas: list[Area]
    ignored: list[Area]
    notes: tuple[str, ...] = ()


def tissue_of(path: Path, text: str) -> DrawnTissue:
    """Return what a GeoJSON text marks as tissue.

    Taken is every polygon of a FeatureCollection, a Feature, a geometry, or a bare list of these.
    Left out are QuPath's detections, TMA cores that are missing and classes that it sets apart, in
    words; points and lines are passed over.

    Raises
    ------
    MaskError
        If the text is no GeoJSON, or has no area that is left.
    """
    found = polygons_in(path, text)
    drawn = [one for one in found if one.kind not in DETECTED]
    missing = sum(one.is_missing for one in drawn)
    present = [one for one in drawn if not one.is_missing]
    kept = [one for one in present if not is_set_apart(one.class_name)]
    notes = [*words_on_classes(path, present), *words_on_planes(path, kept)]
    if missing:
        notes.append(f"{path.name}: TMA cores that are missing, left out: {missing}.")
    if len(drawn) < len(found):
        count = len(found) - len(drawn)
        notes.append(
            f"{path.name}: detections, tiles or cells, which nobody drew, left out: {count}."
        )
    if not kept:
        left = " ".join(notes) or "At most points and lines are in it."
        raise MaskError(
            f"There is no area in this GeoJSON that is tissue. {left}",
            "Draw polygons, rectangles or ellipses round what is to be classified, and export"
            " those.",
            path,
        )
    ignored = [one.area for one in present if is_ignored(one.class_name)]
    return DrawnTissue([one.area for one in kept], ignored, tuple(notes))


def words_on_classes(path: Path, drawn: Sequence[DrawnArea]) -> Iterator[str]:
    """Yield a sentence for each class that is set apart."""
    for name in dict.fromkeys(one.class_name for one in drawn):
        if is_set_apart(name):
            yield set_apart_words(path, name)


def set_apart_words(path: Path, class_name: str) -> str:
    """Return the sentence on a class that is set apart."""
    return f"{path.name}: the class {class_name} is left out, as in QuPath."


def words_on_planes(path: Path, drawn: Sequence[DrawnArea]) -> Iterator[str]:
    """Yield a sentence on areas that were drawn on other planes of a stack than the first."""
    planes = Counter(one.plane for one in drawn if one.plane != (0, 0))
    for (z, t), count in sorted(planes.items()):
        yield (
            f"{path.name}: areas drawn on another plane of a stack (z {z}, t {t}), taken as if"
            f" drawn on the one that is read: {count}."
        )


@contextmanager
def _json_boundary(path: Path) -> Iterator[None]:
    try:
        yield
    except ParseError as error:
        raise MaskError(f"The JSON is damaged: {error}.", EXPORT_AGAIN, path) from error


def _area(path: Path, rings: Sequence[object]) -> Area:
    return [_ring(path, ring) for ring in rings]


def drawn_areas_of(path: Path, text: str) -> list[DrawnArea]:
    """Return every polygon of a GeoJSON text's annotations, in the file's order.

    The class is what QuPath writes: ``properties.classification``, a name, an object with a
    ``name`` or with ``names`` (a class and its subclasses, joined with a colon as QuPath shows
    them). Tiles, detections and cells are passed over: they are results.

    Raises
    ------
    MaskError
        If the text is no GeoJSON, or a class is no text.
    """
    return [one for one in polygons_in(path, text) if one.kind not in NOT_DRAWN]


def polygons_in(path: Path, text: str) -> list[DrawnArea]:
    """Return every polygon of a GeoJSON text, whoever drew or found it; MaskError if it is none."""
    drawn: list[DrawnArea] = []
    with _json_boundary(path):
        for properties, geometry in _features(json_of(text)):
            polygons = filter(None, _polygons(path, geometry))
            drawn.extend(_drawn(path, properties, rings, _plane(geometry)) for rings in polygons)
    return drawn


def _drawn(
    path: Path, properties: dict[str, Any], rings: Sequence[object], plane: tuple[int, int]
) -> DrawnArea:
    return DrawnArea(
        class_name=_class_name(path, properties.get("classification")),
        area=_area(path, rings),
        color=_color(properties),
        name=str(properties.get("name") or ""),
        kind=str(properties.get("objectType") or ""),
        is_missing=properties.get("isMissing") is True,
        plane=plane,
    )


def _features(node: object) -> Iterator[tuple[dict[str, Any], object]]:
    """Yield properties and geometry of each feature under ``node``."""
    if isinstance(node, list):
        for member in node:
            yield from _features(member)
    elif isinstance(node, dict) and node.get("type") == "FeatureCollection":
        yield from _features(node.get("features") or [])
    elif isinstance(node, dict) and node.get("type") == "Feature":
        yield _object(node.get("properties")), node.get("geometry") or []
    else:
        yield {}, node


def _plane(geometry: object) -> tuple[int, int]:
    """Return z and t as QuPath writes them into a geometry: not at all for the first plane."""
    plane = _object(_object(geometry).get("plane"))
    z, t = plane.get("z"), plane.get("t")
    return z if isinstance(z, int) else 0, t if isinstance(t, int) else 0


def _object(value: object) -> dict[str, Any]:
    """Return a JSON object; an empty one for whatever else stands in its place."""
    if isinstance(value, dict):
        return value
    return {}


def _color(properties: dict[str, Any]) -> tuple[int, int, int] | None:
    """Return the colour of an annotation's class, or its own.

    None where there is none that can be read.

    QuPath writes three numbers; versions before 0.4 one signed number of 32 bits, ``colorRGB``.
    """
    for owner in (_object(properties.get("classification")), properties):
        color, packed = owner.get("color"), owner.get("colorRGB")
        if (
            isinstance(color, list)
            and len(color) == 3  # noqa: PLR2004  (red, green and blue)
            and all(isinstance(part, int) for part in color)
        ):
            return color[0] & 255, color[1] & 255, color[2] & 255
        if isinstance(packed, int):
            return packed >> 16 & 255, packed >> 8 & 255, packed & 255
    return None


def _class_name(path: Path, classification: object) -> str:
    name = classification
    if isinstance(classification, dict):
        names = classification.get("names")
        name = classification.get("name")
        if isinstance(names, list):
            name = ": ".join(map(str, names))
    if name is None:
        return ""
    if isinstance(name, str):
        return normal_name(name.strip())
    raise MaskError(f"{_excerpt(name)} is no name of a class.", EXPORT_AGAIN, path)


def _excerpt(value: object) -> str:
    return repr(str(value)[:60])


def _polygons(path: Path, node: object) -> Iterator[Sequence[object]]:
    """Yield the rings of each polygon under ``node``, as JSON gave them."""
    if isinstance(node, list):
        for member in node:
            yield from _polygons(path, member)
        return
    if not isinstance(node, dict):
        problem = f"{_excerpt(node)} stands where a GeoJSON object should."
        raise MaskError(problem, EXPORT_AGAIN, path)
    kind = str(node.get("type"))
    if kind == "Polygon":
        yield _listed(path, node.get("coordinates"))
    elif kind == "MultiPolygon":
        for rings in _listed(path, node.get("coordinates")):
            yield _listed(path, rings)
    elif kind in MEMBERS:
        # A feature may have no geometry: null, by the standard.
        yield from _polygons(path, node.get(MEMBERS[kind]) or [])
    elif kind not in WITHOUT_AREA:
        raise MaskError(f"{kind!r} is no type of GeoJSON object.", EXPORT_AGAIN, path)


def _listed(path: Path, coordinates: object) -> Sequence[object]:
    if not isinstance(coordinates, list):
        problem = f"A polygon has the coordinates {_excerpt(coordinates)}."
        raise MaskError(problem, EXPORT_AGAIN, path)
    return coordinates


def _ring(path: Path, corners: object) -> Ring:
    """Return (N, 2) x, y of one ring; heights and a repeated last corner do no harm."""
    problem = f"{_excerpt(corners)} is no ring of x, y corners."
    try:
        ring = np.asarray([corner[:2] for corner in corners], np.float64)  # type: ignore[attr-defined]
    except (TypeError, ValueError, KeyError) as error:
        raise MaskError(problem, EXPORT_AGAIN, path) from error
    if ring.ndim != 2 or ring.shape[0] < 3 or ring.shape[1] != 2 or not np.isfinite(ring).all():  # noqa: PLR2004  a ring has 3 corners of 2 coordinates
        raise MaskError(problem, EXPORT_AGAIN, path)
    return ring


def moved_area(area: Area, by: NDArray[np.float64]) -> Area:
    """Return an area's rings, moved by x, y."""
    return [ring + by for ring in area]


def extent_of(areas: Sequence[Area]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the largest x, y of all corners."""
    corners = np.concatenate([*chain(*areas)])
    return corners.min(axis=0), corners.max(axis=0)


def rasterise(areas: Sequence[Area], size: Size, pixel: float | None = None) -> NDArray[np.bool_]:
    """Return the union of ``areas`` as a mask over a slide of ``size``.

    A mask pixel belongs to an area if its centre does; holes are counted out by the even-odd rule.
    The mask's longest side has `LONGEST_PX` pixels, up to `FINEST_PX` so that the smallest area
    spans `ACROSS` of them, and never more than the slide, unless ``pixel`` says how many level-0
    pixels one of the mask spans. An area too small for any centre marks the pixel it lies in.

    Returns
    -------
    ndarray
        (rows, columns) bool.
    """
    pixel = pixel or pixel_of(areas, size)
    rows, columns = max(1, round(size.height / pixel)), max(1, round(size.width / pixel))
    mask = np.zeros((rows, columns), np.bool_)
    scale = np.array([columns / size.width, rows / size.height])
    for area in areas:
        _fill(mask, [ring * scale for ring in area])
    return mask


def pixel_of(areas: Sequence[Area], size: Size) -> float:
    """Return how many level-0 pixels a pixel of a mask of these areas should span."""
    longest = max(size.width, size.height)
    smallest = min(float(np.ptp(area[0], axis=0).min()) for area in areas)
    return max(1.0, longest / FINEST_PX, min(longest / LONGEST_PX, smallest / ACROSS))


def _fill(mask: NDArray[np.bool_], area: Area) -> None:
    """Set the mask pixels whose centres lie inside ``area``, whose rings are in mask pixels.

    Along each row of pixel centres, every crossing with a ring switches between outside and inside.
    That costs as much as there are crossings and pixels. shapely has no rasteriser: its
    ``contains_xy`` gives the same mask of a valid polygon, but took 54 s and this 1.5 s for an area
    of 120,000 corners on 3277 x 4096 pixels, and it loses what a ring outside its polygon encloses.
    """
    corners = np.concatenate(area)
    limit = np.array(mask.shape[::-1])
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), 0, limit).astype(int)
    row, x = _crossings(area, top, bottom)
    column = np.clip(np.ceil(x - 0.5), left, right).astype(np.intp) - left
    shape = (bottom - top, right - left + 1)
    switches = np.bincount((row - top) * shape[1] + column, minlength=shape[0] * shape[1]).reshape(
        shape
    )
    inside = np.cumsum(switches, axis=1)[:, :-1] % 2 == 1
    mask[top:bottom, left:right] |= inside
    if not inside.any():
        across, down = np.floor((area[0].min(axis=0) + area[0].max(axis=0)) / 2).astype(int)
        mask[max(0, down) : max(0, down + 1), max(0, across) : max(0, across + 1)] = True


def _crossings(area: Area, top: int, bottom: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return row and x of each ring's crossings with the pixel centres of rows in [top, bottom)."""
    start = np.concatenate(area)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in area])
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first = np.clip(np.ceil(low - 0.5), top, bottom).astype(np.intp)
    last = np.clip(np.ceil(high - 0.5), top, bottom).astype(np.intp)
    edge = np.repeat(np.arange(len(start)), last - first)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - last, last - first)
    along = (row + 0.5 - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
    return row, start[edge, 0] + along * (end[edge, 0] - start[edge, 0])
