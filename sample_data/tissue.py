"""Where a synthetic slide's tissue lies, each place's class, and what lies between the nuclei.

What lies between the nuclei (the matrix: fibres, cytoplasm, clefts) varies in strength over a slide
much more than it does between classes, so that the nuclei tell the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from fields import enlarge, fractal_noise, pixel_grid, smooth_noise, soften
from scipy import ndimage
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from fields import Field
    from numpy.typing import NDArray

CLASS_NAMES = ("lymphoid", "stroma", "tumour")
LYMPHOID, STROMA, TUMOUR = 1, 2, 3
COARSE = 8
"""Shapes are laid out on a grid this much coarser than the slide."""

_ISLANDS = ((0.36, 0.50, 0.29, 0.37), (0.77, 0.30, 0.16, 0.20), (0.76, 0.75, 0.15, 0.15))
"""Centre x, centre y and both radii of the pieces of tissue, as shares of the slide's edge."""


@dataclass(frozen=True)
class Tissue:
    """The layout of a slide and its matrix; every array is (size, size).

    Attributes
    ----------
    classes
        uint8: 0 glass, 1 lymphoid, 2 stroma, 3 tumour.
    room
        bool: where a nucleus may lie (not in a lumen, a septum or at the tissue's very edge).
    angle
        float32: direction of the fibres in radians, x to y.
    haematoxylin, eosin
        float32: stain of the matrix in optical density of the stain's own direction; 0 on glass.
    """

    classes: NDArray[np.uint8]
    room: NDArray[np.bool_]
    angle: Field
    haematoxylin: Field
    eosin: Field

    @property
    def size(self) -> int:
        """Edge of the slide in px."""
        return int(self.classes.shape[0])


def lay_tissue(rng: np.random.Generator, size: int) -> Tissue:
    """Return the tissue of one slide of ``size`` px (a multiple of 16)."""
    islands = _islands(rng, size // COARSE)
    classes = _territories(rng, islands, size)
    presence = soften(classes > 0, 2.5)
    septum, lumen = _nests(rng, classes)
    fibre, angle = _fibres(rng, size)
    haematoxylin, eosin = _matrix(rng, classes, fibre, septum, lumen)
    return Tissue(
        classes=classes,
        room=(presence > 0.97) & (septum < 0.5) & (lumen < 0.3),  # noqa: PLR2004 - shares of a softened mask
        angle=angle,
        haematoxylin=haematoxylin * presence,
        eosin=eosin * presence,
    )


def _islands(rng: np.random.Generator, size: int) -> Field:
    """Return a field, positive on tissue: warped ellipses with torn edges and a few holes."""
    y, x = pixel_grid(size)
    field = np.full((size, size), -np.inf, np.float32)
    for centre_x, centre_y, radius_x, radius_y in _ISLANDS:
        shift_x, shift_y = rng.uniform(-0.02, 0.02, 2)
        across = (x / size - centre_x - shift_x) / radius_x
        down = (y / size - centre_y - shift_y) / radius_y
        field = np.maximum(field, (1 - np.hypot(across, down)).astype(np.float32))
    field += np.float32(0.075) * fractal_noise(rng, size, size / 6, 3)
    tears = smooth_noise(rng, size, size / 11) + np.float32(0.3) * fractal_noise(
        rng, size, size / 40, 2
    )
    return _turned(rng, np.minimum(field, np.float32(2.2) - tears))


def _turned(rng: np.random.Generator, field: Field) -> Field:
    """Return the field turned and perhaps mirrored, so that slides differ in layout."""
    turned = np.rot90(field, int(rng.integers(4)))
    return np.ascontiguousarray(turned[:, ::-1] if rng.integers(2) else turned)


def _territories(rng: np.random.Generator, islands: Field, size: int) -> NDArray[np.uint8]:
    """Return the class of every pixel: that of the nearest of a few seeds, by a warped distance."""
    coarse = islands.shape[0]
    places = np.argwhere(islands > 0)
    seeds = _far_apart(rng, places, 9)
    warp = [np.float32(coarse / 36) * fractal_noise(rng, coarse, coarse / 7, 3) for _ in range(2)]
    y, x = pixel_grid(coarse)
    order = rng.permutation(3)
    near = np.full((3, coarse, coarse), np.inf, np.float32)
    for index, (row, column) in enumerate(seeds):
        owner = order[index % 3]
        near[owner] = np.minimum(near[owner], np.hypot(y - row + warp[0], x - column + warp[1]))
    smooth = np.stack([enlarge(field, size) for field in near])
    winner = smooth.argmin(axis=0).astype(np.uint8) + np.uint8(1)
    return np.where(enlarge(islands, size) > 0, winner, np.uint8(0))


def _far_apart(
    rng: np.random.Generator, places: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Return ``count`` of the places, each chosen as far as possible from those before it."""
    candidates = rng.permutation(places)[:400]
    chosen = [candidates[0]]
    for _ in range(count - 1):
        gaps = np.linalg.norm(candidates[:, None] - np.stack(chosen)[None], axis=2).min(axis=1)
        chosen.append(candidates[gaps.argmax()])
    return np.stack(chosen)


def _nests(rng: np.random.Generator, classes: NDArray[np.uint8]) -> tuple[Field, Field]:
    """Return the septa between the tumour's nests and the lumina of glandular ones, each 0 to 1."""
    size = classes.shape[0]
    half = size // 2
    pitch = 88
    rows, columns = np.meshgrid(*[np.arange(-pitch, half + pitch, pitch)] * 2, indexing="ij")
    centres = np.stack([rows.ravel(), columns.ravel()], axis=1)
    centres = centres + rng.uniform(-0.38, 0.38, centres.shape) * pitch
    lumen_radius = rng.integers(0, 2, len(centres)) * rng.uniform(9, 19, len(centres))
    places = np.argwhere(classes[::2, ::2] == TUMOUR)
    wobble = np.stack([smooth_noise(rng, half, 24)[tuple(places.T)] for _ in range(2)], axis=1) * 4
    gaps, owner = KDTree(centres).query(places + wobble, k=2)
    septum, lumen = np.zeros((2, half, half), np.float32)
    septum[tuple(places.T)] = np.clip(2 - (gaps[:, 1] - gaps[:, 0]) / 6, 0, 1)
    lumen[tuple(places.T)] = np.clip((lumen_radius[owner[:, 0]] - gaps[:, 0]) / 2 + 0.5, 0, 1)
    return enlarge(septum, size), enlarge(lumen, size)


def _fibres(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Return a field of wavy bundles of fibres, about unit variance, and their direction."""
    y, x = pixel_grid(size)
    turn = rng.uniform(0, np.pi)
    across = np.float32(np.sin(turn)) * x + np.float32(np.cos(turn)) * y
    along = np.float32(np.cos(turn)) * x - np.float32(np.sin(turn)) * y
    across = across + 60 * smooth_noise(rng, size, 330) + 9 * smooth_noise(rng, size, 90)
    slope_y, slope_x = (enlarge(slope, size) for slope in np.gradient(across[::COARSE, ::COARSE]))
    angle = np.arctan2(slope_y, slope_x) + np.float32(np.pi / 2)
    fine = _stretched(rng, across / 2.2, along / 26)
    broad = _stretched(rng, across / 7, along / 60)
    return np.float32(0.75) * fine + np.float32(0.65) * broad, angle


def _stretched(
    rng: np.random.Generator, across: NDArray[np.floating], along: NDArray[np.floating]
) -> Field:
    """Return white noise looked up at slowly changing coordinates: streaks along the slower one."""
    noise = rng.standard_normal((512, 512)).astype(np.float32) * np.float32(1.4)
    streaks: Field = ndimage.map_coordinates(noise, [across, along], order=1, mode="grid-wrap")
    return streaks


def _matrix(
    rng: np.random.Generator, classes: NDArray[np.uint8], fibre: Field, septum: Field, lumen: Field
) -> tuple[Field, Field]:
    """Return haematoxylin and eosin of the matrix, as if the whole slide were tissue."""
    size = classes.shape[0]
    strength = np.clip(0.65 + 0.3 * smooth_noise(rng, size, 420), 0.25, 1.1).astype(np.float32)
    nest = soften((classes == TUMOUR) & (septum < 0.5), 3)  # noqa: PLR2004 - half
    crowd = soften(classes == LYMPHOID, 3)
    strength *= 1 - np.float32(0.55) * nest - np.float32(0.3) * crowd
    grain = smooth_noise(rng, size, 3.2)
    eosin = 0.60 + 0.16 * strength * fibre + 0.04 * grain + 0.08 * smooth_noise(rng, size, 260)
    clefts = np.clip(-fibre - 1.25, 0, 1) * strength
    keep = np.clip(1 - 0.8 * clefts, 0, 1) * (1 - np.float32(0.9) * lumen)
    haematoxylin = 0.07 + 0.06 * nest + 0.05 * crowd + 0.02 * grain
    return (np.clip(haematoxylin, 0, None) * keep), (np.clip(eosin, 0, None) * keep)
