"""What stands where pixels are taken away.

Each a picture as large as the tile's, in the network's units.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torchvision.transforms.v2.functional import gaussian_blur

from slidecam.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor

BLUR_KERNEL, BLUR_SIGMA = 51, 10.0
"""Pixels at 224 px. Strong enough that a nucleus is gone, which RISE's own (below) only softens."""

RISE_KERNEL, RISE_SIGMA = 11, 5.0
"""As in the code that was published with RISE."""


def zero(picture: Tensor) -> Tensor:
    """Return the mean colour of the training data, which is 0 after normalisation; (3, H, W)."""
    return torch.zeros_like(picture)


def blur(picture: Tensor) -> Tensor:
    """Return the picture (3, H, W) without its detail.

    A Gaussian of sigma 10 px in a window of 51 px.
    """
    return _blurred(picture, BLUR_KERNEL, BLUR_SIGMA)


def rise_blur(picture: Tensor) -> Tensor:
    """Return the picture (3, H, W) under RISE's own blur: sigma 5 px in a window of 11 px."""
    return _blurred(picture, RISE_KERNEL, RISE_SIGMA)


def black(picture: Tensor) -> Tensor:
    """Return the smallest value of this picture everywhere, which is what Quantus calls black.

    (3, H, W).
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
            raise UsageError(
                f"there is no baseline {name!r}.", f"Use one of {', '.join(BASELINES)}."
            )


def _blurred(picture: Tensor, kernel: int, sigma: float) -> Tensor:
    # The border is mirrored, which needs less than the whole picture.
    widest = 2 * min(picture.shape[-2:]) - 1
    blurred: Tensor = gaussian_blur(picture[None], [min(kernel, widest)] * 2, [sigma] * 2)[0]
    return blurred
