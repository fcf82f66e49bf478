"""Tiles of a synthetic slide with the truth about each.

Which tissue they show and where their nuclei lie.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tissue import CLASS_NAMES

if TYPE_CHECKING:
    from make_slide import SyntheticSlide
    from numpy.typing import NDArray

EDGE = 128
"""Edge of a tile in px at 0.5 µm per px."""

LEAST_TISSUE = 0.1
"""Tiles with a smaller share of tissue are glass, as they are for slidecam's own grid."""

CLEAR_TISSUE, CLEAR_CLASS = 0.5, 0.9
"""A clear tile is at least half tissue, and that tissue is at least nine tenths one class."""


@dataclass(frozen=True)
class Tiles:
    """Tiles and their truth.

    Attributes
    ----------
    pixels
        uint8 (N, EDGE, EDGE, 3).
    shares
        float32 (N, 3): the share of each class in the tile's tissue.
    tissue
        float32 (N,): the share of tissue in the tile.
    nuclei
        bool (N, EDGE, EDGE): pixels that lie in a nucleus.
    corners
        int64 (N, 2): left and top edge in level-0 px.
    """

    pixels: NDArray[np.uint8]
    shares: NDArray[np.float32]
    tissue: NDArray[np.float32]
    nuclei: NDArray[np.bool_]
    corners: NDArray[np.int64]

    @property
    def truth(self) -> NDArray[np.int64]:
        """The class that most of each tile's tissue belongs to."""
        winners: NDArray[np.int64] = self.shares.argmax(axis=1)
        return winners

    @property
    def clear(self) -> NDArray[np.bool_]:
        """Which tiles are mostly tissue of nearly one class."""
        alike: NDArray[np.bool_] = self.shares.max(axis=1) >= CLEAR_CLASS
        return alike & (self.tissue >= CLEAR_TISSUE)


def grid_corners(size: int) -> NDArray[np.int64]:
    """Return the corners of all whole tiles side by side from the slide's corner, row by row."""
    line = np.arange(0, size - EDGE + 1, EDGE)
    return np.stack([np.tile(line, len(line)), np.repeat(line, len(line))], axis=1)


def random_corners(rng: np.random.Generator, size: int, count: int) -> NDArray[np.int64]:
    """Return the corners of ``count`` tiles anywhere on the slide."""
    return rng.integers(0, size - EDGE + 1, (count, 2))


def cut_tiles(slide: SyntheticSlide, corners: NDArray[np.int64]) -> Tiles:
    """Return the tiles at ``corners`` that show enough tissue."""
    windows = [(slice(y, y + EDGE), slice(x, x + EDGE)) for x, y in corners]
    areas = np.stack(
        [np.bincount(slide.classes[window].ravel(), minlength=4) for window in windows]
    )
    tissue = 1 - areas[:, 0] / EDGE**2
    kept = np.flatnonzero(tissue >= LEAST_TISSUE)
    return Tiles(
        pixels=np.stack([slide.pixels[windows[index]] for index in kept]),
        shares=(areas[kept, 1:] / areas[kept, 1:].sum(axis=1, keepdims=True)).astype(np.float32),
        tissue=tissue[kept].astype(np.float32),
        nuclei=np.stack([slide.nuclei[windows[index]] for index in kept]),
        corners=corners[kept],
    )


def through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return the picture as it looks after JPEG with halved chroma, the way slides are stored."""
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(stored))


def balanced(rng: np.random.Generator, truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return shuffled indices in which every class occurs as often as the rarest."""
    groups = [rng.permutation(np.flatnonzero(truth == label)) for label in range(len(CLASS_NAMES))]
    return rng.permutation(np.concatenate([group[: min(map(len, groups))] for group in groups]))
