"""Pen marks: what absorbs light as no H&E stain does.

Hematoxylin and eosin both absorb green most: on real slides red light is absorbed 0.2-0.95 and blue
light 0.3-0.75 times as strongly as green. Blue and green ink absorb red most; black ink, and
coloured ink on top of tissue, absorb all three alike; red ink lets red through and absorbs green
and blue alike.

Each kind has a strict rule that no tissue meets over a stroke's area, and a loose one. Ink is what
meets the loose rule and is connected to enough of what meets the strict one. All figures are
optical densities (natural logarithm) and ratios of them, read off real slides with ink, and off
strokes multiplied onto slides without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slidecam.pixels import least_of_channels, most_of_channels
from slidecam.registry import deferred

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from skimage import measure, morphology

    from slidecam.geometry import Spacing
else:
    measure = deferred("skimage.measure")
    morphology = deferred("skimage.morphology")

HALO_UM = 8.0
"""How far the soft edge of a stroke reaches beyond what is recognised as ink, µm."""

RED_AREA = 20.0
"""How many times larger than other ink a red piece must be.

Pooled red blood cells have nearly its colour.
"""

STROKE, EDGE = 0.3, 0.1
"""Mean density of blue or green ink, and of its soft edge."""

BLACK_STROKE, GREY_EDGE = 1.2, 0.3
"""Mean density of black ink, and of what is grey beside it: its edge, or coloured ink on tissue."""

OPAQUE, DIM = 1.9, 1.2
"""Density of the clearest channel: at the first nothing shines through, at the second little."""

RED_STROKE, RED_EDGE = 1.0, 0.25
"""Density of red ink in green light, and of its soft edge."""


def find_ink(
    density: NDArray[np.float32],
    pixel: Spacing,
    stained: float,
    least_um2: float,
) -> NDArray[np.bool_]:
    """Return where there is ink.

    A colour that covers more than half of all that is stained is the stain itself and no ink.

    Parameters
    ----------
    density
        (rows, columns, 3) optical density of red, green and blue above that of glass.
    pixel
        µm per pixel of ``density``.
    stained
        Density of the densest channel above which a pixel counts as stained.
    least_um2
        Least area of an ink-coloured piece.

    Returns
    -------
    ndarray
        (rows, columns) bool.
    """
    most = int((most_of_channels(density) > stained).sum()) / 2
    least = least_um2 / (pixel.x * pixel.y)
    pieces = (_pieces(*_cool(density), least), _pieces(*_red(density), least * RED_AREA))
    ink = np.zeros(density.shape[:2], np.bool_)
    for piece in pieces:
        if piece.sum() <= most:
            ink |= piece
    return ink


def with_halo(ink: NDArray[np.bool_], pixel: Spacing) -> NDArray[np.bool_]:
    """Return ``ink`` widened by its soft edge, by one pixel at least."""
    if not ink.any():
        return ink
    grown: NDArray[np.bool_] = morphology.isotropic_dilation(
        ink, max(HALO_UM, pixel.mean), spacing=(pixel.y, pixel.x)
    )
    return grown


def _cool(density: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what may be and what must be blue, green or black ink, alone or on tissue."""
    red, green, blue = np.moveaxis(density, 2, 0)
    depth, least = (red + green + blue) / np.float32(3), least_of_channels(density)
    grey = (red > 0.8 * green) & (blue > 0.75 * green)
    may = ((red > 1.0 * green) & (depth > EDGE)) | (grey & (depth > GREY_EDGE)) | (least > DIM)
    must = (
        ((red > 1.25 * green) & (depth > STROKE))
        | (grey & (depth > BLACK_STROKE))
        | (least > OPAQUE)
    )
    return may, must


def _red(density: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what may be and what must be red ink."""
    red, green, blue = np.moveaxis(density, 2, 0)
    alike = blue < 1.25 * green
    may = alike & (blue > 0.7 * green) & (red < 0.3 * green) & (green > RED_EDGE)
    must = alike & (blue > 0.8 * green) & (red < 0.25 * green) & (green > RED_STROKE)
    return may, must


def _pieces(may: NDArray[np.bool_], must: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """Return the connected pieces of ``may`` of which at least ``least`` pixels are ``must``."""
    labels = measure.label(may, connectivity=2)
    seeds = np.bincount(labels[must & may], minlength=labels.max() + 1)
    chosen = seeds >= max(least, 1.0)
    chosen[0] = False
    pieces: NDArray[np.bool_] = chosen[labels]
    return pieces
