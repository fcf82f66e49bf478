"""Pictures turned, moved and recoloured at random while a network learns from them.

All geometry of a picture is one affine map and one sampling of its pixels; sharpness and colours
follow. Every
picture of a batch has parameters of its own, and all of them are drawn from the generator that is
handed in and from nothing else: a training that is continued with the generator's state sees what
it would have seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn import functional

from slidecam.errors import RecipeError
from slidecam.learning.data.appearance import (
    adjust_contrast,
    adjust_gamma,
    adjust_hue,
    adjust_saturation,
    blur,
    coarsen,
    restain,
)

Scale = Annotated[float, Gt(0), Le(10)]
Degrees = Annotated[float, Ge(0), Le(180)]
Chance = Annotated[float, Ge(0), Le(1)]
Factor = Annotated[float, Ge(0), Le(10)]
Factors = tuple[Factor, Factor]

PADDING = {"nearest": "border", "reflect": "reflection", "constant": "zeros"}
"""What each fill is called by ``grid_sample``."""

STEEPEST = 80
"""Degrees of shear from which on a picture is a streak."""

WIDEST = 50
"""Pixels of blur from which on nothing is left to be learnt from."""

Kept = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True)
class AugmentationSpec:
    """What may happen to a picture; without anything said, nothing does.

    Attributes
    ----------
    rotation
        Turned by up to so many degrees, either way.
    shift
        Moved by up to this share of its edge, along both axes.
    shear
        Sheared along x by up to so many degrees, either way.
    scale
        Enlarged by a factor between these two.
    hflip, vflip
        How likely it is mirrored left to right, and top to bottom.
    quarter_turns
        Whether it is turned by 0, 90, 180 or 270 degrees first, as suits tissue, which has no up.
    brightness, contrast, saturation
        Factors to draw between; 1 changes nothing.
    gamma
        Exponents to draw between, for the tone: below 1 what is dark gets lighter.
    hue
        Moved round the circle of hues by up to this share of it, either way.
    stain
        Strength of haematoxylin, eosin and what is left, each scaled by 1 ± this and shifted by ±
        this / 10 of optical density.
    resolution
        Shares of its rows and columns to draw between: the picture is taken down to so many, and up
        again, as though it had been scanned with larger pixels. 1 changes nothing.
    blur
        Blurred with a Gaussian of up to so many of the network's pixels.
    fill
        What comes in from beyond the picture: its ``nearest`` pixel, its reflection, or
        ``fill_value``.
    fill_value
        Grey of a ``constant`` fill, 0 to 255.
    classes
        The classes whose pictures alone are changed; empty for all.
    """

    rotation: Degrees = 0.0
    shift: Chance = 0.0
    shear: Annotated[float, Ge(0), Le(STEEPEST)] = 0.0
    scale: tuple[Scale, Scale] = (1.0, 1.0)
    hflip: Chance = 0.0
    vflip: Chance = 0.0
    quarter_turns: bool = False
    brightness: Factors = (1.0, 1.0)
    contrast: Factors = (1.0, 1.0)
    saturation: Factors = (1.0, 1.0)
    gamma: tuple[Scale, Scale] = (1.0, 1.0)
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0
    stain: Annotated[float, Ge(0), Le(1)] = 0.0
    resolution: tuple[Kept, Kept] = (1.0, 1.0)
    blur: Annotated[float, Ge(0), Le(WIDEST)] = 0.0
    fill: Literal["nearest", "reflect", "constant"] = "nearest"
    fill_value: Annotated[float, Ge(0), Le(255)] = 0.0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("scale", "brightness", "contrast", "saturation", "gamma", "resolution"):
            low, high = getattr(self, name)
            if low > high:
                raise RecipeError(
                    f"augment.{name} is {low:g} to {high:g}.",
                    "Write the smaller factor first.",
                )

    @property
    def is_bent(self) -> bool:
        """Whether pixels come to lie between pixels."""
        return bool(self.rotation or self.shift or self.shear) or self.scale != (1, 1)

    @property
    def is_moved(self) -> bool:
        """Whether pixels move at all."""
        return self.is_bent or bool(self.hflip or self.vflip) or self.quarter_turns

    @property
    def is_softened(self) -> bool:
        """Whether pixels mix with their neighbours."""
        return bool(self.blur) or self.resolution != (1, 1)

    @property
    def is_recolored(self) -> bool:
        """Whether colours change."""
        factors = (self.brightness, self.contrast, self.saturation, self.gamma)
        return any(each != (1, 1) for each in factors) or bool(self.hue or self.stain)


def augment(
    pixels: Tensor,
    spec: AugmentationSpec,
    generator: torch.Generator,
) -> Tensor:
    """Return every picture of a batch changed at random, each in its own way.

    First come quarter turns and flips, then scale, shear, rotation and shift about the centre, then
    resolution and blur, then stain, brightness, contrast, saturation, gamma and hue.

    Parameters
    ----------
    pixels
        uint8, (pictures, height, width, 3); squares if ``spec.quarter_turns``.
    spec
        What may happen.
    generator
        On the CPU, wherever the pixels are. Its state decides everything.

    Returns
    -------
    Tensor
        uint8, of the same shape; the same values where nothing is to happen.
    """
    if not (spec.is_moved or spec.is_softened or spec.is_recolored) or not len(pixels):
        return pixels
    planes = pixels.movedim(-1, 1).float()
    if spec.is_moved:
        planes = _sampled(planes, affine_maps(len(pixels), spec, generator), spec)
    if spec.is_softened:
        planes = _softened(planes, spec, generator)
    if spec.is_recolored:
        planes = _recolored(planes, spec, generator)
    return planes.round_().clamp_(0, 255).byte().movedim(1, -1).contiguous()


def affine_maps(
    count: int,
    spec: AugmentationSpec,
    generator: torch.Generator,
) -> Tensor:
    """Return where each picture's points go, about its centre, x right and y down, in half edges.

    Returns
    -------
    Tensor
        float64, (count, 3, 3): ``shift @ rotation @ shear @ scale @ flips``.
    """
    angle, shear = (
        math.radians(most) * _either_way(count, generator) for most in (spec.rotation, spec.shear)
    )
    scale = _between(spec.scale, count, generator)
    # A half edge is the unit, and a share of the edge two of them.
    across, down = (2 * spec.shift * _either_way(count, generator) for _axis in range(2))
    maps = (
        _turned(angle) @ _sheared(shear) @ _scaled(scale, scale) @ _flipped(count, spec, generator)
    )
    maps[:, 0, 2], maps[:, 1, 2] = across, down
    return maps


def _flipped(
    count: int,
    spec: AugmentationSpec,
    generator: torch.Generator,
) -> Tensor:
    mirrored = [
        1.0 - 2.0 * (_uniform(count, generator) < chance).double()
        for chance in (spec.hflip, spec.vflip)
    ]
    flips = _scaled(*mirrored)
    if not spec.quarter_turns:
        return flips
    quarters = torch.randint(4, (count,), generator=generator).double()
    # Rounded: the cosine of a right angle is 6e-17.
    return flips @ _turned(quarters * math.pi / 2).round()


def _turned(angle: Tensor) -> Tensor:
    maps = _identities(len(angle))
    maps[:, 0, 0] = maps[:, 1, 1] = angle.cos()
    maps[:, 1, 0] = angle.sin()
    maps[:, 0, 1] = -angle.sin()
    return maps


def _sheared(angle: Tensor) -> Tensor:
    maps = _identities(len(angle))
    maps[:, 0, 1] = -angle.tan()
    return maps


def _scaled(across: Tensor, down: Tensor) -> Tensor:
    maps = _identities(len(across))
    maps[:, 0, 0], maps[:, 1, 1] = across, down
    return maps


def _identities(count: int) -> Tensor:
    return torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)


def _sampled(
    planes: Tensor,
    maps: Tensor,
    spec: AugmentationSpec,
) -> Tensor:
    """Return planes, float32 (B, 3, H, W), taken to where ``maps`` takes them."""
    height, width = planes.shape[2:]
    # Half edges of a picture that is no square differ along x and y; a circle is to stay one.
    stretch = torch.diag(torch.tensor([width / height, 1.0, 1.0], dtype=torch.float64))
    forward = stretch.inverse() @ maps @ stretch
    forward[:, :2, 2] = maps[:, :2, 2]
    back = torch.linalg.inv(forward)[:, :2].float().to(planes.device)
    grid = functional.affine_grid(back, list(planes.shape), align_corners=False)
    # Without anything between pixels, nearest gives them back bit by bit.
    mode = "bilinear" if spec.is_bent else "nearest"
    ground = 0.0
    if spec.fill == "constant":
        ground = spec.fill_value
    sampled = functional.grid_sample(
        planes - ground, grid, mode, PADDING[spec.fill], align_corners=False
    )
    return sampled + ground


def _softened(
    planes: Tensor,
    spec: AugmentationSpec,
    generator: torch.Generator,
) -> Tensor:
    """Return float32 (B, 3, H, W) with less detail; chance is drawn for what may happen alone."""
    count, device = len(planes), planes.device
    if spec.resolution != (1, 1):
        planes = coarsen(planes, _between(spec.resolution, count, generator))
    if spec.blur:
        deviations = spec.blur * _uniform(count, generator)
        planes = blur(planes, deviations.float().to(device))
    return planes


def _recolored(
    planes: Tensor,
    spec: AugmentationSpec,
    generator: torch.Generator,
) -> Tensor:
    """Return float32 (B, 3, H, W), 0 to 255, in other colours."""
    count, device = len(planes), planes.device
    if spec.stain:
        scales, shifts = (
            (spec.stain * _either_way(count * 3, generator)).view(count, 3) for _each in range(2)
        )
        planes = restain(planes, (1 + scales).float().to(device), (shifts / 10).float().to(device))
    factors = (
        _between(limits, count, generator).float().to(device).view(-1, 1, 1, 1)
        for limits in (spec.brightness, spec.contrast, spec.saturation)
    )
    brightness, contrast, saturation = factors
    if spec.brightness != (1, 1):
        planes = (planes * brightness).clamp_(0, 255)
    if spec.contrast != (1, 1):
        planes = adjust_contrast(planes, contrast)
    if spec.saturation != (1, 1):
        planes = adjust_saturation(planes, saturation)
    if spec.gamma != (1, 1):
        exponent = _between(spec.gamma, count, generator).float().to(device)
        planes = adjust_gamma(planes, exponent.view(-1, 1, 1, 1))
    if spec.hue:
        shift = (spec.hue * _either_way(count, generator)).float().to(device).view(-1, 1, 1)
        planes = adjust_hue(planes, shift)
    return planes


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64)


def _either_way(count: int, generator: torch.Generator) -> Tensor:
    return 2 * _uniform(count, generator) - 1


def _between(
    limits: tuple[float, float],
    count: int,
    generator: torch.Generator,
) -> Tensor:
    low, high = limits
    return low + (high - low) * _uniform(count, generator)


def generator_of(*numbers: int) -> torch.Generator:
    """Return a generator that depends on these numbers alone: a seed, an epoch, a batch.

    Seeding every epoch anew, instead of carrying a state from one to the next, is what lets a
    training that was killed be resumed exactly.
    """
    state = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))
