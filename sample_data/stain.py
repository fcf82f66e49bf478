"""From stain on glass to a scanner's picture: colour, fold, pen, debris, light and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from fields import pixel_grid, smooth_noise, soften
from scipy import ndimage

if TYPE_CHECKING:
    from fields import Field
    from numpy.typing import NDArray

HAEMATOXYLIN = (0.563, 0.720, 0.406)
EOSIN = (0.216, 0.801, 0.558)
"""Optical density of red, green and blue per unit of stain, after Macenko et al., ISBI 2009."""

INKS = ((1.9, 1.25, 0.35), (1.7, 0.45, 1.35))
"""Optical density of a blue and of a green pen."""

STRIP = 512
"""Rows that are coloured at a time, to bound memory."""


@dataclass(frozen=True)
class Stain:
    """One slide's staining.

    Attributes
    ----------
    colours
        float32 (2, 3): optical density per unit of haematoxylin and of eosin.
    light
        float32 (3,): what the scanner sees through bare glass, 0 to 255.
    """

    colours: Field
    light: Field


def random_stain(rng: np.random.Generator) -> Stain:
    """Return a staining whose strengths and hues are drawn anew for each slide."""
    colours = np.array([HAEMATOXYLIN, EOSIN]) + rng.normal(0, 0.045, (2, 3))
    strength = rng.uniform((0.75, 0.65), (1.25, 1.25))
    colours = np.clip(colours, 0.05, None) * strength[:, None]
    light = np.array([241.0, 239.0, 242.0]) + rng.normal(0, 2, 3)
    return Stain(colours.astype(np.float32), light.astype(np.float32))


def fold(rng: np.random.Generator, tissue: NDArray[np.bool_]) -> tuple[Field, tuple[int, int]]:
    """Return where the tissue lies doubled (0 to 1, a bent band) and the upper layer's shift."""
    size = tissue.shape[0]
    y, x = pixel_grid(size)
    row, column = _deep_inside(rng, tissue)
    turn = rng.uniform(0, np.pi)
    across = (x - column) * np.float32(np.cos(turn)) + (y - row) * np.float32(np.sin(turn))
    along = (y - row) * np.float32(np.cos(turn)) - (x - column) * np.float32(np.sin(turn))
    across = (
        across + along**2 / np.float32(rng.uniform(1500, 3000)) + 9 * smooth_noise(rng, size, 140)
    )
    width = 26 + 8 * smooth_noise(rng, size, 200)
    length = size * 0.13
    band = np.clip((width - np.abs(across)) / 3, 0, 1) * np.clip(
        (length - np.abs(along)) / 30, 0, 1
    )
    shift = (round(float(55 * np.sin(turn))), round(float(55 * np.cos(turn))))
    return (band * tissue).astype(np.float32), shift


def _deep_inside(rng: np.random.Generator, tissue: NDArray[np.bool_]) -> tuple[int, int]:
    """Return a place that is far from any edge of the tissue."""
    depth = ndimage.distance_transform_edt(np.pad(tissue[::16, ::16], 1))[1:-1, 1:-1]
    row, column = rng.choice(np.argwhere(depth > np.quantile(depth[depth > 0], 0.8)))
    return int(row) * 16, int(column) * 16


def doubled(stain: Field, band: Field, shift: tuple[int, int]) -> Field:
    """Return ``stain`` with a shifted copy of itself laid over the band."""
    upper: Field = np.roll(stain, shift, axis=(0, 1))
    return stain + band * upper


def pen_mark(rng: np.random.Generator, tissue: NDArray[np.bool_]) -> Field:
    """Return the thickness of ink, 0 to about 1.

    One stroke outside the tissue that touches its edge.
    """
    size = tissue.shape[0]
    step = 8
    outside = ndimage.distance_transform_edt(~tissue[::step, ::step]) * step
    y, x = pixel_grid(size // step)
    row, column = rng.choice(np.argwhere((outside > 8) & (outside < 40)))  # noqa: PLR2004 - px beside the tissue
    near = np.hypot(y - row, x - column) * step < size * rng.uniform(0.09, 0.12)
    path = (outside > 0) & (outside < 48) & near  # noqa: PLR2004 - a stroke 48 px wide that touches the edge
    stroke = np.asarray(ndimage.zoom(soften(path, 0.8), step, order=1), np.float32)
    streaks = 0.8 + 0.13 * smooth_noise(rng, size, 40) + 0.07 * smooth_noise(rng, size, 7)
    ink: Field = np.clip((stroke - 0.35) * 4, 0, 1) * np.clip(streaks, 0.3, 1.2)
    return ink


def debris(rng: np.random.Generator, size: int) -> Field:
    """Return the optical density of dust: small dark specks anywhere on the slide."""
    specks = np.zeros((size, size), np.float32)
    for _ in range(max(3, size**2 // 700_000)):
        row, column = rng.integers(16, size - 16, 2)
        radius = rng.uniform(2, 7)
        grown = smooth_noise(rng, 32, 9) * 0.35 + 1
        y, x = np.mgrid[-16:16, -16:16]
        speck = np.clip((radius * grown - np.hypot(y, x * rng.uniform(0.6, 1.4))) / 1.5, 0, 1)
        window = specks[row - 16 : row + 16, column - 16 : column + 16]
        np.maximum(window, speck * rng.uniform(0.6, 1.6), out=window)
    return specks


def photograph(
    rng: np.random.Generator, stain: Stain, layers: tuple[Field, Field], ink: Field, dust: Field
) -> NDArray[np.uint8]:
    """Return scanned (size, size, 3) RGB of haematoxylin and eosin ``layers``, ink and dust."""
    size = ink.shape[0]
    uneven = [1 + np.float32(0.10) * smooth_noise(rng, size, size / 5) for _ in layers]
    shade = 1 + np.float32(0.006) * smooth_noise(rng, size, size / 2)
    pen = np.array(INKS[int(rng.integers(len(INKS)))], np.float32)
    pixels = np.empty((size, size, 3), np.uint8)
    for top in range(0, size, STRIP):
        rows = slice(top, top + STRIP)
        density = sum(
            (layer[rows] * field[rows])[..., None] * colour
            for layer, field, colour in zip(layers, uneven, stain.colours, strict=True)
        )
        density = density + ink[rows, :, None] * pen + dust[rows, :, None]
        seen = stain.light * shade[rows, :, None] * np.exp(-density)
        pixels[rows] = np.clip(seen + rng.normal(0, 0.9, seen.shape), 0, 255).round()
    return pixels
