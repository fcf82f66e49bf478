"""What changes a picture's look and moves nothing in it: colours, tone, sharpness.

Planes are float32, (pictures, 3, height, width), red, green, blue, 0 to 255, and stay within.
Factors broadcast against them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), with torchvision's digits."""

STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of haematoxylin, eosin and DAB in red, green and blue.

Ruifrok and Johnston, Anal Quant Cytol Histol 2001.
"""

DARKEST = 1.0
"""What counts as the least light: the logarithm of none is infinite."""


def adjust_contrast(planes: Tensor, factor: Tensor) -> Tensor:
    """Move every pixel away from the picture's mean grey (factor above 1) or towards it.

    (pictures, 1, 1, 1).
    """
    mean = grey(planes).mean((2, 3), keepdim=True)
    return (mean + factor * (planes - mean)).clamp_(0, 255)


def adjust_saturation(planes: Tensor, factor: Tensor) -> Tensor:
    """Move every pixel away from its grey (factor above 1) or towards it; (pictures, 1, 1, 1)."""
    pale = grey(planes)
    return (pale + factor * (planes - pale)).clamp_(0, 255)


def grey(planes: Tensor) -> Tensor:
    """Return the grey of each pixel, (pictures, 1, height, width)."""
    weights = torch.tensor(GREY, dtype=planes.dtype, device=planes.device).view(3, 1, 1)
    return (planes * weights).sum(1, keepdim=True)


def adjust_hue(planes: Tensor, shift: Tensor) -> Tensor:
    """Move hues round their circle by a share of it, (pictures, 1, 1).

    Value and saturation in HSV stay.
    """
    value, low = planes.amax(1), planes.amin(1)
    chroma = value - low
    hue = (_sextant(planes, value, chroma) / 6 + shift) % 1.0
    # One formula for all three: how far a band lies below the value, by its distance from the hue
    # on the circle.
    distances = ((hue * 6 + offset) % 6 for offset in (5, 3, 1))
    bands = [value - chroma * torch.minimum(each, 4 - each).clamp(0, 1) for each in distances]
    return torch.stack(bands, 1)


def _sextant(
    planes: Tensor,
    value: Tensor,
    chroma: Tensor,
) -> Tensor:
    """Return the hue of each pixel, -1 to 5, (pictures, height, width); 0 for grey."""
    red, green, blue = planes.unbind(1)
    divisor = torch.where(chroma == 0, 1.0, chroma)
    by_green = torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    return torch.where(value == red, (green - blue) / divisor, by_green)


def restain(
    planes: Tensor,
    scales: Tensor,
    shifts: Tensor,
) -> Tensor:
    """Make stains stronger or weaker, as Tellez et al. (IEEE TMI 2018, eq. 1-2) do.

    A pixel's optical density ``-ln(light)`` is taken apart into haematoxylin, eosin and a rest;
    each is multiplied by its scale, its shift is added, and they are put together again.

    Parameters
    ----------
    planes
        float32, (pictures, 3, height, width).
    scales, shifts
        float32, (pictures, 3).
    """
    stains = torch.tensor(STAINS, dtype=planes.dtype, device=planes.device)
    stains = stains / stains.norm(dim=1, keepdim=True)
    density = -(planes.clamp(min=DARKEST) / 255).log()
    # Apart, scaled and together again is one 3 x 3 matrix for each picture.
    mixing = torch.linalg.inv(stains) @ (scales[:, :, None] * stains)
    changed = torch.einsum("bchw,bcd->bdhw", density, mixing) + (shifts @ stains)[:, :, None, None]
    light: Tensor = (-changed).exp() * 255
    return light.clamp_(0, 255)


def adjust_gamma(planes: Tensor, exponent: Tensor) -> Tensor:
    """Bend the tone: light is raised to an exponent, (pictures, 1, 1, 1); black and white stay."""
    bent: Tensor = (planes / 255) ** exponent * 255
    return bent


REACH = 3.0
"""Standard deviations after which a Gaussian is cut off."""


def blur(planes: Tensor, deviations: Tensor) -> Tensor:
    """Blur each picture with a Gaussian of its own, in pixels, (pictures,); 0 leaves it.

    Beyond the picture its nearest pixel goes on.
    """
    reach = math.ceil(REACH * float(deviations.max()))
    if not reach:
        return planes
    count, channels = planes.shape[:2]
    places = torch.arange(-reach, reach + 1, dtype=planes.dtype, device=planes.device)
    # As narrow as nothing where nothing is to happen: all of its weight lies in the middle.
    widths = deviations.clamp(min=1e-3)[:, None]
    weights = (-((places / widths) ** 2) / 2).exp()
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    padded = functional.pad(planes, (reach,) * 4, mode="replicate")
    rows = padded.reshape(1, count * channels, *padded.shape[2:])
    for kernel in (weights[:, None, None, :], weights[:, None, :, None]):
        rows = functional.conv2d(rows, kernel, groups=count * channels)
    return rows.reshape(planes.shape)


def coarsen(planes: Tensor, shares: Tensor) -> Tensor:
    """Take each picture to a share of its rows and columns, (pictures,), and back again.

    As though it had been scanned with larger pixels: averaged on the way down, interpolated on the
    way up.
    """
    height, width = planes.shape[2:]
    coarse = []
    for picture, share in zip(planes, shares.tolist(), strict=True):
        size = max(1, round(height * share)), max(1, round(width * share))
        small = functional.interpolate(picture[None], size, mode="bilinear", antialias=True)
        coarse.append(functional.interpolate(small, (height, width), mode="bilinear"))
    return torch.cat(coarse)
