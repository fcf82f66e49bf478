"""GeoJSON that QuPath reads: `tiles.geojson`, and the annotations that a person drew.

Drag `tiles.geojson` onto the slide in QuPath, plain or gzipped. Beyond some 100,000 tiles QuPath
takes minutes and gigabytes for it; `slidecam.exchange.qupath` writes a table that our script loads
in seconds.

QuPath refuses a whole file for one bad feature, so what it dislikes is never written: a
classification without a colour, a name that is null or blank or holds a line break, a measurement
that is no number, an open ring.
"""

from __future__ import annotations

import gzip
import io
import json
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID, uuid5

import numpy as np

from slidecam.errors import MaskError
from slidecam.exchange.tables import pieces
from slidecam.files import replacing
from slidecam.foreground.annotations import (
    EXPORT_AGAIN,
    drawn_areas_of,
    polygons_in,
)
from slidecam.foreground.files import read_content

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.geometry import Box
    from slidecam.pixels import RGB
    from slidecam.runs.tiles import TileTable


NAMESPACE = UUID("8f2b6f0e-5d0c-5a51-9f0b-6a1d1f7c2e90")
"""What our tiles' ids are derived under, so that the same tile has the same id in every run."""

UNNAMED = "Unnamed"

PACKING = 3
"""Gzip's level: a quarter of the time of the usual one, a fifth more room."""

MARK = "slidecam"
"""Key of the metadata of our tiles in QuPath, with `TILE` for its value.

No name: QuPath draws names over the nuclei.
"""

TILE = "tile"

CALLED = "called classes"
"""Key of the metadata of a tile that is called several classes: QuPath has one class for each."""


def write_tiles_geojson(table: TileTable, path: Path) -> None:
    """Write ``table``'s finished tiles as a FeatureCollection that QuPath imports as locked tiles.

    Coordinates are level-0 pixels counted from ``table.corner``, as QuPath counts them. A tile
    without a winner has no classification; one that is called several classes is of the most
    probable one, and has the names of all in its metadata under `CALLED`. A probability that is not
    a number is left out. Every tile has `MARK` in its metadata, by which our script finds what it
    may take away. A ``path`` that ends in ``.gz`` is gzipped.
    """
    with replacing(path) as fresh, opened(fresh, gzipped=path.suffix == ".gz") as file:
        file.write('{"type":"FeatureCollection","features":[')
        separator = "\n"
        for rows in pieces(table):
            file.write(separator + ",\n".join(_features(table, rows)))
            separator = ",\n"
        file.write("\n]}\n")


@contextmanager
def opened(path: Path, *, gzipped: bool) -> Iterator[IO[str]]:
    """Open a text to write, the same bytes for the same text: gzip would note name and time."""
    with path.open("wb") as raw:
        packed = gzip.GzipFile("", "wb", PACKING, raw, mtime=0) if gzipped else raw
        with io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
            yield file


def qupath_class_name(name: str) -> str:
    """Return ``name`` as QuPath can take it.

    A colon separates a class from its subclass there, and a part that is blank or holds a line
    break makes QuPath refuse the file.
    """
    parts: list[str] = []
    for part in name.split(":"):
        words = part.split()
        if words:
            parts.append(" ".join(words))
    return ": ".join(parts) or UNNAMED


def _features(table: TileTable, rows: NDArray[np.int64]) -> Iterator[str]:
    # The empty last one serves the winner -1: none.
    classes = [*map(_classification, table.class_names, table.class_colors), ""]
    winners = map(classes.__getitem__, table.winners[rows].tolist())
    called = map(_metadata, called_several(table, rows))
    columns = winners, called, _measurements(table, rows)
    return map(_feature, rows.tolist(), _corners(table, rows), *columns)


def called_several(table: TileTable, rows: NDArray[np.int64]) -> Iterator[tuple[str, ...]]:
    """Yield the classes of each tile that is called several, the most probable first.

    None for a tile of one class or none.
    """
    several = table.several_called[rows]
    for place, row in enumerate(rows.tolist()):
        if not several[place]:
            yield ()
            continue
        yield table.classes.called_names(table.probabilities[row].tolist())


def _metadata(called: tuple[str, ...]) -> str:
    if not called:
        return f'"metadata":{{"{MARK}":"{TILE}"}},'
    names = json.dumps(" + ".join(map(qupath_class_name, called)))
    return f'"metadata":{{"{MARK}":"{TILE}","{CALLED}":{names}}},'


def _uuid5(name: str) -> str:
    """Return what `uuid.uuid5` makes of a name under `NAMESPACE`, in a third of the time.

    Every tile has one.
    """
    digest = sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def _classification(name: str, color: RGB) -> str:
    red, green, blue = color
    text = json.dumps(qupath_class_name(name))
    return f'"classification":{{"name":{text},"color":[{red},{green},{blue}]}},'


def _corners(table: TileTable, rows: NDArray[np.int64]) -> Iterator[tuple[int, ...]]:
    """Return left, top, right, bottom in QuPath's pixels."""
    low = table.boxes[rows, :2] - table.corner
    corners = np.concatenate([low, low + table.boxes[rows, 2:]], axis=1)
    return map(tuple, corners.tolist())


def _measurements(table: TileTable, rows: NDArray[np.int64]) -> list[str]:
    columns = []
    for name, values in table.values.items():
        columns.append(_measurement(name, values[rows]))
    return [",".join(filter(None, row)) for row in zip(*columns, strict=True)]


def _measurement(name: str, values: NDArray[np.float32]) -> list[str]:
    """Return a measurement's ``name:value`` of each tile, empty where it is no number."""
    key = json.dumps(name)
    texts: list[str] = np.strings.add(f"{key}:", values.astype(np.str_)).tolist()
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        texts[place] = ""
    return texts


def _feature(
    row: int,
    corners: tuple[int, ...],
    classification: str,
    metadata: str,
    measurements: str,
) -> str:
    left, top, right, bottom = corners
    identity = _uuid5(f"{row} {corners} {measurements}")
    return (
        f'{{"type":"Feature","id":"{identity}","geometry":{{"type":"Polygon","coordinates":'
        f"[[[{left},{top}],[{right},{top}],[{right},{bottom}],[{left},{bottom}],[{left},{top}]]]}},"
        f'"properties":{{"objectType":"tile",{classification}{metadata}"isLocked":true,'
        f'"measurements":{{{measurements}}}}}}}'
    )


CORNERS = 3
"""A ring has at least so many."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """One area of one class.

    Attributes
    ----------
    class_name
        As QuPath can hold it: parts of a name are separated by a colon and a blank (see
        `qupath_class_name`). Empty for an area without a class.
    area
        Rings, float64, (corners, 2): x and y in level-0 pixels of the whole slide. The outer one
        first, then holes; the first corner is not repeated at the end.
    color
        Red, green, blue; None for none.
    name
        Of this area, or nothing.

    Raises
    ------
    MaskError
        If a ring is no ring.
    """

    class_name: str
    area: tuple[NDArray[np.float64], ...]
    color: RGB | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.area:
            raise MaskError(f"An annotation of {self.class_name!r} has no ring.", "Draw an area.")
        object.__setattr__(self, "area", tuple(map(_open_ring, self.area)))


def _open_ring(ring: NDArray[Any]) -> NDArray[np.float64]:
    corners = np.asarray(ring, np.float64)
    if corners.ndim == 2 and len(corners) > 1 and (corners[0] == corners[-1]).all():  # noqa: PLR2004  (corners, x and y)
        corners = corners[:-1]
    if (
        corners.ndim != 2  # noqa: PLR2004  (corners, x and y)
        or corners.shape[1] != 2  # noqa: PLR2004  (corners, x and y)
        or len(corners) < CORNERS
        or not np.isfinite(corners).all()
    ):
        raise MaskError(
            f"{np.asarray(ring).shape} numbers are no ring of x, y corners.",
            "Draw an area of three corners or more.",
        )
    return corners


def write_annotations(
    path: Path,
    annotations: Sequence[Annotation],
    bounds: Box | None = None,
) -> None:
    """Write annotations as a FeatureCollection that QuPath imports, all or nothing.

    Parameters
    ----------
    path
        The file, plain GeoJSON.
    annotations
        In any number, also none.
    bounds
        The part of the slide that holds the scan (`SourceFacts.bounds`): QuPath counts from its
        corner.
    """
    corner = _corner(bounds)
    features: list[str] = []
    for number, annotation in enumerate(annotations):
        features.append(json.dumps(_annotation_feature(number, annotation, corner)))
    with (
        replacing(path) as fresh,
        fresh.open("w", encoding="ascii", newline="\n") as file,
    ):
        file.write('{"type":"FeatureCollection","features":[\n' + ",\n".join(features) + "\n]}\n")


def _corner(bounds: Box | None) -> NDArray[np.float64]:
    """Return x, y of the level-0 pixel that QuPath counts from."""
    if bounds is None:
        return np.zeros(2)
    return np.array((bounds.x, bounds.y), np.float64)


def _annotation_feature(
    number: int,
    annotation: Annotation,
    corner: NDArray[np.float64],
) -> dict[str, Any]:
    rings = [(ring - corner).tolist() for ring in annotation.area]
    identity = uuid5(NAMESPACE, f"{number} {annotation.class_name} {rings[0]}")
    for ring in rings:
        ring.append(ring[0])
    properties: dict[str, Any] = {"objectType": "annotation"}
    if annotation.name:
        properties["name"] = annotation.name
    if annotation.class_name:
        properties["classification"] = _annotation_class(annotation)
    return {
        "type": "Feature",
        "id": str(identity),
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": properties,
    }


def _annotation_class(annotation: Annotation) -> dict[str, Any]:
    # QuPath refuses a class without a colour; this is what it gives one that it does not know.
    color = annotation.color or (128, 128, 128)
    return {"name": qupath_class_name(annotation.class_name), "color": list(color)}


def read_annotations(path: Path, bounds: Box | None = None) -> tuple[Annotation, ...]:
    """Read annotations that `write_annotations` or QuPath wrote.

    Detections, tiles and cells are passed over.

    Parameters
    ----------
    path, bounds
        As in `write_annotations`. What lies right of and below the corner of ``bounds`` comes back
        to the last digit.

    Raises
    ------
    MaskError
        If the file cannot be read or is no GeoJSON.
    """
    corner = _corner(bounds)
    annotations: list[Annotation] = []
    for one in drawn_areas_of(path, _text(path)):
        area = tuple(ring + corner for ring in one.area)
        annotations.append(Annotation(one.class_name, area, one.color, one.name))
    return tuple(annotations)


def _text(path: Path) -> str:
    try:
        return read_content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MaskError(f"The text is not UTF-8: {error}.", EXPORT_AGAIN, path) from error


@dataclass(frozen=True, eq=False)
class FileTiles:
    """The tiles of a file.

    Attributes
    ----------
    boxes
        int64, (tiles, 4): x, y, width and height in level-0 pixels of the whole slide.
    names
        The class of each, as QuPath holds it; empty where it has none.
    colors
        Of the classes.
    """

    boxes: NDArray[np.int64]
    names: tuple[str, ...]
    colors: dict[str, RGB]

    def __len__(self) -> int:
        return len(self.names)


def read_tiles_geojson(path: Path, bounds: Box | None = None) -> FileTiles:
    """Read the tiles that `write_tiles_geojson` wrote; of other files, what QuPath calls tiles.

    Parameters
    ----------
    path
        The file, gzipped or not.
    bounds
        The part of the slide from whose corner QuPath counts; None for all of it.

    Raises
    ------
    MaskError
        If the file cannot be read or is no GeoJSON.
    """
    corner = _corner(bounds)
    boxes: list[NDArray[np.float64]] = []
    names: list[str] = []
    colors: dict[str, RGB] = {}
    for one in polygons_in(path, _text(path)):
        if one.kind != TILE:
            continue
        low, high = one.area[0].min(axis=0), one.area[0].max(axis=0)
        boxes.append(np.concatenate([low + corner, high - low]))
        names.append(one.class_name)
        if one.color is not None:
            colors[one.class_name] = one.color
    laid = np.rint(np.array(boxes).reshape(-1, 4)).astype(np.int64)
    return FileTiles(laid, tuple(names), colors)
