"""Stain normalisation: tiles recoloured to a reference before a classifier sees them.

*Reinhard* (Reinhard et al., *Color Transfer between Images*, IEEE CG&A 2001): in the decorrelated
space l alpha beta (eqs 4-6) each axis is moved and scaled to the reference's mean and deviation
(eqs 10-11), and taken back. *Macenko* (Macenko et al., *A method for normalizing histology slides
for quantitative analysis*, ISBI 2009): optical density (eq. 1) is projected on the plane of its two
largest eigenvectors; the directions at robust extremes of the angle there are the stains (section
2.2); their amounts, scaled to the reference's 99th percentile, are shown in the reference's
colours. Density is of natural logarithms with a white of 240, pixels darker than 0.15 in all
channels are stained and the extremes are the 1st and 99th percentile, as in the authors' code.

Every tile is recoloured by its own statistics, wherever it is seen: of a slide's, an explanation of
one tile, a folder of training pictures and the page know nothing, and a tile would have another
colour in each. A tile where nothing can be estimated is left as it is: one that is nearly without
stain, or whose two stains are one. It is the whole of what the network is given and comes after the
resize and before the mean and deviation; in training before augmentation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Gt

from slidecam.models.channels import COLOURS, channel_notes
from slidecam.registry import deferred

if TYPE_CHECKING:
    import torch
    from torch import Tensor

else:
    torch = deferred("torch")

StainMethod = Literal["macenko", "reinhard"]
Three = tuple[float, float, float]
Positive = Annotated[float, Gt(0)]

WHITE = 240.0
"""What transmits all light, of 255."""

BETA, ALPHA, TOP = 0.15, 1.0, 99.0
"""Density above which a pixel is stained, and the percentiles of angles and of amounts."""

LEAST_STAINED = 0.02
"""Share of stained pixels of a tile below which nothing is estimated of it."""

FLAT = 1e-6
"""Deviation below which an axis has one value, but for what is lost in computing it."""

NEAREST = math.radians(2)
"""Angle between two stains below which they are one."""

_LMS = ((0.3811, 0.5783, 0.0402), (0.1967, 0.7244, 0.0782), (0.0241, 0.1288, 0.8444))
"""From red, green, blue to the responses of the cones (Reinhard, eq. 4)."""

_AXES = ((1.0, 1.0, 1.0), (1.0, 1.0, -2.0), (1.0, -1.0, 0.0))
_SCALES = (1 / math.sqrt(3), 1 / math.sqrt(6), 1 / math.sqrt(2))
"""From their logarithms to l, alpha and beta (eq. 6)."""


@dataclass(frozen=True)
class Stain:
    """How a classifier's tiles are recoloured; ``stain`` on a card.

    Attributes
    ----------
    method
        ``macenko`` or ``reinhard``.
    stains
        Of Macenko's reference: optical density of haematoxylin, and of eosin, in red, green, blue.
    maxima
        The 99th percentile of their amounts in it.
    mean, deviation
        Of Reinhard's reference: of l, alpha and beta, of natural logarithms of 0-255.

    Notes
    -----
    Without a reference of one's own Macenko's is that of the authors' code, Reinhard's the tile of
    a breast carcinoma (TCGA-A2-A3XS) in HistomicsTK's documentation.
    """

    method: StainMethod
    stains: tuple[Three, Three] = ((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581))
    maxima: tuple[Positive, Positive] = (1.9705, 1.0308)
    mean: Three = (8.63234435, -0.11501964, 0.03868433)
    deviation: tuple[Positive, Positive, Positive] = (0.57506023, 0.10403329, 0.01364062)

    def to_json(self) -> dict[str, object]:
        """Return it as a card has it, with the numbers of its own method alone."""
        if self.method == "macenko":
            return {
                "method": self.method,
                "stains": list(map(list, self.stains)),
                "maxima": list(self.maxima),
            }
        return {
            "method": self.method,
            "mean": list(self.mean),
            "deviation": list(self.deviation),
        }

    @property
    def words(self) -> str:
        """What is done to tiles, as a sentence."""
        names = {"macenko": "Macenko, 2009", "reinhard": "Reinhard, 2001"}
        return (
            f"Each tile's stains are brought to a reference first ({names[self.method]}); a tile"
            " without enough of them is seen as it is."
        )


def sight_notes(channels: int, stain: Stain | None) -> tuple[str, ...]:
    """Return what is to be said wherever pictures are shown to a classifier that sees them so."""
    if stain is None:
        return channel_notes(channels)
    return (*channel_notes(channels), stain.words)


def restained(pixels: Tensor, stain: Stain | None) -> Tensor:
    """Return tiles as a classifier with that stain sees them, (B, H, W, 3), uint8 as they are.

    Each is computed by itself, in float64: it looks the same in whatever batch it comes.
    """
    if stain is None or not len(pixels):
        return pixels
    recolour = recoloured_macenko
    if stain.method == "reinhard":
        recolour = recoloured_reinhard
    shown = []
    for tile in pixels:
        colours = recolour(tile, stain)
        if colours is None:
            shown.append(tile)
        else:
            shown.append(colours.clamp_(0, 255).round_().to(torch.uint8))
    return torch.stack(shown)


def stain_of(tile: Tensor, method: StainMethod) -> Stain | None:
    """Return a picture (H, W, 3), uint8, as a reference; None where its stains cannot be told."""
    if method == "reinhard":
        if not _is_stained(tile):
            return None
        deviation, mean = torch.std_mean(_lab(tile), 0, correction=0)
        if not bool((deviation > FLAT).all()):
            return None
        return Stain(method, mean=_three(mean), deviation=_three(deviation))
    stains = stains_of(tile)
    if stains is None:
        return None
    amounts = _density(tile).view(-1, COLOURS) @ torch.linalg.pinv(stains)
    first, second = percentiles(amounts.T, TOP).tolist()
    if min(first, second) <= 0:
        return None
    return Stain(method, (_three(stains[0]), _three(stains[1])), (first, second))


def _three(values: Tensor) -> Three:
    first, second, third = values.tolist()
    return first, second, third


def recoloured_reinhard(tile: Tensor, stain: Stain) -> Tensor | None:
    """Return one tile (H, W, 3) in the reference's mean and deviation, float64 from 0 to 255.

    None where nothing can be estimated. Values beyond the range are as they come.
    """
    if not _is_stained(tile):
        return None
    axes = _lab(tile)
    deviation, mean = torch.std_mean(axes, 0, correction=0)
    if not bool((deviation > FLAT).all()):
        return None
    wide = axes.new_tensor(stain.deviation) / deviation
    moved = axes.sub_(mean).mul_(wide).add_(axes.new_tensor(stain.mean))
    # The inverse of eqs 4 and 6: the axes are orthogonal, and their scales make them of length 1.
    logarithms = moved.mul_(axes.new_tensor(_SCALES)) @ axes.new_tensor(_AXES)
    back = torch.linalg.inv(axes.new_tensor(_LMS))
    shown: Tensor = logarithms.exp_() @ back.T
    return shown.view(tile.shape)


def recoloured_macenko(tile: Tensor, stain: Stain) -> Tensor | None:
    """Return one tile (H, W, 3) in the reference's stains, float64 from 0 to 255.

    None where nothing can be estimated. Values above the range are as they come.
    """
    stains = stains_of(tile)
    if stains is None:
        return None
    density = _density(tile).view(-1, COLOURS)
    amounts = density @ torch.linalg.pinv(stains)
    most = percentiles(amounts.T, TOP)
    if not bool((most > 0).all()):
        return None
    amounts *= density.new_tensor(stain.maxima) / most
    shown: Tensor = amounts @ density.new_tensor(stain.stains)
    return shown.neg_().exp_().mul_(WHITE).view(tile.shape)


def stains_of(tile: Tensor) -> Tensor | None:
    """Return the density of haematoxylin and of eosin in a tile (H, W, 3), (2, 3) of length 1.

    None where they cannot be told.
    """
    density = _density(tile).view(-1, COLOURS)
    stained = density[(density >= BETA).all(1)]
    if len(stained) < max(COLOURS, LEAST_STAINED * len(density)):
        return None
    _values, vectors = torch.linalg.eigh(torch.cov(stained.T).cpu())
    plane = vectors[:, [2, 1]]
    # An eigenvector has no sign: the first points to more of everything, so that no angle is cut.
    signs = torch.where(plane.sum(0) < 0, -1.0, 1.0)
    plane = (plane * signs.to(plane.dtype)).to(density)
    along, across = (stained @ plane).unbind(1)
    angles = percentiles(torch.atan2(across, along)[None], ALPHA, 100 - ALPHA)[:, 0]
    if float(angles[1] - angles[0]) < NEAREST:
        return None
    found: Tensor = torch.stack([angles.cos(), angles.sin()], 1) @ plane.T
    if float(found[0, 0]) < float(found[1, 0]):
        found = found.flip(0)
    return found


def percentiles(values: Tensor, *shares: float) -> Tensor:
    """Return percentiles of each row of values (R, N), (shares, R), linear between neighbours.

    One share gives (R,). As NumPy has them; of any number of values.
    """
    last = values.shape[1] - 1
    found = []
    for share in shares:
        place = share / 100 * last
        low = math.floor(place)
        high = min(low + 1, last)
        # The few beyond it, which is quicker than to sort them all.
        if 2 * low > last:
            most = values.topk(last - low + 1, 1).values
            below, above = most[:, last - low], most[:, last - high]
        else:
            least = values.topk(high + 1, 1, largest=False).values
            below, above = least[:, low], least[:, high]
        found.append(below + (above - below) * (place - low))
    if len(found) == 1:
        return found[0]
    return torch.stack(found)


def _density(tile: Tensor) -> Tensor:
    """Return the optical density of pixels, float64: ``-ln((pixel + 1) / 240)``."""
    levels = torch.arange(256, dtype=torch.float64, device=tile.device)
    table = -torch.log((levels + 1) / WHITE)
    return table[tile.int()]


def _is_stained(tile: Tensor) -> bool:
    dark = (_density(tile) >= BETA).any(2)
    return float(dark.double().mean()) >= LEAST_STAINED


def _lab(tile: Tensor) -> Tensor:
    """Return l, alpha and beta of pixels (N, 3), float64; black counts as 1 of 255."""
    light = tile.view(-1, COLOURS).double().clamp_(min=1)
    cones = light @ light.new_tensor(_LMS).T
    return (cones.log_() @ light.new_tensor(_AXES).T).mul_(light.new_tensor(_SCALES))
