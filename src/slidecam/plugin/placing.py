"""From level-0 pixels to napari's world and back.

napari puts the *centre* of a layer's first pixel at its ``translate``: see `RasterPlace`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.geometry import PIXELS, RasterPlace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.geometry import Size, Spacing

AXES = ("y", "x")


@dataclass(frozen=True)
class Placing:
    """The world of one slide.

    In µm from the centre of its first pixel, or in pixels where nobody knows the µm.

    Attributes
    ----------
    spacing
        µm per level-0 pixel, or None.
    """

    spacing: Spacing | None

    @property
    def unit(self) -> Spacing:
        """World units per level-0 pixel."""
        return self.spacing or PIXELS

    @property
    def units(self) -> tuple[str, str]:
        """The world's unit along y and x, as napari names it."""
        if self.spacing is None:
            return ("pixel", "pixel")
        return ("um", "um")

    def raster(
        self, pitch: tuple[float, float] = (1, 1), corner: tuple[float, float] = (0, 0)
    ) -> dict[str, Any]:
        """Return how a layer of pixels is placed.

        They span ``pitch`` level-0 pixels from ``corner`` on (both x, y).
        """
        place = RasterPlace(pitch, corner, self.spacing)
        placed: dict[str, Any] = {
            "scale": place.scale,
            "translate": place.translation,
            "axis_labels": AXES,
        }
        if self.spacing is not None:
            placed["units"] = self.units
        return placed

    def vectors(self) -> dict[str, Any]:
        """Return how a layer of shapes or points is placed.

        Its data are level-0 pixels (row, column), counted from the slide's edges.
        """
        placed = self.raster()
        return {**placed, "translate": (-self.unit.y / 2, -self.unit.x / 2)}

    def to_world(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (N, 2) y, x in the world of (N, 2) x, y in level-0 pixels.

        The pixels are counted from the slide's edge.
        """
        x, y = np.asarray(points, np.float64).reshape(-1, 2).T
        return np.stack([(y - 0.5) * self.unit.y, (x - 0.5) * self.unit.x], axis=1)

    def to_pixels(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (N, 2) x, y in level-0 pixels of (N, 2) y, x in the world.

        The pixels are counted from the slide's edge.
        """
        y, x = np.asarray(world, np.float64).reshape(-1, 2).T
        return np.stack([x / self.unit.x + 0.5, y / self.unit.y + 0.5], axis=1)


def inside(size: Size, point: tuple[float, float]) -> bool:
    """Whether x, y in level-0 pixels lies on a slide."""
    return 0 <= point[0] < size.width and 0 <= point[1] < size.height
