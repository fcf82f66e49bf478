"""Max-sensitivity: 0 for a map that never moves, the noise's length for one showing the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max

from slidecam.errors import UsageError
from slidecam.faithfulness.stability import StabilitySpec, disturbed, max_sensitivity
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = StabilitySpec()


def rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng((0, place)) for place in range(count)]


def constant(pixels: torch.Tensor) -> Any:
    return np.ones((len(pixels), 4, 4), np.float32)


def brightness(pixels: torch.Tensor) -> Any:
    """Return a map that is linear in the tile: the sum of its colours."""
    return pixels.float().sum(3).numpy()


def test_a_constant_explanation_never_moves(tiles: Callable[..., torch.Tensor]) -> None:
    np.testing.assert_array_equal(result_of(max_sensitivity(constant, tiles(3), SPEC, rngs(3))), 0)


def test_a_linear_explanation_moves_by_the_length_of_its_noise(
    tiles: Callable[..., torch.Tensor],
) -> None:
    pixels = tiles(2) // 2 + 60  # nothing leaves the scale
    expected = np.zeros(2)
    noise = rngs(2)
    for _ in range(SPEC.repeats):
        for place, rng in enumerate(noise):
            change = rng.integers(-5, 5, (28, 28, 3), np.int16, endpoint=True).sum(2)
            length = np.linalg.norm(change) / np.linalg.norm(brightness(pixels)[place])
            expected[place] = max(expected[place], length)
    found = result_of(max_sensitivity(brightness, pixels, SPEC, rngs(2)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_it_equals_captums_on_the_same_changes(tiles: Callable[..., torch.Tensor]) -> None:
    pixels, noise = tiles(1), rngs(1)

    def explain(values: torch.Tensor) -> torch.Tensor:
        return values.float().square().sum(3) + 1

    theirs = sensitivity_max(
        lambda values: (explain(values[0] if isinstance(values, tuple) else values),),
        pixels,
        perturb_func=lambda values: torch.cat(
            [disturbed(one[None], SPEC.levels, noise) for one in values]
        ),
        n_perturb_samples=SPEC.repeats,
    )
    ours = result_of(max_sensitivity(lambda some: explain(some).numpy(), pixels, SPEC, rngs(1)))
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


def test_a_tiles_figure_does_not_hang_on_its_neighbours(tiles: Callable[..., torch.Tensor]) -> None:
    pixels = tiles(3)
    together = result_of(max_sensitivity(brightness, pixels, SPEC, rngs(3)))
    alone = result_of(max_sensitivity(brightness, pixels[2:], SPEC, rngs(3)[2:]))
    assert alone[0] == together[2]


def test_changes_stay_within_the_radius_and_the_scale() -> None:
    pixels = (
        torch.tensor([0, 3, 128, 255], dtype=torch.uint8)
        .view(1, 2, 2, 1)
        .expand(1, 2, 2, 3)
        .contiguous()
    )
    seen = torch.stack([disturbed(pixels, 5, [np.random.default_rng(seed)]) for seed in range(300)])
    apart = seen.int() - pixels.int()
    assert int(apart.min()) == -5
    assert int(apart.max()) == 5
    assert int(seen[:, 0, 0, 0].max()) == 5  # from 0 only upwards
    assert int(seen[:, 0, 1, 1].min()) == 250


def test_a_map_of_zeros_has_no_length_to_move_by(tiles: Callable[..., torch.Tensor]) -> None:
    found = result_of(
        max_sensitivity(lambda pixels: 0 * brightness(pixels), tiles(1), SPEC, rngs(1))
    )
    assert np.isnan(found).all()


def test_original_maps_are_not_made_twice(tiles: Callable[..., torch.Tensor]) -> None:
    calls: list[int] = []

    def explain(pixels: torch.Tensor) -> Any:
        calls.append(len(pixels))
        return brightness(pixels)

    pixels = tiles(2)
    steps = list(max_sensitivity(explain, pixels, SPEC, rngs(2), brightness(pixels)))
    assert calls == [2] * 10
    assert [step.done for step in steps] == list(range(1, 11))


def test_a_radius_below_a_grey_level_is_refused() -> None:
    with pytest.raises(UsageError, match="0 grey levels"):
        StabilitySpec(radius=0.001)
