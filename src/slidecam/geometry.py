"""Places on a slide: level-0 pixels, pixels of a level, and the spacing that leads to µm.

Three worlds, three types. `Box` counts level-0 pixels, `LevelBox` counts pixels of one pyramid
level, and `Spacing` is the only way from either to physical lengths. All arithmetic between them
lives here. Axis order is x, y in every type and y, x in every array.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

FINEST, COARSEST = 0.05, 20.0
"""Between these µm per pixel a spacing is believed, in files, calls and cards.

264.58 is a screen's 96 dpi, 1000 libvips' default.
"""

FINEST_VOXEL, COARSEST_VOXEL = 1.0, 50_000.0
"""What `FINEST` and `COARSEST` are to pixels, for a volume's voxels: its header says mm."""

Axis = Literal["axial", "coronal", "sagittal"]
"""Which way a volume's slices follow each other: upwards, backwards, or to the patient's left."""

AXES: tuple[Axis, ...] = get_args(Axis)

SQUARE = 1e-3
"""How far both axes of a pixel may differ, relative to the longer one, and still count as equal."""

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

    @property
    def is_square(self) -> bool:
        """Whether both axes agree to a thousandth: the `mean` holds for both then."""
        return math.isclose(self.x, self.y, rel_tol=SQUARE)

    def __str__(self) -> str:
        """Return ``0.25 µm``, or ``0.5 x 0.25 µm`` where the axes differ."""
        if self.is_square:
            return f"{self.mean:.4g} µm"
        return f"{self.x:.4g} x {self.y:.4g} µm"


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


OWN_PRECISION = 0.005
"""How far a ratio of two written spacings may lie from what was meant: they are rounded texts."""

LONGEST_PADDING = 4096
"""Pixels: no file's tiles are longer."""

SHORTEST_LEVEL = 0.8
"""Of what its spacing says that a level should be, before that spacing is disbelieved."""

_EXACT = 1e-4


def pyramid(
    sizes: Sequence[Size],
    spacings: Sequence[Spacing | None] | None = None,
) -> tuple[Level, ...]:
    """Return the levels of a pyramid from their sizes, finest first.

    A level's size is cut to whole pixels, so that the quotient of two sizes is off by up to a pixel
    at the far edge, and on a narrow slide by much more along the other axis: 40000x2003 over
    5000x250 is 8 and 8.012. Where one whole number explains both axes of a level, that number is
    its downsample; else the mean of both quotients is.

    A level that carries its own spacing is believed instead where padding explains its size: some
    scanners fill each level up to whole tiles, and 104448x55296 over 53248x28672 is 2, not 1.945.
    What is padding there, beyond level 0's far edge, is no part of the level. `note_on_levels` says
    what was made of them.

    Parameters
    ----------
    sizes
        Width and height of each level in its own pixels.
    spacings
        µm per pixel of each level; None for those that say nothing.
    """
    given = spacings or [None] * len(sizes)
    levels: list[Level] = []
    for index, (size, spacing) in enumerate(zip(sizes, given, strict=True)):
        downsample = _downsample(sizes[0], size)
        if index and spacing is not None and given[0] is not None:
            downsample = _own_downsample(sizes[0], size, given[0], spacing)
            size = _within(sizes[0], size, downsample)  # noqa: PLW2901 - the part that is slide
        levels.append(Level(index, size, downsample))
    return tuple(levels)


def _downsample(full: Size, size: Size) -> float:
    quotient = _quotient(full, size)
    whole = max(1, round(quotient))
    if _explains(whole, full, size):
        return float(whole)
    return quotient


def _own_downsample(full: Size, size: Size, finest: Spacing, spacing: Spacing) -> float:
    """Return the ratio of two spacings, or what the sizes say where they say the same closer."""
    own = (spacing.x / finest.x + spacing.y / finest.y) / 2
    whole = max(1.0, float(round(own)))
    apart = abs(own / whole - 1)
    if apart <= OWN_PRECISION and _explains(whole, full, size):
        return whole
    by_sizes = _downsample(full, size)
    alike = abs(own / by_sizes - 1) <= OWN_PRECISION and _explains(by_sizes, full, size)
    if alike and apart > _EXACT:
        return by_sizes
    if not (_is_padded(own, full.width, size.width) and _is_padded(own, full.height, size.height)):
        return by_sizes
    if apart <= OWN_PRECISION:
        return whole
    return own


def _is_padded(downsample: float, full: int, length: int) -> bool:
    """Whether a level that long may be of that downsample: filled up, or cut, to whole tiles.

    Some files give each level the spacing of the first; those levels would be far too short.
    """
    expected = full / downsample
    return SHORTEST_LEVEL * expected <= length < expected + LONGEST_PADDING


def _quotient(full: Size, size: Size) -> float:
    return (full.width / size.width + full.height / size.height) / 2


def _explains(downsample: float, full: Size, size: Size) -> bool:
    """Whether a level's size is that of level 0 by this downsample, rounded down or up."""
    across = full.width / downsample
    down = full.height / downsample
    fits_across = math.floor(across) <= size.width <= math.ceil(across)
    return fits_across and math.floor(down) <= size.height <= math.ceil(down)


def _within(full: Size, size: Size, downsample: float) -> Size:
    """Return the part of a level that lies on level 0."""
    width = max(1, math.ceil(full.width / downsample))
    height = max(1, math.ceil(full.height / downsample))
    return Size(min(size.width, width), min(size.height, height))


def note_on_levels(sizes: Sequence[Size], levels: Sequence[Level]) -> tuple[str, ...]:
    """Return what to say of levels whose sizes do not follow from level 0's; nothing of others.

    Parameters
    ----------
    sizes
        Width and height of each level as the file has them.
    levels
        What `pyramid` made of them.
    """
    padded: list[str] = []
    uneven: list[str] = []
    for size, level in zip(sizes, levels, strict=True):
        if size != level.size:
            cut = f"{level.size.width}x{level.size.height}"
            padded.append(f"level {level.index} is {size.width}x{size.height} px for {cut}")
        elif not _nearly(level.downsample, sizes[0], size):
            uneven.append(
                f"level {level.index} is {size.width}x{size.height} px, downsample"
                f" {level.downsample:.4g}"
            )
    notes: list[str] = []
    if padded:
        notes.append(
            f"Level sizes are padded ({'; '.join(padded)}): downsamples come from each level's own"
            " spacing."
        )
    if uneven:
        full = f"{sizes[0].width}x{sizes[0].height}"
        notes.append(
            f"Width and height of level 0, {full} px, do not shrink alike ({'; '.join(uneven)}):"
            " the mean of both is taken."
        )
    return tuple(notes)


def _nearly(downsample: float, full: Size, size: Size) -> bool:
    """Whether a level ends where level 0 does, to a pixel of its own."""
    return (
        abs(full.width / downsample - size.width) <= 1
        and abs(full.height / downsample - size.height) <= 1
    )


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
