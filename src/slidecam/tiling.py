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

    from slidecam.foreground import Foreground, VolumeForeground
    from slidecam.geometry import Level, LevelBox, Spacing
    from slidecam.pixels import RGB
    from slidecam.sources import SourceFacts
    from slidecam.sources.volume_grid import PlaneStack

BLACK: RGB = (0, 0, 0)
"""What lies beyond the planes of a volume, which is air, and beyond a slide for WSInfer."""

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
        one size, and squares but for the one that is a whole picture.
    candidates
        How many places the grid has before background is dropped.
    step
        Level-0 pixels from one tile to the next.
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

    def __post_init__(self) -> None:
        if len(self.planes) != len(self.boxes):
            object.__setattr__(self, "planes", np.zeros(len(self.boxes), np.int64))

    def __len__(self) -> int:
        return len(self.boxes)

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
    facts: SourceFacts, spacing: Spacing, foreground: Foreground, spec: TilingSpec
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
    edge = round(spec.tile_px * spec.spacing / spacing.mean)
    step = round((1 - spec.overlap) * edge)
    if edge < 1 or step < 1:
        problem = f"A tile is {edge} px wide and its step {step} px at {spacing.mean:g} µm/px."
        raise TilingError(problem, "Check --mpp, or pass a smaller --overlap.", facts.path)
    lay = _slidecam_boxes
    if spec.grid == "wsinfer":
        lay = _wsinfer_boxes
    candidates = lay(facts, (Size(edge, edge), Size(step, step)), spec)
    kept = _in_tissue(candidates, foreground, spec)
    return TileGrid(
        boxes=candidates[kept],
        candidates=len(candidates),
        step=step,
        level=nearest_better_level(facts.levels, edge / spec.input_px),
        input_px=spec.input_px,
        fill=_fill(spec.grid),
    )


def lay_at(
    facts: SourceFacts, spacing: Spacing, points: NDArray[np.float64], spec: TilingSpec
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
    edge = round(spec.tile_px * spec.spacing / spacing.mean)
    if edge < 1:
        problem = f"A tile is {edge} px wide at {spacing.mean:g} µm/px."
        raise TilingError(problem, "Check --mpp.", facts.path)
    for x, y in points.tolist():
        if not (0 <= x < facts.size.width and 0 <= y < facts.size.height):
            size = f"{facts.size.width} x {facts.size.height}"
            problem = f"The place {x:g},{y:g} lies beyond the slide of {size} px."
            raise TilingError(problem, "Check the place.", facts.path)
    corners = np.rint(points - edge / 2).astype(np.int64)
    boxes = _boxes(corners[:, 0], corners[:, 1], Size(edge, edge))
    return lay_again(facts, boxes, edge, spec.input_px)


def lay_again(
    facts: SourceFacts, boxes: NDArray[np.int64], step: int, input_px: int, grid: str = "slidecam"
) -> TileGrid:
    """Return tiles of a slide that were laid before, to be read as they were then.

    Parameters
    ----------
    facts
        The slide.
    boxes
        int64, (tiles, 4), all of one size: of a grid that `lay_grid` made, or some of them.
    step, input_px
        As of that grid.
    grid
        Which kind of grid it was.
    """
    level = facts.levels[0]
    if len(boxes):
        level = nearest_better_level(facts.levels, int(boxes[0, 2:].max()) / input_px)
    return TileGrid(boxes, len(boxes), step, level, input_px, _fill(grid))


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


def lay_planes(
    facts: SourceFacts, foreground: VolumeForeground, input_px: int, min_share: float
) -> TileGrid:
    """Lay one tile over each plane of a volume, for a classifier that sees whole pictures.

    A tile is the square, in millimetres, that holds the plane, so that a head keeps its shape
    whatever that of the voxels; what lies beyond the plane is black.

    Parameters
    ----------
    facts
        The volume.
    foreground
        Where there is a head, or whatever was scanned.
    input_px
        Edge of a tile after the one resize.
    min_share
        Least foreground of a plane, as a share of the fullest plane's: what has less is left out.

    Raises
    ------
    TilingError
        If it is no volume.
    """
    stack = _stack_of(facts)
    _planes, rows, columns = stack.shape
    _apart, row_mm, column_mm = stack.spacing_mm
    side = max(rows * row_mm, columns * column_mm)
    width, height = round(side / column_mm), round(side / row_mm)
    shares = foreground.shares
    # The floor keeps planes without any foreground out when min_share is 0.
    full = shares >= max(min_share * float(shares.max(initial=0)), 1e-9)
    full[list(stack.missing)] = False
    kept = np.flatnonzero(full)
    box = [(columns - width) // 2, (rows - height) // 2, width, height]
    boxes = np.tile(np.array(box, np.int64), (len(kept), 1))
    step, level = max(width, height), facts.levels[0]
    return TileGrid(boxes, len(shares), step, level, input_px, BLACK, kept)


def lay_tiles_on_planes(
    facts: SourceFacts, spacing: Spacing, foreground: VolumeForeground, spec: TilingSpec
) -> TileGrid:
    """Lay the tiles of ``spec`` over the foreground of every plane of a volume.

    Tiles are squares in millimetres, so that on planes of unequal spacing they are none in voxels.

    Raises
    ------
    TilingError
        If it is no volume, or a tile would be smaller than a voxel.
    """
    stack = _stack_of(facts)
    edges = _edges(facts, spacing, spec)
    boxes = _slidecam_boxes(facts, edges, spec)
    kept, on = [boxes[:0]], [np.zeros(0, np.int64)]
    for plane in range(facts.planes):
        if plane in stack.missing:
            continue
        found = boxes[_in_tissue(boxes, foreground.of_plane(plane), spec)]
        kept.append(found)
        on.append(np.full(len(found), plane, np.int64))
    return TileGrid(
        boxes=np.concatenate(kept),
        candidates=len(boxes) * facts.planes,
        step=edges[1].width,
        level=facts.levels[0],
        input_px=spec.input_px,
        fill=BLACK,
        planes=np.concatenate(on),
    )


def _edges(facts: SourceFacts, spacing: Spacing, spec: TilingSpec) -> tuple[Size, Size]:
    """Return a tile's size and the steps from tile to tile, in pixels of each axis."""
    side = spec.tile_px * spec.spacing
    edge = Size(round(side / spacing.x), round(side / spacing.y))
    kept = 1 - spec.overlap
    step = Size(round(kept * edge.width), round(kept * edge.height))
    if min(edge.width, edge.height, step.width, step.height) < 1:
        tile = f"A tile is {edge.width} x {edge.height} voxels"
        remedy = "Use a bundle of coarser spacing, or pass a smaller --overlap."
        raise TilingError(f"{tile} at {spacing.x:g} x {spacing.y:g} µm.", remedy, facts.path)
    return edge, step


def _stack_of(facts: SourceFacts) -> PlaneStack:
    if facts.stack is None:
        remedy = "Lay a slide's grid with lay_grid or lay_whole."
        raise TilingError("This is no volume.", remedy, facts.path)
    return facts.stack


def _slidecam_boxes(
    facts: SourceFacts, edges: tuple[Size, Size], spec: TilingSpec
) -> NDArray[np.int64]:
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
    facts: SourceFacts, edges: tuple[Size, Size], spec: TilingSpec
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


def _in_tissue(
    boxes: NDArray[np.int64], foreground: Foreground, spec: TilingSpec
) -> NDArray[np.bool_]:
    if spec.grid == "wsinfer":
        half = np.rint(boxes[:, 2:3] / 2).astype(np.int64)
        return foreground.contains((boxes[:, :2] + half).astype(np.float64))
    # The floor keeps tiles without any tissue out when min_tissue is 0.
    return foreground.coverage(boxes) >= max(spec.min_tissue, 1e-9)
