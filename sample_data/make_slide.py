"""Make a synthetic slide that looks like H&E, with its annotations.

Run from anywhere::

    python sample_data/make_slide.py --seed 7 --out slide.tif --annotations annotations.geojson

No patient stands behind any pixel: everything is drawn from a seeded random generator. The slide
has three classes of tissue (lymphoid, stroma, tumour), bare glass, a fold, a pen mark and dust, at
0.5 µm per px.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from annotations import write_annotations
from fields import soften
from nuclei import draw_nuclei
from stain import debris, doubled, fold, pen_mark, photograph, random_stain
from tissue import lay_tissue

if TYPE_CHECKING:
    from fields import Field
    from nuclei import Nuclei
    from numpy.typing import NDArray
    from tissue import Tissue

SPACING = 0.5
"""µm per level-0 px."""

TILE = 256
"""Edge of the TIFF's tiles in px."""

LEVELS = (1, 2, 4, 8, 16)
"""Downsamples of the pyramid."""

QUALITY = 80
"""JPEG quality."""

_CM = 10_000.0
"""µm in a centimetre, TIFF's unit of resolution."""


@dataclass(frozen=True)
class SyntheticSlide:
    """A slide and the truth about it.

    Attributes
    ----------
    pixels
        uint8 (size, size, 3).
    classes
        uint8 (size, size): 0 glass, 1 lymphoid, 2 stroma, 3 tumour.
    nuclei
        bool (size, size): pixels that lie in a nucleus.
    table
        float64 (N, 4): each nucleus' x, y in px, class, area in px.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    nuclei: NDArray[np.bool_]
    table: NDArray[np.float64]


def synthesise(seed: int, size: int, *, nucleated: bool = True) -> SyntheticSlide:
    """Return the slide of a seed; the same seed and size give the same slide, pixel by pixel.

    Parameters
    ----------
    seed
        Seeds the layout, the nuclei, the staining and the artefacts.
    size
        Edge in px, a multiple of 16.
    nucleated
        False leaves the nuclei out and everything else where it is.
    """
    layout, cells, look = (np.random.default_rng([seed, part]) for part in range(3))
    tissue = lay_tissue(layout, size)
    nuclei = draw_nuclei(cells, tissue)
    haematoxylin, eosin = (
        _layers(tissue, nuclei) if nucleated else (tissue.haematoxylin, tissue.eosin)
    )
    band, shift = fold(look, tissue.classes > 0)
    mask = nuclei.mask | ((band > 0) & np.roll(nuclei.mask, shift, axis=(0, 1)))
    ink, dust = pen_mark(look, tissue.classes > 0), debris(look, size)
    optics = 0.6
    layers = (
        soften(doubled(haematoxylin, band, shift), optics),
        soften(doubled(eosin, band, shift), optics),
    )
    pixels = photograph(look, random_stain(look), layers, ink, dust)
    return SyntheticSlide(
        pixels, tissue.classes, mask if nucleated else np.zeros_like(mask), nuclei.table
    )


def _layers(tissue: Tissue, nuclei: Nuclei) -> tuple[Field, Field]:
    """Return haematoxylin and eosin of matrix and nuclei together.

    A nucleus displaces some of the eosin.
    """
    haematoxylin = np.maximum(tissue.haematoxylin, nuclei.haematoxylin)
    return haematoxylin, tissue.eosin * (1 - np.float32(0.35) * nuclei.mask)


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture at half the size, each pixel the mean of four."""
    quarters = pixels.reshape(pixels.shape[0] // 2, 2, pixels.shape[1] // 2, 2, 3).astype(np.uint16)
    means: NDArray[np.uint16] = (quarters.sum(axis=(1, 3), dtype=np.uint16) + 2) // 4
    return means.astype(np.uint8)


def write_slide(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a tiled JPEG pyramid that OpenSlide, TIFFSlide and tifffile open at 0.5 µm per px."""
    with tifffile.TiffWriter(path) as tiff:
        for downsample in LEVELS:
            if downsample > 1:
                pixels = halved(pixels)
            per_cm = _CM / (SPACING * downsample)
            tiff.write(
                pixels,
                tile=(TILE, TILE),
                photometric="rgb",
                subsampling=(2, 2),
                compression="jpeg",
                compressionargs={"level": QUALITY, "optimize": True},
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(downsample > 1),
                software="slidecam sample_data/make_slide.py",
                metadata=None,
            )


def main(arguments: list[str] | None = None) -> None:
    """Make one slide from the command line."""
    parser = argparse.ArgumentParser(description="Make a synthetic slide that looks like H&E.")
    parser.add_argument("--seed", type=int, default=7, help="what to draw; 7 is the sample slide")
    parser.add_argument("--size", type=int, default=4096, help="edge in px, a multiple of 16")
    parser.add_argument(
        "--out", type=Path, default=Path("slide.tif"), help="pyramidal TIFF to write"
    )
    parser.add_argument("--annotations", type=Path, help="GeoJSON of the class regions to write")
    parser.add_argument("--truth", type=Path, help="NPZ of the class and nucleus masks to write")
    options = parser.parse_args(arguments)
    slide = synthesise(options.seed, options.size)
    for path in (options.out, options.annotations):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    write_slide(options.out, slide.pixels)
    if options.annotations:
        write_annotations(options.annotations, slide.classes)
    if options.truth:
        np.savez_compressed(
            options.truth, classes=slide.classes, nuclei=slide.nuclei, table=slide.table
        )


if __name__ == "__main__":
    main()
