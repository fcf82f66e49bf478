"""Tiles with parts of them covered, and what a classifier says of those.

The common ground of LIME and SHAP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from slidecam.models import Classifier


@dataclass(frozen=True, eq=False)
class Parts:
    """A tile as parts that can be covered one by one.

    Attributes
    ----------
    picture
        (3, H, W), normalised.
    baseline
        (3, H, W): what shows where a part is covered.
    labels
        int64, (H, W): the part that each pixel belongs to, from 0.
    """

    picture: Tensor
    baseline: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return int(self.labels.max()) + 1

    def shown(self, which: Tensor) -> Tensor:
        """Return (N, 3, H, W): the tile with the parts that ``which`` leaves uncovered.

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
