"""The class regions of a synthetic slide as GeoJSON in the form that QuPath writes and reads."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage import measure
from tissue import CLASS_NAMES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Ring = list[list[float]]

CLASS_COLORS = ((84, 70, 190), (222, 128, 58), (196, 30, 70))
"""Lymphoid, stroma, tumour: apart from each other and from H&E, also without red-green vision."""

PITCH = 4
"""Outlines are traced on every fourth pixel."""

TOLERANCE = 3.0
"""Outlines may be simplified by this many px."""

SMALLEST = 64.0
"""Regions and holes below this edge length in px are left out."""


def write_annotations(path: Path, classes: NDArray[np.uint8]) -> None:
    """Write one annotation per connected region of a class, holes kept, in level-0 px."""
    features = [
        _feature(index, polygon)
        for index in range(len(CLASS_NAMES))
        for polygon in _polygons(classes[PITCH // 2 :: PITCH, PITCH // 2 :: PITCH] == index + 1)
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":"))
    path.write_text(
        text.replace('{"type":"Feature",', '\n{"type":"Feature",') + "\n", encoding="utf-8"
    )


def _feature(index: int, polygon: list[Ring]) -> dict[str, object]:
    name = CLASS_NAMES[index]
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {polygon[0]}")),
        "geometry": {"type": "Polygon", "coordinates": polygon},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": name, "color": list(CLASS_COLORS[index])},
        },
    }


def _polygons(region: NDArray[np.bool_]) -> list[list[Ring]]:
    """Return the outer ring and the holes of each connected part, largest part first."""
    parts, count = ndimage.label(region)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:] * PITCH**2
    order = [int(index) + 1 for index in np.argsort(-sizes) if sizes[index] >= SMALLEST**2]
    return [_rings(parts == part) for part in order]


def _rings(part: NDArray[np.bool_]) -> list[Ring]:
    """Return closed rings in level-0 px: the largest encloses the part, the others its holes."""
    size = part.shape[0] * PITCH
    contours = measure.find_contours(np.pad(part, 1).astype(np.float32), 0.5)
    rings = [
        measure.approximate_polygon((contour - 0.5) * PITCH, TOLERANCE) for contour in contours
    ]
    areas = [_area(ring) for ring in rings]
    kept = [index for index in np.argsort(areas)[::-1] if areas[index] >= SMALLEST**2]
    return [np.clip(rings[index][:, ::-1].round(1), 0, size).tolist() for index in kept]


def _area(ring: NDArray[np.float64]) -> float:
    y, x = ring[:-1].T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
