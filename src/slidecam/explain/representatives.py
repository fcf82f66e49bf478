"""A few points that stand for many, and what is known of the few, told of the many."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-12
"""Keeps the distance of a point to itself from dividing by 0."""


def representatives(points: Tensor, weights: Tensor, count: int) -> Tensor:
    """Return which points stand for all best.

    Clusters' centres that are points themselves (medoids).

    They are chosen one by one, each such that the sum over all points of weight times squared
    distance to the nearest one chosen falls most. Nothing is drawn, so that the same points give
    the same choice.

    Parameters
    ----------
    points
        (N, D), of any floating type, on any device.
    weights
        (N,), at least 0: how much it matters that a point is near its representative.
    count
        How many; all points if there are no more.

    Returns
    -------
    Tensor
        (min(count, N),), int64, on the device of ``points``.
    """
    if len(points) <= count:
        return torch.arange(len(points), device=points.device)
    distances = torch.cdist(points.double().cpu(), points.double().cpu()).square()
    weights = weights.double().cpu()
    nearest = distances.amax(1)
    costs = weights @ distances
    chosen: list[int] = []
    while len(chosen) < count:
        chosen.append(int(costs.argmin()))
        closer = torch.minimum(nearest, distances[:, chosen[-1]])
        some = (closer < nearest).nonzero()[:, 0]  # the others' share of the costs stays as it is
        before = torch.minimum(distances[some], nearest[some, None])
        after = torch.minimum(distances[some], closer[some, None])
        costs += weights[some] @ (after - before)
        nearest = closer
    return torch.tensor(chosen, device=points.device)


def blended(values: Tensor, points: Tensor, chosen: Tensor, neighbours: int = 3) -> Tensor:
    """Return what the representatives' values (K, V) say of all points (N, D): (N, V).

    A point has the mean of its nearest representatives' values, by the inverse squares of their
    distances (Shepard 1968); a representative has its own.
    """
    near = torch.cdist(points.double(), points[chosen].double()).square()
    squares, which = near.topk(min(neighbours, len(chosen)), dim=1, largest=False)
    shares = 1 / (squares + _TINY)
    shares = shares / shares.sum(1, keepdim=True)
    return (values[which] * shares[..., None].to(values.dtype)).sum(1)
