"""Where the tiles lie: pure arithmetic on a slide's facts and its foreground; no pixel is read.

Two grids. ``slidecam``: tiles start at the corner of the scanned region, row by row, and stay where
enough of the tile is tissue. ``wsinfer``: exactly the boxes that WSInfer computes, column by
column, kept where the centre of the tile is tissue, so that results of both programs can be laid
side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from slidecam.errors import TilingError
from slidecam.geometry import Box, Size, nearest_better_level
from slidecam.pixels import GLASS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slidecam.foreground import Foreground
    from slidecam.geometry import Level, LevelBox, Spacing
    from slidecam.pixels import RGB
    from slidecam.sources import SourceFacts

BLACK: RGB = (0, 0, 0)
"""What lies beyond the planes of a volume, which is air, and beyond a slide for WSInfer."""

LONGEST_PIXEL = 4
"""How much longer than wide a slide's pixels may be: beyond it the file is not believed."""

LARGEST_PICTURE = 4096
"""Pixels of the longer side up to which a picture is believed to be one picture and not a slide."""


@dataclass(frozen=True)
class TilingSpec:
    """How a slide is to be cut.

    Attributes
    ----------
    tile_px
        Edge of a tile in pixels at ``spacing``: what the classifier was trained on.
    spacing
        µm per pixel that the classifier expects.
    input_px
        Edge of what the classifier is fed, after the one resize.
    overlap
        Share of a tile's edge that its neighbour repeats, 0 ≤ overlap < 1.
    edge
        What happens at the slide's border: ``pad`` fills what lies beyond it, ``drop`` leaves such
        tiles out.
    grid
        ``slidecam`` or ``wsinfer``.
    min_tissue
        Share of a tile that has to be tissue (``slidecam`` grid only).
    """

    tile_px: int
    spacing: float
    input_px: int
    overlap: float = 0.0
    edge: Literal["pad", "drop"] = "pad"
    grid: Literal["slidecam", "wsinfer"] = "slidecam"
    min_tissue: float = 0.1

    def __post_init__(self) -> None:
        if self.tile_px < 1 or self.input_px < 1 or self.spacing <= 0:
            tile = f"A tile of {self.tile_px} px at {self.spacing} µm/px fed as {self.input_px} px"
            remedy = "All three must be positive; look at the bundle's card."
            raise TilingError(f"{tile} is no tile.", remedy)
        if not 0 <= self.overlap < 1:
            problem = f"The overlap {self.overlap} is out of range."
            raise TilingError(problem, "Pass --overlap from 0 to below 1.")
        if not 0 <= self.min_tissue <= 1:
            problem = f"The min_tissue {self.min_tissue} is out of range."
            raise TilingError(problem, "Pass a share from 0 to 1.")


@dataclass(frozen=True)
class TileGrid:
    """Every tile of one slide.

    Attributes
    ----------
    boxes
        int64, (tiles, 4): x, y, width, height in level-0 pixels, in the grid's own order; all of
        one size, and squares in µm but for the one that is a whole picture.
    candidates
        How many places the grid has before background is dropped.
    step, row_step
        Level-0 pixels from one tile to the next, along x and y; a ``row_step`` of 0 is the same.
    level
        The pyramid level that the tiles are read from: the coarsest that needs no enlarging.
    input_px
        Edge of a tile after the one resize.
    fill
        Colour of what lies beyond the slide.
    planes
        int64, (tiles,): the plane of a volume that each tile is on; all 0 on a slide, which is one
        plane.
    """

    boxes: NDArray[np.int64]
    candidates: int
    step: int
    level: Level
    input_px: int
    fill: RGB
    planes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    row_step: int = 0

    def __post_init__(self) -> None:
        if len(self.planes) != len(self.boxes):
            object.__setattr__(self, "planes", np.zeros(len(self.boxes), np.int64))

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return (
            f"<TileGrid of {len(self)} tiles of {self.edge} px at level {self.level.index}, fed as"
            f" {self.input_px} px; {self.candidates} places of the grid>"
        )

    @property
    def steps(self) -> tuple[int, int]:
        """Level-0 pixels from one tile to the next, along x and y."""
        return self.step, self.row_step or self.step

    @property
    def edge(self) -> int:
        """Edge of a tile in level-0 pixels, the longer one; 0 where there is no tile."""
        return int(self.boxes[:1, 2:].max(initial=0))

    def only(self, rows: NDArray[np.int64] | Sequence[int]) -> TileGrid:
        """Return the grid with some of its tiles alone, in the order of ``rows``."""
        chosen = np.asarray(rows, np.int64)
        return replace(self, boxes=self.boxes[chosen], planes=self.planes[chosen])

    def level_box(self, row: int) -> LevelBox:
        """Return the box of one tile in pixels of the grid's level."""
        return self.level.from_level0(Box(*map(int, self.boxes[row])))


def lay_grid(
    facts: SourceFacts,
    spacing: Spacing,
    foreground: Foreground,
    spec: TilingSpec,
) -> TileGrid:
    """Lay the tiles of ``spec`` over the tissue of a slide.

    Parameters
    ----------
    facts
        The slide.
    spacing
        The settled µm per level-0 pixel.
    foreground
        Where tissue is.
    spec
        How to cut.

    Raises
    ------
    TilingError
        If a tile would be smaller than one level-0 pixel.
    """
    edge, step = edges_of(facts, spacing, spec)
    lay = boxes_of
    if spec.grid == "wsinfer":
        lay = _wsinfer_boxes
    candidates = lay(facts, (edge, step), spec)
    kept = in_tissue(candidates, foreground, spec)
    return TileGrid(
        boxes=candidates[kept],
        candidates=len(candidates),
        step=step.width,
        level=_level_for(facts, edge, spec.input_px),
        input_px=spec.input_px,
        fill=_fill(spec.grid),
        row_step=step.height,
    )


def _level_for(facts: SourceFacts, edge: Size, input_px: int) -> Level:
    """Return the coarsest level that enlarges tiles along neither axis."""
    return nearest_better_level(facts.levels, min(edge.width, edge.height) / input_px)


def lay_at(
    facts: SourceFacts,
    spacing: Spacing,
    points: NDArray[np.float64],
    spec: TilingSpec,
) -> TileGrid:
    """Lay one tile of ``spec`` round each of some places of a slide, whatever is there.

    Parameters
    ----------
    facts, spacing, spec
        As in `lay_grid`; only the size of a tile counts.
    points
        float64, (N, 2): x and y of the tiles' centres in level-0 pixels.

    Raises
    ------
    TilingError
        If a tile would be smaller than one level-0 pixel, or a place lies beyond the slide.
    """
    edge, step = edges_of(facts, spacing, replace(spec, overlap=0.0))
    for x, y in points.tolist():
        if not (0 <= x < facts.size.width and 0 <= y < facts.size.height):
            size = f"{facts.size.width} x {facts.size.height}"
            problem = f"The place {x:g},{y:g} lies beyond the slide of {size} px."
            raise TilingError(problem, "Check the place.", facts.path)
    corners = np.rint(points - np.array([edge.width, edge.height]) / 2).astype(np.int64)
    boxes = _boxes(corners[:, 0], corners[:, 1], edge)
    return lay_again(facts, boxes, (step.width, step.height), spec.input_px)


def lay_again(
    facts: SourceFacts,
    boxes: NDArray[np.int64],
    steps: int | tuple[int, int],
    input_px: int,
    grid: str = "slidecam",
) -> TileGrid:
    """Return tiles of a slide that were laid before, to be read as they were then.

    Parameters
    ----------
    facts
        The slide.
    boxes
        int64, (tiles, 4), all of one size: of a grid that `lay_grid` made, or some of them.
    steps, input_px
        As of that grid.
    grid
        Which kind of grid it was.
    """
    level = facts.levels[0]
    if len(boxes):
        level = _level_for(facts, Size(*boxes[0, 2:].tolist()), input_px)
    across, down = np.broadcast_to(steps, 2).tolist()
    fill = _fill(grid)
    return TileGrid(boxes, len(boxes), across, level, input_px, fill, row_step=down)


def _fill(grid: str) -> RGB:
    if grid == "wsinfer":
        return BLACK
    return GLASS


def lay_whole(facts: SourceFacts, input_px: int) -> TileGrid:
    """Lay one tile over a whole picture, for a classifier of pictures and not of tiles of a slide.

    The tile has the picture's own shape; it is resized to a square of ``input_px`` as training
    does.

    Raises
    ------
    TilingError
        If it is a slide: a pyramid, or longer than `LARGEST_PICTURE`.
    """
    size = facts.size
    if len(facts.levels) > 1 or max(size.width, size.height) > LARGEST_PICTURE:
        levels = "one level"
        if len(facts.levels) > 1:
            levels = f"{len(facts.levels)} levels"
        raise TilingError(
            f"{size.width}x{size.height} px in {levels} is a slide, and this"
            " classifier sees whole pictures (its card has no spacing).",
            f"Pass pictures of one level up to {LARGEST_PICTURE} px, or a bundle whose card states"
            " µm per pixel.",
            facts.path,
        )
    boxes = np.array([[0, 0, size.width, size.height]], np.int64)
    return TileGrid(boxes, 1, max(size.width, size.height), facts.levels[0], input_px, GLASS)


def edges_of(facts: SourceFacts, spacing: Spacing, spec: TilingSpec) -> tuple[Size, Size]:
    """Return a tile's size and the steps from tile to tile, in pixels of each axis."""
    x, y = spacing.x, spacing.y
    if facts.stack is None:
        if spacing.is_square:
            x = y = spacing.mean
        _refuse_shape(facts, spacing, spec)
    side, kept = spec.tile_px * spec.spacing, 1 - spec.overlap
    edge = Size(round(side / x), round(side / y))
    step = Size(round(kept * edge.width), round(kept * edge.height))
    if min(edge.width, edge.height, step.width, step.height) < 1:
        tile = f"A tile is {edge.width} x {edge.height} px and its step {step.width} x"
        remedy = "Check --mpp, or pass a smaller --overlap."
        if facts.stack is not None:
            remedy = "Use a bundle of coarser spacing, or pass a smaller --overlap."
        raise TilingError(f"{tile} {step.height} px at {spacing}/px.", remedy, facts.path)
    return edge, step


def _refuse_shape(facts: SourceFacts, spacing: Spacing, spec: TilingSpec) -> None:
    """Refuse pixels that are far from square, and any that are not for a grid of one µm per px."""
    pixels = f"Pixels are {spacing}"
    if max(spacing.x, spacing.y) > LONGEST_PIXEL * min(spacing.x, spacing.y):
        problem = f"{pixels}, more than {LONGEST_PIXEL} times as long one way as the other."
        raise TilingError(problem, "Check what the file says, or pass --mpp.", facts.path)
    if spec.grid == "wsinfer" and not spacing.is_square:
        problem = f"{pixels}, and WSInfer's grid is one of square pixels."
        raise TilingError(problem, "Pass --grid slidecam.", facts.path)


def shape_readings(spacing: Spacing, grid: TileGrid) -> tuple[str, ...]:
    """Return what to say of tiles of pixels that are not square; nothing where they are."""
    if spacing.is_square or not len(grid):
        return ()
    width, height = grid.boxes[0, 2:].tolist()
    return (f"Tiles are {width} x {height} px, which is square in µm: pixels are {spacing}.",)


def boxes_of(facts: SourceFacts, edges: tuple[Size, Size], spec: TilingSpec) -> NDArray[np.int64]:
    """Return the boxes of a plane, row by row from the corner of the scanned region, (N, 4)."""
    edge, step = edges
    region = facts.bounds or Box(0, 0, facts.size.width, facts.size.height)
    ys = _starts(region.y, region.bottom, edge.height, step.height, spec.edge)
    xs = _starts(region.x, region.right, edge.width, step.width, spec.edge)
    y, x = np.meshgrid(ys, xs, indexing="ij")
    return _boxes(x.ravel(), y.ravel(), edge)


def _starts(first: int, end: int, edge: int, step: int, policy: str) -> NDArray[np.int64]:
    if policy == "drop":
        return np.arange(first, end - edge + 1, step, dtype=np.int64)
    # With overlap, a padded tile must bring at least one column that its predecessor does not.
    return np.arange(first, max(first + 1, end - (edge - step)), step, dtype=np.int64)


def _wsinfer_boxes(
    facts: SourceFacts,
    edges: tuple[Size, Size],
    spec: TilingSpec,
) -> NDArray[np.int64]:
    edge, step = edges[0].width, edges[1].width
    half = round(edge / 2)
    xs = np.arange(half, facts.size.width, step, dtype=np.int64)
    ys = np.arange(half, facts.size.height, step, dtype=np.int64)
    x, y = np.meshgrid(xs, ys, indexing="ij")
    boxes = _boxes(x.ravel() - half, y.ravel() - half, edges[0])
    if spec.edge == "pad":
        return boxes
    ends = boxes[:, :2] + edge
    return boxes[(ends <= (facts.size.width, facts.size.height)).all(axis=1)]


def _boxes(x: NDArray[np.int64], y: NDArray[np.int64], edge: Size) -> NDArray[np.int64]:
    return np.stack([x, y, np.full_like(x, edge.width), np.full_like(x, edge.height)], axis=1)


def in_tissue(
    boxes: NDArray[np.int64],
    foreground: Foreground,
    spec: TilingSpec,
) -> NDArray[np.bool_]:
    """Return which boxes hold enough tissue, (N,)."""
    if spec.grid == "wsinfer":
        half = np.rint(boxes[:, 2:3] / 2).astype(np.int64)
        return foreground.contains((boxes[:, :2] + half).astype(np.float64))
    # The floor keeps tiles without any tissue out when min_tissue is 0.
    return foreground.coverage(boxes) >= max(spec.min_tissue, 1e-9)
