"""Pixels of the overview: the slide faded to grey, with its classes or its heat laid over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from slidecam.classes import NONE_COLOR
from slidecam.drawing.heat import blended, heat_colors
from slidecam.drawing.style import lowest_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.geometry import Size
    from slidecam.runs.tiles import TileTable

UNREADABLE_COLOR = (70, 70, 78)

HALF = 0.5

NO_TILE, NO_WINNER, UNREADABLE = -1, -2, -3
"""What a class map says where there is no class."""

GAP_FROM = 7
"""Edge in pixels from which a tile is drawn with a gap to its neighbour."""

CLASS_COVER = 0.8
"""How much of the slide a class covers."""

SHADE = 0.4
"""How much of the tissue's own light and dark shows through a colour."""

PALE = 250.0
"""The background that the scale of the heat is drawn on: an empty slide, faded."""


def faded(thumbnail: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the slide as a pale grey picture, uint8, (height, width, 3)."""
    pale = 255 - (255 - _grey(thumbnail)) * 0.45
    return np.repeat(pale[:, :, None], 3, axis=2).astype(np.uint8)


def class_map(table: TileTable, slide: Size, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return which class each pixel of a picture of the slide belongs to.

    Where tiles overlap, each is drawn as the cell of the grid around its centre.

    Returns
    -------
    ndarray
        int64, ``shape`` (height, width): a class's index, `NO_TILE`, `NO_WINNER` or `UNREADABLE`.
    """
    labels = np.full(shape, NO_TILE, np.int64)
    known = table.done | table.failed
    if not known.any():
        return labels
    values = np.where(
        table.failed, UNREADABLE, np.where(table.winners < 0, NO_WINNER, table.winners)
    )[known]
    edges = _cells(table.boxes[known]) * np.tile(
        [shape[1] / slide.width, shape[0] / slide.height], 2
    )
    left, top, right, bottom = np.rint(edges).astype(np.int64).T
    gap = int(min((right - left).min(), (bottom - top).min()) >= GAP_FROM)
    _paint(labels, np.stack([left, top, right - gap, bottom - gap]), values)
    return labels


def value_map(
    boxes: NDArray[np.int64],
    values: NDArray[np.floating],
    region: Size,
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Return a picture of a region with the value of each tile, NaN where there is none.

    Parameters
    ----------
    boxes
        int64, (tiles, 4), counted from the region's corner; all reach into it and none overlap.
    values
        One each.
    region, shape
        Level-0 pixels of the region, and rows and columns of the picture.
    """
    painted = np.full(shape, np.nan, np.float32)
    if len(boxes):
        edges = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        scale = np.tile([shape[1] / region.width, shape[0] / region.height], 2)
        _paint(painted, np.rint(edges * scale).astype(np.int64).T, values)
    return painted


def colored(
    thumbnail: NDArray[np.uint8], labels: NDArray[np.int64], colors: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Lay the classes of `class_map` over the faded slide; ``colors`` is uint8, (classes, 3)."""
    # Negative labels count from the end of this table.
    palette = np.array([*colors, UNREADABLE_COLOR, NONE_COLOR, (0, 0, 0)], np.float32)
    bare, inside = faded(thumbnail), labels != NO_TILE
    laid = blended(bare, palette[labels] * _shade(thumbnail), CLASS_COVER)
    return np.where(inside[:, :, None], laid, bare).astype(np.uint8)


def heated(
    thumbnail: NDArray[np.uint8], heat: NDArray[np.float32], *, signed: bool = False
) -> NDArray[np.uint8]:
    """Lay heat over the faded slide.

    Parameters
    ----------
    thumbnail
        uint8, (height, width, 3).
    heat
        float32, (height, width), 0 to 1; NaN leaves the slide bare.
    signed
        Whether it runs from -1 to 1.
    """
    bare, known = faded(thumbnail), np.isfinite(heat)
    colors, cover = heat_colors(np.where(known, heat, 0), signed=signed)
    # The whole picture: to take the pixels with heat out and back costs more than the others do.
    colors *= _shade(thumbnail)
    cover[~known] = 0
    return blended(bare, colors, cover).astype(np.uint8)


def heat_scale(pixels: int, *, signed: bool = False) -> NDArray[np.uint8]:
    """Return heat's colours from 0 (-1 if signed) to 1 as on glass, uint8, (1, pixels, 3)."""
    shares = np.linspace(lowest_share(signed=signed), 1, pixels, dtype=np.float32)
    colors, cover = heat_colors(shares, signed=signed)
    return blended(np.full_like(colors, PALE), colors, cover).astype(np.uint8)[None]


def resampled(
    heat: NDArray[np.float32],
    region: tuple[float, float],
    shape: tuple[int, int],
    corner: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.float32]:
    """Return a ``region`` of ``heat`` from a ``corner`` in another size.

    The region is (width, height) in pixels, maybe a fraction.

    Values are interpolated between those that are numbers; a pixel whose nearest value is none
    stays NaN.
    """
    known = np.isfinite(heat)
    weights = _resized(known.astype(np.float32), region, shape, corner)
    sums = _resized(np.where(known, heat, 0).astype(np.float32), region, shape, corner)
    # Half a weight or more: most of what the pixel lies on is known.
    means = np.where(weights >= HALF, sums / np.maximum(weights, HALF), np.nan)
    return means.astype(np.float32)


def _resized(
    values: NDArray[np.float32],
    region: tuple[float, float],
    shape: tuple[int, int],
    corner: tuple[float, float],
) -> NDArray[np.float32]:
    right, bottom = corner[0] + region[0], corner[1] + region[1]
    box = (*corner, min(right, values.shape[1]), min(bottom, values.shape[0]))
    picture = Image.fromarray(values)
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box))


def _grey(thumbnail: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(thumbnail).convert("L"), np.float32)


def _shade(thumbnail: NDArray[np.uint8]) -> NDArray[np.float32]:
    light = 1 - SHADE * (1 - _grey(thumbnail) / 255)
    return light.astype(np.float32)[:, :, None]


def _cells(boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return left, top, right, bottom of each tile's own cell: itself where none overlap."""
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    halves = (
        np.minimum(
            boxes[:, 2:],
            [_step(boxes[:, 0], boxes[:, 2]), _step(boxes[:, 1], boxes[:, 3])],
        )
        / 2
    )
    return np.concatenate([centres - halves, centres + halves], axis=1)


def _step(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> float:
    steps = np.diff(np.unique(starts))
    if steps.size:
        return float(np.median(steps))
    return float(lengths.max())


def _paint(labels: NDArray[Any], edges: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Fill boxes (left, top, right, bottom) with their values, each at least one pixel."""
    height, width = labels.shape
    left, right = np.clip(edges[0], 0, width - 1), np.clip(edges[2], 1, width)
    top, bottom = np.clip(edges[1], 0, height - 1), np.clip(edges[3], 1, height)
    wide, high = np.maximum(right - left, 1), np.maximum(bottom - top, 1)
    if len(values) <= int(wide.max()) * int(high.max()):
        for box in zip(top, high, left, wide, values, strict=True):
            _fill(labels, *box)
        return
    # Many small tiles: all their first pixels at once, then all their second ones, …
    for down in range(int(high.max())):
        for across in range(int(wide.max())):
            here = (down < high) & (across < wide)
            labels[top[here] + down, left[here] + across] = values[here]


def _fill(labels: NDArray[Any], top: int, high: int, left: int, wide: int, value: float) -> None:
    labels[top : top + high, left : left + wide] = value
