"""Places on a slide: level-0 pixels, pixels of a level, and the spacing that leads to µm.

Three worlds, three types. `Box` counts level-0 pixels, `LevelBox` counts pixels of one pyramid
level, and `Spacing` is the only way from either to physical lengths. All arithmetic between them
lives here. Axis order is x, y in every type and y, x in every array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

FINEST, COARSEST = 0.05, 20.0
"""Between these µm per pixel a spacing is believed, in files, calls and cards.

264.58 is a screen's 96 dpi, 1000 libvips' default.
"""

Axis = Literal["axial", "coronal", "sagittal"]
"""Which way a volume's slices follow each other: upwards, backwards, or to the patient's left."""

AXES: tuple[Axis, ...] = get_args(Axis)

LEVEL_TOLERANCE = 0.01
"""How much coarser than wanted a level may be and still count as fine enough.

Scanners write 4.0023 for 4.
"""


@dataclass(frozen=True, slots=True)
class Size:
    """A width and a height in pixels; whose pixels, the owner says."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in level-0 pixels: left edge, top edge, width, height."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column past the box."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row past the box."""
        return self.y + self.height


@dataclass(frozen=True, slots=True)
class LevelBox:
    """A rectangle in the pixels of one pyramid level: left edge, top edge, width, height."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column past the box."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row past the box."""
        return self.y + self.height

    def clipped(self, size: Size) -> LevelBox:
        """Return the part that lies inside a level of ``size``; its width or height may be 0."""
        left, top = min(max(self.x, 0), size.width), min(max(self.y, 0), size.height)
        right, bottom = (
            min(max(self.right, left), size.width),
            min(max(self.bottom, top), size.height),
        )
        return LevelBox(left, top, right - left, bottom - top)


@dataclass(frozen=True, slots=True)
class Spacing:
    """The physical size of one level-0 pixel in µm, along x and y."""

    x: float
    y: float

    @property
    def mean(self) -> float:
        """Mean of both axes, µm per pixel."""
        return (self.x + self.y) / 2


PIXELS = Spacing(1.0, 1.0)
"""What places are counted in where nobody knows the µm."""


@dataclass(frozen=True, slots=True)
class RasterPlace:
    """Where a raster lies whose pixels span ``pitch`` level-0 pixels from ``corner`` on (x, y).

    Its world is that of NGFF and napari: µm (level-0 pixels where nobody knows the µm), counted
    from the centre of level 0's first pixel to the centre of the raster's. A coarse pixel's centre
    lies half of it less half a fine one further in than its edge: leave that out and every heatmap
    lies beside its slide.
    """

    pitch: tuple[float, float]
    corner: tuple[float, float]
    spacing: Spacing | None

    @property
    def scale(self) -> tuple[float, float]:
        """World units per pixel along y and x."""
        unit = self.spacing or PIXELS
        return self.pitch[1] * unit.y, self.pitch[0] * unit.x

    @property
    def translation(self) -> tuple[float, float]:
        """Where the centre of the first pixel lies, as y, x."""
        unit = self.spacing or PIXELS
        across = self.corner[0] + (self.pitch[0] - 1) / 2
        down = self.corner[1] + (self.pitch[1] - 1) / 2
        return down * unit.y, across * unit.x


@dataclass(frozen=True, slots=True)
class Level:
    """One pyramid level: its index, its size in its own pixels, and its downsample.

    The downsample (level-0 pixels per pixel of this level) is a float; it is never truncated, since
    3.9999 is 4 nowhere.
    """

    index: int
    size: Size
    downsample: float

    def from_level0(self, box: Box) -> LevelBox:
        """Return ``box`` in this level's pixels, origin and size to the nearest (≥ 1 wide)."""
        return LevelBox(
            round(box.x / self.downsample),
            round(box.y / self.downsample),
            max(1, round(box.width / self.downsample)),
            max(1, round(box.height / self.downsample)),
        )

    def to_level0(self, box: LevelBox) -> Box:
        """Return the level-0 box that covers ``box``, rounded to the nearest pixel."""
        return Box(
            round(box.x * self.downsample),
            round(box.y * self.downsample),
            round(box.width * self.downsample),
            round(box.height * self.downsample),
        )


def pyramid(sizes: Sequence[Size]) -> tuple[Level, ...]:
    """Return the levels of a pyramid from their sizes, finest first.

    A level's size is cut to whole pixels, so that the quotient of two sizes is off by up to a pixel
    at the far edge, and on a narrow slide by much more along the other axis: 40000x2003 over
    5000x250 is 8 and 8.012. Where one whole number explains both axes of a level, that number is
    its downsample; else the mean of both quotients is.

    Parameters
    ----------
    sizes
        Width and height of each level in its own pixels.
    """
    return tuple(
        Level(index, size, _downsample(sizes[0], size)) for index, size in enumerate(sizes)
    )


def _downsample(full: Size, size: Size) -> float:
    quotient = (full.width / size.width + full.height / size.height) / 2
    whole = max(1, round(quotient))
    pairs = ((full.width, size.width), (full.height, size.height))
    explained = all(long // whole <= short <= -(-long // whole) for long, short in pairs)
    if explained:
        return float(whole)
    return quotient


def nearest_better_level(levels: Sequence[Level], downsample: float) -> Level:
    """Return the coarsest level that is still at least as fine as ``downsample``, else the finest.

    Parameters
    ----------
    levels
        The pyramid, in any order.
    downsample
        Level-0 pixels per wanted pixel. Levels up to `LEVEL_TOLERANCE` coarser still count as fine
        enough.
    """
    fine_enough = [
        level for level in levels if level.downsample <= downsample * (1 + LEVEL_TOLERANCE)
    ]
    if not fine_enough:
        return min(levels, key=lambda level: level.downsample)
    return max(fine_enough, key=lambda level: level.downsample)
