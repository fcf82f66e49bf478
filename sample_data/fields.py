"""Smooth random fields that make the shapes, textures and stains of the synthetic slides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, size: int, scale: float) -> Field:
    """Return a (size, size) field of about unit variance, hills and valleys ``scale`` px apart."""
    cells = math.ceil(size / scale) + 4
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    window = (1.5, 1.5, 1.5 + size / scale, 1.5 + size / scale)
    picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC, box=window)
    return np.asarray(picture) * np.float32(1.35)


def fractal_noise(rng: np.random.Generator, size: int, scale: float, octaves: int) -> Field:
    """Return a sum of smooth noises, each octave half the scale and height of the one before."""
    field = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        field += smooth_noise(rng, size, scale / 2**octave) * np.float32(0.5**octave)
    return field


def enlarge(field: Field, size: int) -> Field:
    """Return a small square field enlarged smoothly to (size, size)."""
    return np.asarray(Image.fromarray(field).resize((size, size), Image.Resampling.BICUBIC))


def soften(field: NDArray[np.generic], sigma: float) -> Field:
    """Return ``field`` as float32 under a Gaussian blur of ``sigma`` px."""
    blurred: Field = ndimage.gaussian_filter(
        field.astype(np.float32), sigma, mode="nearest", truncate=3
    )
    return blurred


def pixel_grid(size: int) -> tuple[Field, Field]:
    """Return y as a (size, 1) column and x as a (1, size) row, in px."""
    line = np.arange(size, dtype=np.float32)
    return line[:, None], line[None, :]
