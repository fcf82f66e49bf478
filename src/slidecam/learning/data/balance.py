"""Classes of different sizes, evened out: weights for the loss, or a drawing order for an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


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
    rows = torch.cat(
        [
            _repeated(torch.nonzero(labels == index)[:, 0], most, generator)
            for index in counts.nonzero()
        ]
    )
    return rows[torch.randperm(len(rows), generator=generator)]


def shuffled(count: int, generator: torch.Generator) -> Tensor:
    """Return the rows of one epoch in which every picture comes once, int64, (count,)."""
    return torch.randperm(count, generator=generator)


def _repeated(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    whole, rest = divmod(most, len(rows))
    some = rows[torch.randperm(len(rows), generator=generator)[:rest]]
    return torch.cat([rows.repeat(whole), some])
