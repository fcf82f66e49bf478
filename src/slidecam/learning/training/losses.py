"""What a training makes small: its losses, how rare classes count, how pictures are mixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import log_softmax, one_hot

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
    offsets
        What is added to the logits in training alone, (K,), float32, or None.
    """

    gamma: float = 0.0
    smoothing: float = 0.0
    weights: Tensor | None = None
    offsets: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the float32 loss of logits (B, K) and targets (B, K) whose rows sum to 1.

        The loss is a scalar.
        """
        smooth = targets * (1 - self.smoothing) + self.smoothing / targets.shape[1]
        weighted = smooth
        if self.weights is not None:
            weighted = smooth * self.weights.to(logits.device)

        seen = logits.float()
        if self.offsets is not None:
            seen = seen + self.offsets.to(logits.device)
        log_p = log_softmax(seen, dim=1)
        unsure: Tensor | float = 1.0
        if self.gamma:
            unsure = (1 - log_p.exp()).clamp_min(0) ** self.gamma
        return -(weighted * unsure * log_p).sum() / weighted.sum()


def loss_for(
    spec: TrainSpec,
    labels: Tensor,
    classes: int,
) -> Loss:
    """Return the loss of a recipe, with what it says of rare classes in the labels, int64 (N,)."""
    weights = offsets = None
    if spec.balance == "weights":
        weights = class_weights(labels, classes)
    if spec.balance == "prior":
        offsets = spec.balance_strength * log_shares(labels, classes)
    gamma = 0.0
    if spec.loss == "focal":
        gamma = spec.focal_gamma
    return Loss(gamma, spec.label_smoothing, weights, offsets)


def log_shares(labels: Tensor, classes: int) -> Tensor:
    """Return the logarithms of the classes' shares of the labels, float32 (classes,).

    A class without any picture has the share of a single one, so that no logit is infinite.
    """
    counts = torch.bincount(labels, minlength=classes).float()
    return torch.log(counts.clamp(min=1) / len(labels))


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return a weight for each class.

    As scikit-learn's ``balanced``, pictures / (classes * pictures of the class).

    Parameters
    ----------
    labels
        int64, (pictures,).
    classes
        How many classes there are; one without any picture has the weight 0, and is not counted
        among them.

    Returns
    -------
    Tensor
        float32, (classes,). The mean weight of a picture is 1.
    """
    counts = torch.bincount(labels, minlength=classes).float()
    present = (counts > 0).sum()
    return torch.where(counts > 0, len(labels) / (present * counts.clamp(min=1)), 0.0)


def soft_targets(labels: Tensor, classes: int) -> Tensor:
    """Return labels (B,) as rows of ones and noughts, (B, K), float32."""
    return one_hot(labels, classes).float()


def oversampled(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows of one epoch in which every class comes as often as the largest.

    Each picture of a class comes equally often, or once more than another; which of them do, and
    the order, is drawn from ``generator`` alone, so that a training that is continued goes on as it
    would have.

    Parameters
    ----------
    labels
        int64, (pictures,).

    Returns
    -------
    Tensor
        int64, (classes present * pictures of the largest,), shuffled.
    """
    counts = torch.bincount(labels)
    most = int(counts.max())
    parts = []
    for index in counts.nonzero():
        rows_of_class = torch.nonzero(labels == index)[:, 0]
        parts.append(_repeated(rows_of_class, most, generator))
    rows = torch.cat(parts)
    return rows[torch.randperm(len(rows), generator=generator)]


def shuffled(count: int, generator: torch.Generator) -> Tensor:
    """Return the rows of one epoch in which every picture comes once, int64, (count,)."""
    return torch.randperm(count, generator=generator)


def _repeated(
    rows: Tensor,
    most: int,
    generator: torch.Generator,
) -> Tensor:
    whole, rest = divmod(most, len(rows))
    some = rows[torch.randperm(len(rows), generator=generator)[:rest]]
    return torch.cat([rows.repeat(whole), some])


def mix_up(
    pixels: Tensor,
    targets: Tensor,
    alpha: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return pictures and targets mixed in pairs by one share from Beta(alpha, alpha).

    After Zhang et al., ICLR 2018.
    """
    # NumPy draws it: torch's distributions take no generator.
    seed = int(torch.randint(2**62, (), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    partner = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    return pixels.lerp(pixels[partner], 1 - share), targets.lerp(targets[partner], 1 - share)
