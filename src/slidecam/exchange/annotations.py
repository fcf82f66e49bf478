"""What a person drew on a slide, as QuPath reads and writes it.

GeoJSON annotations with class and colour.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid5

import numpy as np

from slidecam.errors import MaskError
from slidecam.exchange.geojson import NAMESPACE, qupath_class_name
from slidecam.files import replacing
from slidecam.foreground.annotations import EXPORT_AGAIN, drawn_areas_of
from slidecam.foreground.files import read_content

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.geometry import Box
    from slidecam.pixels import RGB

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
            raise MaskError(f"an annotation of {self.class_name!r} has no ring.", "Draw an area.")
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
    path: Path, annotations: Sequence[Annotation], bounds: Box | None = None
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
    corner = np.array((0, 0) if bounds is None else (bounds.x, bounds.y), np.float64)
    features = [
        json.dumps(_feature(number, each, corner)) for number, each in enumerate(annotations)
    ]
    with replacing(path) as fresh, fresh.open("w", encoding="ascii", newline="\n") as file:
        file.write('{"type":"FeatureCollection","features":[\n' + ",\n".join(features) + "\n]}\n")


def _feature(number: int, annotation: Annotation, corner: NDArray[np.float64]) -> dict[str, Any]:
    rings = [(ring - corner).tolist() for ring in annotation.area]
    if annotation.class_name:
        classification = {"classification": _classification(annotation)}
    else:
        classification = {}
    return {
        "type": "Feature",
        "id": str(uuid5(NAMESPACE, f"{number} {annotation.class_name} {rings[0]}")),
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in rings]},
        "properties": {
            "objectType": "annotation",
            **({"name": annotation.name} if annotation.name else {}),
            **classification,
        },
    }


def _classification(annotation: Annotation) -> dict[str, Any]:
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
    corner = np.array((0, 0) if bounds is None else (bounds.x, bounds.y), np.float64)
    try:
        drawn = drawn_areas_of(path, read_content(path).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise MaskError(f"{path}: the text is not UTF-8: {error}.", EXPORT_AGAIN) from error
    return tuple(
        Annotation(
            each.class_name, tuple(ring + corner for ring in each.area), each.color, each.name
        )
        for each in drawn
    )
