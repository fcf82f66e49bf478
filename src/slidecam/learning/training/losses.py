"""What a training makes small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import log_softmax, one_hot

from slidecam.learning.data.balance import class_weights

if TYPE_CHECKING:
    from torch import Tensor

    from slidecam.learning.recipes.tables import TrainSpec


@dataclass(frozen=True)
class Loss:
    """Cross-entropy or focal loss against soft targets.

    With ``p = softmax(logits)`` and targets ``t`` it is ``-sum_k t_k w_k (1 - p_k)^gamma log p_k``,
    over the batch divided by ``sum t_k w_k``. ``gamma = 0`` is cross-entropy; above 0 it is the
    focal loss (Lin et al., ICCV 2017, equation 5 with a softmax). With hard targets and weights
    this is torch's ``cross_entropy`` with ``weight``.

    Attributes
    ----------
    gamma
        How much less a well-classified picture counts.
    smoothing
        Share of a target that is spread over all classes (Szegedy et al., CVPR 2016).
    weights
        One for each class, (K,), float32, or None.
    """

    gamma: float = 0.0
    smoothing: float = 0.0
    weights: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the float32 loss of logits (B, K) and targets (B, K) whose rows sum to 1.

        The loss is a scalar.
        """
        smooth = targets * (1 - self.smoothing) + self.smoothing / targets.shape[1]
        weighted = smooth if self.weights is None else smooth * self.weights.to(logits.device)
        log_p = log_softmax(logits.float(), dim=1)
        unsure = (1 - log_p.exp()).clamp_min(0) ** self.gamma if self.gamma else 1.0
        return -(weighted * unsure * log_p).sum() / weighted.sum()


def loss_for(spec: TrainSpec, labels: Tensor, classes: int) -> Loss:
    """Return the loss of a recipe, with class weights from the training labels, int64 (N,)."""
    weights = class_weights(labels, classes) if spec.balance == "weights" else None
    return Loss(spec.focal_gamma if spec.loss == "focal" else 0.0, spec.label_smoothing, weights)


def soft_targets(labels: Tensor, classes: int) -> Tensor:
    """Return labels (B,) as rows of ones and noughts, (B, K), float32."""
    return one_hot(labels, classes).float()


def mix_up(
    pixels: Tensor, targets: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return pictures and targets mixed in pairs by one share from Beta(alpha, alpha).

    After Zhang et al., ICLR 2018.
    """
    # NumPy draws it: torch's distributions take no generator.
    seed = int(torch.randint(2**62, (), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    partner = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    return pixels.lerp(pixels[partner], 1 - share), targets.lerp(targets[partner], 1 - share)
