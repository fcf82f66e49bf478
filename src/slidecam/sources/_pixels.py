"""From what files hold (grey, 16 bit, alpha) to the RGB that a source gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.sources.source import RGB

OPAQUE = 255
RED_GREEN_BLUE = (0, 1, 2)


def over_background(pixels: NDArray[np.uint8], background: RGB) -> NDArray[np.uint8]:
    """Lay straight-alpha RGBA pixels (height, width, 4) on a colour; return (height, width, 3)."""
    alpha = pixels[:, :, 3:]
    if (alpha == OPAQUE).all():
        return pick(pixels, RED_GREEN_BLUE)
    share = alpha.astype(np.uint16)
    paper = np.asarray(background, np.uint16)
    mixed = pixels[:, :, :3] * share + paper * (OPAQUE - share)
    return ((mixed + OPAQUE // 2) // OPAQUE).astype(np.uint8)


def to_uint8(samples: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:
    """Scale samples so that 0 stays 0 and the largest value of ``bits`` bits becomes 255.

    The scale depends on the format alone and never on the content, so that a colour is the same in
    every box and in every slide of one scanner. A 12-bit camera that stores 16 bits and does not
    say so comes out dark.
    """
    if samples.dtype == np.uint8 and bits == 8:  # noqa: PLR2004 - the bits of the result
        return samples.view(np.uint8)
    largest = 2**bits - 1
    scaled = samples.astype(np.float32) * (OPAQUE / largest)
    pixels: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, OPAQUE).astype(np.uint8)
    return pixels


def to_rgb(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (height, width, 1 or ≥ 3) samples as RGB.

    Grey is repeated, what follows blue is left out.
    """
    if samples.shape[2] == 1:
        return np.repeat(samples, 3, axis=2)
    return samples if samples.shape[2] == len(RED_GREEN_BLUE) else pick(samples, RED_GREEN_BLUE)


def pick(samples: NDArray[np.uint8], bands: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Copy three bands into RGB.

    Band by band NumPy does this ten times faster than as one slice.
    """
    pixels = np.empty((*samples.shape[:2], 3), np.uint8)
    for place, band in enumerate(bands):
        pixels[:, :, place] = samples[:, :, band]
    return pixels


def premultiplied_over(pixels: NDArray[np.uint8], background: RGB) -> NDArray[np.uint8]:
    """Lay RGBA pixels whose colours are already multiplied by alpha over a colour; return RGB."""
    through = OPAQUE - pixels[:, :, 3:].astype(np.uint16)
    paper = (np.asarray(background, np.uint16) * through + OPAQUE // 2) // OPAQUE
    return np.minimum(pixels[:, :, :3] + paper, OPAQUE).astype(np.uint8)
