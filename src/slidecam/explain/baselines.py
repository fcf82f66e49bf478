"""What stands where pixels are taken away, and what a classifier says of tiles covered so.

A baseline is a picture as large as the tile's, in the network's units. Covered parts are the common
ground of LIME and SHAP.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torchvision.transforms.v2.functional import gaussian_blur

from slidecam.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor

    from slidecam.models import Classifier


BLUR_KERNEL, BLUR_SIGMA = 51, 10.0
"""Pixels at 224 px. Strong enough that a nucleus is gone, which RISE's own (below) only softens."""

RISE_KERNEL, RISE_SIGMA = 11, 5.0
"""As in the code that was published with RISE."""


def zero(picture: Tensor) -> Tensor:
    """Return the mean colour of the training data, which is 0 after normalisation; (C, H, W)."""
    return torch.zeros_like(picture)


def blur(picture: Tensor) -> Tensor:
    """Return the picture (C, H, W) without its detail.

    A Gaussian of sigma 10 px in a window of 51 px.
    """
    return _blurred(picture, BLUR_KERNEL, BLUR_SIGMA)


def rise_blur(picture: Tensor) -> Tensor:
    """Return the picture (C, H, W) under RISE's own blur: sigma 5 px in a window of 11 px."""
    return _blurred(picture, RISE_KERNEL, RISE_SIGMA)


def black(picture: Tensor) -> Tensor:
    """Return the smallest value of this picture everywhere, which is what Quantus calls black.

    (C, H, W).
    """
    return torch.full_like(picture, float(picture.min()))


BASELINES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"zero": zero, "blur": blur, "rise-blur": rise_blur, "black": black}
)
"""Every baseline by its name in a spec."""


def check_baselines(names: Iterable[str]) -> None:
    """Refuse names that no baseline has; UsageError, listing the names."""
    for name in names:
        if name not in BASELINES:
            remedy = f"Use one of {', '.join(BASELINES)}."
            raise UsageError(f"there is no baseline {name!r}.", remedy)


def _blurred(picture: Tensor, kernel: int, sigma: float) -> Tensor:
    # The border is mirrored, which needs less than the whole picture.
    widest = 2 * min(picture.shape[-2:]) - 1
    blurred: Tensor = gaussian_blur(picture[None], [min(kernel, widest)] * 2, [sigma] * 2)[0]
    return blurred


@dataclass(frozen=True, eq=False)
class Parts:
    """A tile as parts that can be covered one by one.

    Attributes
    ----------
    picture
        (C, H, W), normalised.
    baseline
        (C, H, W): what shows where a part is covered.
    labels
        int64, (H, W): the part that each pixel belongs to, from 0.
    """

    picture: Tensor
    baseline: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return int(self.labels.max()) + 1

    def shown(self, which: Tensor) -> Tensor:
        """Return (N, C, H, W): the tile with the parts that ``which`` leaves uncovered.

        ``which`` is bool (N, parts).
        """
        uncovered = which[:, self.labels][:, None]
        return torch.where(uncovered, self.picture, self.baseline)

    def painted(self, values: Tensor) -> Tensor:
        """Return (..., H, W) of one value for each part (..., parts)."""
        return values[..., self.labels]


def logits_of_parts(classifier: Classifier, parts: Parts, which: Tensor) -> Tensor:
    """Return logits (N, K) of a tile with some parts shown, bool (N, parts), in one pass."""
    return classifier.run_normalised(parts.shown(which), gradients=False).logits
