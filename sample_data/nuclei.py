"""Nuclei of three kinds, drawn as stamps of haematoxylin and laid where the tissue has room.

The kinds differ in size, density and arrangement: lymphoid nuclei are small, round, alike and
packed; stroma has few, long ones along its fibres; tumour nuclei are large, unlike each other, have
nucleoli and crowd in nests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from tissue import LYMPHOID, STROMA, TUMOUR

if TYPE_CHECKING:
    from fields import Field
    from numpy.typing import NDArray
    from tissue import Tissue

DIRECTIONS = 24
"""Stamps are drawn in this many directions over half a turn."""


@dataclass(frozen=True)
class Kind:
    """How the nuclei of one class look and lie; lengths in px of 0.5 µm.

    Attributes
    ----------
    length
        Range of the longer half-axis.
    roundness
        Range of the shorter half-axis as a share of the longer.
    wobble
        How far the outline strays from the ellipse, as a share of the radius.
    density
        Range of the haematoxylin's optical density inside.
    chromatin
        How coarse the inside is: standard deviation of the density.
    rim
        Extra density at the nuclear membrane.
    nucleoli
        Most nucleoli that one nucleus may have.
    gap
        Least distance between centres.
    """

    length: tuple[float, float]
    roundness: tuple[float, float]
    wobble: float
    density: tuple[float, float]
    chromatin: float
    rim: float
    nucleoli: int
    gap: float


KINDS = {
    LYMPHOID: Kind((5.6, 7.2), (0.86, 1.0), 0.03, (1.15, 1.5), 0.26, 0.10, 0, 12.6),
    STROMA: Kind((15.0, 23.0), (0.17, 0.25), 0.05, (1.0, 1.4), 0.18, 0.10, 0, 52.0),
    TUMOUR: Kind((11.0, 19.0), (0.62, 0.95), 0.07, (0.55, 1.15), 0.22, 0.35, 3, 27.0),
}


@dataclass(frozen=True)
class Nuclei:
    """All nuclei of a slide.

    Attributes
    ----------
    haematoxylin
        float32 (size, size): what the nuclei add to the matrix.
    mask
        bool (size, size): pixels that lie in a nucleus.
    table
        float64 (N, 4): x, y in px, class, area in px.
    """

    haematoxylin: Field
    mask: NDArray[np.bool_]
    table: NDArray[np.float64]


def draw_nuclei(rng: np.random.Generator, tissue: Tissue) -> Nuclei:
    """Return the nuclei that lie in ``tissue``."""
    canvas = np.zeros((tissue.size, tissue.size), np.float32)
    mask = np.zeros(canvas.shape, np.bool_)
    rows = []
    for label, kind in KINDS.items():
        stamps = _stamps(rng, kind)
        for row, column in _scatter(rng, tissue.room & (tissue.classes == label), kind.gap):
            stamp = stamps[_choice(rng, tissue.angle[row, column])]
            rows.append((column, row, label, _press(stamp, canvas, mask, row, column)))
    return Nuclei(canvas, mask, np.array(rows, np.float64).reshape(-1, 4))


def _choice(rng: np.random.Generator, angle: float) -> tuple[int, int]:
    direction = round((angle + rng.normal(0, 0.12)) / np.pi * DIRECTIONS) % DIRECTIONS
    return direction, int(rng.integers(VARIANTS))


VARIANTS = 16
"""Stamps per direction."""


def _scatter(rng: np.random.Generator, room: NDArray[np.bool_], gap: float) -> NDArray[np.int64]:
    """Return (N, 2) row, column of places in ``room`` at least ``gap`` px apart.

    Little room is left.
    """
    places = np.flatnonzero(room)
    throws = places[rng.integers(0, max(len(places), 1), int(6 * len(places) / gap**2))]
    taken = np.zeros(room.shape, np.bool_)
    reach = int(gap)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = y * y + x * x < gap * gap
    kept = []
    for row, column in zip(*np.divmod(throws, room.shape[1]), strict=True):
        if not taken[row, column]:
            kept.append((row, column))
            _mark(taken, disc, row, column)
    return np.array(kept, np.int64).reshape(-1, 2)


def _mark(taken: NDArray[np.bool_], disc: NDArray[np.bool_], row: int, column: int) -> None:
    canvas, patch = _overlap(taken.shape[0], disc.shape[0], row, column)
    taken[canvas] |= disc[patch]


def _press(stamp: Field, canvas: Field, mask: NDArray[np.bool_], row: int, column: int) -> int:
    """Lay a stamp on the canvas, the darker of both where nuclei overlap; return its area in px."""
    place, patch = _overlap(canvas.shape[0], stamp.shape[0], row, column)
    piece = stamp[patch]
    canvas[place] = np.maximum(canvas[place], piece)
    mask[place] |= piece > EDGE
    return int(np.count_nonzero(piece > EDGE))


EDGE = 0.25
"""A pixel belongs to a nucleus where its haematoxylin exceeds this."""


def _overlap(
    canvas: int, patch: int, row: int, column: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a square patch centred on (row, column) falls on the canvas, and which part."""
    on_canvas, on_patch = [], []
    for centre in (row, column):
        start = centre - patch // 2
        low, high = max(start, 0), min(start + patch, canvas)
        on_canvas.append(slice(low, high))
        on_patch.append(slice(low - start, high - start))
    return (on_canvas[0], on_canvas[1]), (on_patch[0], on_patch[1])


def _stamps(rng: np.random.Generator, kind: Kind) -> Field:
    """Return (DIRECTIONS, VARIANTS, edge, edge) nuclei of one kind, turned to their directions."""
    count = DIRECTIONS * VARIANTS
    reach = int(kind.length[1] * 1.25) + 3
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1][:, None].astype(np.float64)
    turn = (np.repeat(np.arange(DIRECTIONS), VARIANTS) * np.pi / DIRECTIONS)[:, None, None]
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    half = rng.uniform(*kind.length, (count, 1, 1))
    thin = half * rng.uniform(*kind.roundness, (count, 1, 1))
    bend = rng.normal(0, 0.5, (count, 1, 1)) * (1 - thin / half)
    across = across + bend * ((along / half) ** 2 - 0.5) * thin
    along, across = along / half, across / thin
    radius = np.hypot(along, across) / _outline(rng, np.arctan2(across, along), kind)
    inside = np.clip((1 - radius) * thin / 1.3 + 0.5, 0, 1)
    density = inside * (_inside(rng, kind, radius) + _nucleoli(rng, kind, along, across))
    stamps: Field = density.astype(np.float32).reshape(DIRECTIONS, VARIANTS, *density.shape[1:])
    return stamps


def _outline(
    rng: np.random.Generator, bearing: NDArray[np.float64], kind: Kind
) -> NDArray[np.float64]:
    """Return the outline's radius at each bearing, 1 on average.

    Low waves of random height and phase.
    """
    outline = np.ones_like(bearing)
    for waves in (2, 3, 4):
        height = rng.normal(0, kind.wobble * 2 / waves**1.5, (len(bearing), 1, 1))
        outline += height * np.cos(
            waves * bearing + rng.uniform(0, 2 * np.pi, (len(bearing), 1, 1))
        )
    return np.clip(outline, 0.7, 1.25)


def _inside(
    rng: np.random.Generator, kind: Kind, radius: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return chromatin: an even density, clumps, and a darker membrane."""
    even = rng.uniform(*kind.density, (len(radius), 1, 1))
    clumps = ndimage.gaussian_filter(rng.standard_normal(radius.shape), (0, 1.1, 1.1)) * 3.6
    membrane = np.exp(-(((radius - 0.92) / 0.13) ** 2))
    chromatin: NDArray[np.float64] = np.clip(
        even + kind.chromatin * clumps + kind.rim * membrane, 0.3, None
    )
    return chromatin


def _nucleoli(
    rng: np.random.Generator, kind: Kind, along: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the extra density of the nucleoli.

    The first is always there, the others in some nuclei.
    """
    extra = np.zeros_like(along)
    for index in range(kind.nucleoli):
        centre = rng.uniform(-0.45, 0.45, (2, len(along), 1, 1))
        there = (rng.random((len(along), 1, 1)) < 1 / (1 + index)) * rng.uniform(0.6, 1.1)
        spread = rng.uniform(0.11, 0.17, (len(along), 1, 1))
        extra += there * np.exp(
            -((along - centre[0]) ** 2 + (across - centre[1]) ** 2) / (2 * spread**2)
        )
    return extra
