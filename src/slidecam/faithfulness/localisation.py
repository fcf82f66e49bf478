"""Whether a map lies where a person drew.

Pointing game, energy inside, overlap of what is above a threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

from slidecam.thresholds import Threshold, threshold_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LocalisationSpec:
    """Settings of the measures that need a mask.

    Attributes
    ----------
    threshold
        Where a map begins to count, for its overlap with the mask.
    tolerance
        Pixels by which the pointing game may miss the mask; Zhang et al. allowed 15.
    """

    threshold: Threshold = field(default_factory=Threshold)
    tolerance: float = 0.0


def pointing(values: NDArray[np.float32], mask: NDArray[np.bool_], tolerance: float = 0.0) -> float:
    """Return 1 if the highest value of a map lies in the mask, else 0; nan if the mask is empty.

    Of several highest pixels, the share that lies inside: a flat map points where it hits by
    chance.

    Parameters
    ----------
    values, mask
        (H, W), on the tile's pixels.
    tolerance
        Pixels by which it may miss.

    Notes
    -----
    Zhang et al., *Top-down Neural Attention by Excitation Backprop*, ECCV 2016 (arXiv:1608.00507),
    section 4.1.
    """
    if not mask.any():
        return float("nan")
    near = mask
    if tolerance:
        near = distance_transform_edt(~mask) <= tolerance
    return float(near[values == values.max()].mean())


def energy(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Return the share of a map's positive values that lies in the mask, 0 to 1.

    To be read beside the mask's share of the tile, which is what a flat map scores. nan if the mask
    is empty or no value is positive.

    Parameters
    ----------
    values, mask
        (H, W), on the tile's pixels.

    Notes
    -----
    Wang et al., *Score-CAM*, CVPR Workshops 2020 (arXiv:1910.01279), section 4.3: the energy-based
    pointing game.
    """
    positive = np.maximum(values, 0).astype(np.float64)
    if not mask.any() or positive.max() <= 0:
        return float("nan")
    return float(positive[mask].sum() / positive.sum())


def dice(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    threshold: Threshold | None = None,
) -> float:
    """Return Dice's ``2 |A ∩ B| / (|A| + |B|)`` of a mask and where a map reaches a threshold.

    Parameters
    ----------
    values, mask
        (H, W), on the tile's pixels.
    threshold
        None for Otsu's. A flat map has no such place, and scores 0.
    """
    if not mask.any():
        return float("nan")
    if values.max() <= values.min():
        return 0.0
    found = values >= threshold_of(values, threshold or Threshold())
    return float(2 * (found & mask).sum() / (found.sum() + mask.sum()))
