"""Make a synthetic head in which a lesion is planted, and the lesion's mask.

Run from anywhere::

    python sample_data/make_phantom.py --seed 7 --out sample_data/brain.nii.gz --mask
    sample_data/brain_lesion.nii.gz

No patient stands behind any voxel: everything is drawn from a seeded random generator. The head has
scalp, skull, fluid, folded grey matter, white matter, ventricles and bright vessels, under a coil's
uneven light and with noise.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (72, 88, 52)
"""Voxels to the right, forwards and upwards."""

VOXEL = (2.5, 2.5, 3.0)
"""Their size in mm: slices are thicker than their pixels, as they are in clinics."""

RADII = (74.0, 92.0, 68.0)
"""Of the head in mm."""

SCALP, SKULL, FLUID = 1.0, 0.93, 0.86
"""Where each begins, as a share of the head's radius.

The brain begins where the fluid ends, at about 0.82.
"""


@dataclass(frozen=True)
class Phantom:
    """A head and the truth about it.

    Attributes
    ----------
    voxels
        int16, `SHAPE`.
    lesion
        bool, `SHAPE`; nothing in a healthy head.
    affine
        float64, (4, 4): to RAS+ mm.
    """

    voxels: NDArray[np.int16]
    lesion: NDArray[np.bool_]
    affine: NDArray[np.float64]


def synthesise(seed: int, *, lesion: bool = True) -> Phantom:
    """Return the head of a seed, with or without its lesion; all else is the same in both."""
    rng = np.random.default_rng(seed)
    places = _places()
    stretch = np.array(RADII) * rng.uniform(0.92, 1.05, 3)
    shift = rng.uniform(-5, 5, 3)
    bumps = _field(rng, 6.0)
    radius = np.sqrt((((places - shift) / stretch) ** 2).sum(axis=3)) + 0.012 * bumps
    tissue = _tissue(rng, radius, places, shift)
    spot = _lesion(rng, radius, places)
    strength = float(rng.uniform(0.35, 0.6))
    if lesion:
        core = gaussian_filter(spot.astype(np.float32), 0.7)
        tissue = tissue + core * strength
    light = 1 + 0.12 * _field(rng, 18.0)
    noisy = _rician(rng, tissue * light, 0.022)
    scale = float(rng.uniform(90, 200))
    voxels = np.rint(noisy * scale).astype(np.int16)
    return Phantom(voxels, spot if lesion else np.zeros(SHAPE, np.bool_), _affine())


def _places() -> NDArray[np.float64]:
    """Return each voxel's place in mm from the middle, (*SHAPE, 3)."""
    axes = [
        (np.arange(length) - (length - 1) / 2) * step
        for length, step in zip(SHAPE, VOXEL, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=3)


def _affine() -> NDArray[np.float64]:
    affine = np.diag([*VOXEL, 1.0])
    affine[:3, 3] = [-(length - 1) / 2 * step for length, step in zip(SHAPE, VOXEL, strict=True)]
    return affine


def _field(rng: np.random.Generator, width_mm: float) -> NDArray[np.float64]:
    """Return smooth noise with a deviation of 1."""
    noise = gaussian_filter(rng.standard_normal(SHAPE), [width_mm / step for step in VOXEL])
    return np.asarray(noise / noise.std())


def _tissue(
    rng: np.random.Generator,
    radius: NDArray[np.float64],
    places: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return intensities as T1 shows them.

    Fat bright, bone and fluid dark, white matter lighter than grey.
    """
    folds = 0.05 * _field(rng, 5.0)
    tissue = np.zeros(SHAPE)
    grey, white, fluid = rng.uniform(0.42, 0.5), rng.uniform(0.58, 0.66), rng.uniform(0.14, 0.2)
    tissue[radius < SCALP] = rng.uniform(0.75, 0.95)
    tissue[radius < SKULL] = 0.08
    tissue[radius < FLUID] = fluid
    tissue[radius + np.abs(folds) < FLUID - 0.02] = grey
    tissue[radius + folds < 0.66] = white  # noqa: PLR2004  (of the head's radius)
    for side in (-1, 1):
        centre = shift + np.array([side * 13.0, -4.0, 8.0])
        ventricle = (((places - centre) / np.array([7.0, 26.0, 10.0])) ** 2).sum(
            axis=3
        ) + 0.15 * folds / 0.05
        tissue[(ventricle < 1) & (radius < FLUID)] = fluid
    vessels = _field(rng, 1.5) > 3.4  # noqa: PLR2004  (deviations: few and small)
    tissue[vessels & (radius < FLUID)] = rng.uniform(0.85, 1.0)
    return np.asarray(gaussian_filter(tissue, 0.5))


def _lesion(
    rng: np.random.Generator, radius: NDArray[np.float64], places: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return a lump with an uneven surface somewhere in the brain."""
    inside = np.flatnonzero(radius.ravel() < 0.62)  # noqa: PLR2004  (of the head's radius)
    centre = places.reshape(-1, 3)[rng.choice(inside)]
    size = rng.uniform(9, 16) * rng.uniform(0.8, 1.25, 3)
    lump = np.sqrt((((places - centre) / size) ** 2).sum(axis=3)) + 0.12 * _field(rng, 6.0)
    return np.asarray((lump < 1) & (radius < FLUID))


def _rician(
    rng: np.random.Generator, signal: NDArray[np.float64], deviation: float
) -> NDArray[np.float64]:
    real = signal + deviation * rng.standard_normal(SHAPE)
    return np.asarray(np.hypot(real, deviation * rng.standard_normal(SHAPE)))


def write(path: Path, voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write a NIfTI-1 file in millimetres."""
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def main(arguments: list[str] | None = None) -> None:
    """Write a phantom from the command line."""
    parser = argparse.ArgumentParser(description="Make a synthetic head with a lesion.")
    parser.add_argument("--seed", type=int, default=7, help="which head")
    parser.add_argument("--healthy", action="store_true", help="leave the lesion out")
    parser.add_argument("--out", type=Path, required=True, help="where the head goes (.nii.gz)")
    parser.add_argument("--mask", type=Path, help="where the lesion's mask goes (.nii.gz)")
    options = parser.parse_args(arguments)
    phantom = synthesise(options.seed, lesion=not options.healthy)
    write(options.out, phantom.voxels, phantom.affine)
    if options.mask is not None:
        write(options.mask, phantom.lesion.astype(np.uint8), phantom.affine)


if __name__ == "__main__":
    main()
