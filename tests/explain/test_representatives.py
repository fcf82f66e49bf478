"""The slow search chooses the same points, and what they know is passed on to the others."""

from __future__ import annotations

import torch

from slidecam.explain.representatives import blended, representatives


def points(count: int = 40, axes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(count, axes, generator=generator), torch.rand(count, generator=generator)


def cost(among: torch.Tensor, weights: torch.Tensor, chosen: list[int]) -> float:
    return sum(
        float(w) * min(float((p - among[c]).square().sum()) for c in chosen)
        for p, w in zip(among, weights, strict=True)
    )


def test_each_choice_is_the_best_next_one() -> None:
    among, weights = points()
    chosen: list[int] = []
    for _ in range(6):
        chosen.append(
            min(range(len(among)), key=lambda index: cost(among, weights, [*chosen, index]))
        )
    assert representatives(among, weights, 6).tolist() == chosen


def test_groups_apart_have_one_each() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    among = (centres[:, None] + points(15, 2)[0].reshape(3, 5, 2)).flatten(0, 1)
    assert sorted((representatives(among, torch.ones(15), 3) // 5).tolist()) == [0, 1, 2]


def test_all_points_stand_for_themselves_if_there_are_no_more() -> None:
    among, weights = points(4)
    for count in (4, 9):
        assert representatives(among, weights, count).tolist() == [0, 1, 2, 3]


def test_points_that_are_all_the_same_are_no_trouble() -> None:
    among = torch.ones(6, 2)
    chosen = representatives(among, torch.ones(6), 2)
    values = blended(torch.tensor([[1.0], [1.0]]), among, chosen)
    assert torch.allclose(values, torch.ones(6, 1))


def test_representatives_keep_their_values_and_others_lie_between() -> None:
    among, weights = points()
    chosen = representatives(among, weights, 5)
    values = torch.arange(5.0)[:, None]
    told = blended(values, among, chosen)
    torch.testing.assert_close(told[chosen], values, rtol=0, atol=1e-4)
    assert float(told.min()) >= 0
    assert float(told.max()) <= 4
    other = next(index for index in range(40) if index not in chosen)
    squares, order = (among[chosen] - among[other]).square().sum(1).sort()
    shares = (1 / squares[:3]) / (1 / squares[:3]).sum()
    torch.testing.assert_close(told[other], (shares * order[:3]).sum()[None], rtol=1e-5, atol=1e-5)
