"""The foreground as data: a small boolean mask and its place on the slide."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.geometry import Size


@dataclass(frozen=True, eq=False)
class Foreground:
    """Where on a slide there is something to classify.

    Attributes
    ----------
    mask
        (rows, columns) bool, True where there is tissue. It covers the slide entirely: one mask
        pixel is ``size.width / columns`` x ``size.height / rows`` level-0 pixels.
    size
        Width and height of level 0.
    origin
        Where the mask comes from, for people: ``otsu on saturation``, ``file annotations.geojson``.
    readings
        What had to be decided about the file that it comes from, as sentences.
    """

    mask: NDArray[np.bool_]
    size: Size
    origin: str
    readings: tuple[str, ...] = field(default=(), kw_only=True)

    def __repr__(self) -> str:
        size = self.size
        return (
            f"<Foreground of {size.width} x {size.height} px: {self.share:.1%} tissue,"
            f" {self.origin}>"
        )

    @property
    def share(self) -> float:
        """Share of the slide that is tissue, 0..1."""
        return float(self.mask.mean())

    def coverage(self, boxes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the share of tissue in each box.

        A box counts the mask pixels that it cuts by the part it covers. What overhangs the slide
        counts as no tissue: the share is that of the whole box.

        Parameters
        ----------
        boxes
            (N, 4) x, y, width, height in level-0 pixels; widths and heights > 0.

        Returns
        -------
        ndarray
            (N,) float64, 0..1.
        """
        x, y, width, height = np.asarray(boxes, np.float64).reshape(-1, 4).T
        left, right = self._columns(x), self._columns(x + width)
        top, bottom = self._rows(y), self._rows(y + height)
        tissue = (
            self._area(bottom, right)
            - self._area(top, right)
            - self._area(bottom, left)
            + self._area(top, left)
        )
        return np.clip(tissue / (width * height * self._scale_x * self._scale_y), 0.0, 1.0)

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell for each of (N, 2) x, y in level-0 pixels if it is on tissue.

        Beyond the slide is none.
        """
        x, y = np.asarray(points, np.float64).reshape(-1, 2).T
        inside = (x >= 0) & (y >= 0) & (x < self.size.width) & (y < self.size.height)
        row = np.minimum(self._rows(y).astype(np.intp), self.mask.shape[0] - 1)
        column = np.minimum(self._columns(x).astype(np.intp), self.mask.shape[1] - 1)
        return np.asarray(inside & self.mask[row, column], np.bool_)

    @property
    def _scale_x(self) -> float:
        return float(self.mask.shape[1] / self.size.width)

    @property
    def _scale_y(self) -> float:
        return float(self.mask.shape[0] / self.size.height)

    def _columns(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(x * self._scale_x, 0, self.mask.shape[1])

    def _rows(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(y * self._scale_y, 0, self.mask.shape[0])

    @cached_property
    def _table(self) -> NDArray[np.int32]:
        """Summed-area table: tissue pixels above and left of each corner of the mask's pixels."""
        table = np.zeros((self.mask.shape[0] + 1, self.mask.shape[1] + 1), np.int32)
        np.cumsum(self.mask, axis=1, dtype=np.int32, out=table[1:, 1:])
        np.cumsum(table[1:, 1:], axis=0, out=table[1:, 1:])
        return table

    def _area(self, row: NDArray[np.float64], column: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the tissue above and left of fractional corners, in mask pixels.

        Inside one mask pixel that area is bilinear in the corner, so interpolating the table is
        exact.
        """
        top = np.minimum(row.astype(np.intp), self.mask.shape[0] - 1)
        left = np.minimum(column.astype(np.intp), self.mask.shape[1] - 1)
        down, across = row - top, column - left
        upper = self._table[top, left] * (1 - across) + self._table[top, left + 1] * across
        lower = self._table[top + 1, left] * (1 - across) + self._table[top + 1, left + 1] * across
        area: NDArray[np.float64] = upper * (1 - down) + lower * down
        return area


def whole_slide(size: Size) -> Foreground:
    """Return a foreground that takes every place of a slide of ``size`` for tissue."""
    return Foreground(np.ones((1, 1), np.bool_), size, "the whole slide")


def mask_digest(mask: NDArray[np.bool_]) -> str:
    """Return the digest that a plan knows a tissue mask by."""
    return hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()
