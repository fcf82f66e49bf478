"""A volume's planes as Deep Zoom: each is one small picture, shown with square pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from slidecam.geometry import LevelBox, Size
from slidecam.server.deepzoom import DeepZoom
from slidecam.server.http_errors import RequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.sources import Source
    from slidecam.sources.volume_grid import PlaneStack


class PlaneZoom(DeepZoom):
    """A volume as Deep Zoom, plane by plane.

    Where voxels are no squares, planes are stretched to their true shape.

    Parameters
    ----------
    source
        The volume.
    stack
        Its planes.
    """

    def __init__(self, source: Source, stack: PlaneStack) -> None:
        _planes, rows, columns = stack.shape
        across, down = _stretch(stack)
        super().__init__(source, Size(max(1, round(columns * across)), max(1, round(rows * down))))
        self._planes = stack.shape[0]

    def tile(self, level: int, column: int, row: int, plane: int = 0) -> NDArray[np.uint8]:
        """Return a tile of a plane; see `DeepZoom.tile`."""
        if not 0 <= plane < self._planes:
            raise RequestError(
                404, f"there is no plane {plane}.", f"Planes are 0 to {self._planes - 1}."
            )
        box, size, whole = (
            self._box(level, column, row),
            self.level_size(level),
            self.source.facts.size,
        )
        across, down = whole.width / size.width, whole.height / size.height
        part = (box.x * across, box.y * down, box.right * across, box.bottom * down)
        picture = Image.fromarray(
            self.source.read(0, LevelBox(0, 0, whole.width, whole.height), plane=plane)
        )
        return np.asarray(
            picture.resize((box.width, box.height), Image.Resampling.BILINEAR, box=part)
        )


def planes_told(stack: PlaneStack) -> dict[str, Any]:
    """Return what a viewer needs to know of a volume's planes.

    They count upwards, backwards or to the left.
    """
    planes, rows, columns = stack.shape
    apart, down, across = stack.spacing_mm
    return {
        "axis": stack.axis,
        "planes": planes,
        "voxels": [columns, rows, planes],
        "spacing_mm": [across, down, apart],
        "stretch": list(_stretch(stack)),
        "positions_mm": [round(float(place), 3) for place in stack.positions],
        "missing": list(stack.missing),
    }


def _stretch(stack: PlaneStack) -> tuple[float, float]:
    """Return how many pixels a voxel is wide and high; the shorter of both is 1."""
    _apart, down, across = stack.spacing_mm
    return across / min(across, down), down / min(across, down)
