"""Uncertainty by its definition, tile by tile; the order in which suspicious tiles come."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.errors import UsageError
from slidecam.geometry import Size
from slidecam.runs import most_suspicious, neighbour_in, uncertainty

if TYPE_CHECKING:
    from conftest import MakeRun


def test_entropy_and_margin_are_those_of_their_definitions() -> None:
    for row in np.random.default_rng(0).dirichlet((0.5,) * 4, 20).tolist():
        entropy = -sum(p * math.log(p) for p in row if p > 0) / math.log(4)
        first, second = sorted(row, reverse=True)[:2]
        assert uncertainty(np.array([row]), "softmax")[0] == pytest.approx(entropy)
        assert uncertainty(np.array([row]), "softmax", "margin")[0] == pytest.approx(
            1 - first + second
        )


@pytest.mark.parametrize("kind", ["entropy", "margin"])
def test_uncertainty_runs_from_sure_to_even(kind: str) -> None:
    values = uncertainty(np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]), "softmax", kind)  # type: ignore[arg-type]
    np.testing.assert_allclose(values, [0, 1], atol=1e-12)
    single = uncertainty(np.array([[1.0], [0.5], [0.0], [0.3]]), "sigmoid", kind)  # type: ignore[arg-type]
    np.testing.assert_allclose(single[:3], [0, 1, 0], atol=1e-12)
    assert 0 < single[3] < 1


def test_of_several_sigmoids_the_least_sure_counts() -> None:
    both = uncertainty(np.array([[0.99, 0.4]]), "sigmoid")
    assert both == uncertainty(np.array([[0.4]]), "sigmoid")


def test_a_tile_without_a_result_has_no_uncertainty() -> None:
    assert np.isnan(uncertainty(np.array([[np.nan, np.nan]]), "softmax")).all()


def test_scores_have_none() -> None:
    with pytest.raises(UsageError, match="no probabilities"):
        uncertainty(np.zeros((1, 2)), "none")


def test_suspicious_tiles_come_in_descending_probability(made_run: MakeRun) -> None:
    boxes = np.array([[x, 0, 8, 8] for x in range(0, 48, 8)], np.int64)
    p = np.array([0.2, 0.9, 0.5, 0.9, 0.1, 0.7], np.float32)
    run = made_run(
        boxes, np.stack([p, 1 - p, 0 * p], axis=1), size=Size(48, 8), step=8, failed=(5,)
    )
    assert most_suspicious(run, "A").tolist() == [1, 3, 2, 0, 4]
    assert most_suspicious(run, "A", 0.5).tolist() == [1, 3, 2]
    with pytest.raises(UsageError, match="no class 'Z'"):
        most_suspicious(run, "Z")


def test_next_and_previous_stop_at_the_ends() -> None:
    order = np.array([4, 2, 9])
    assert neighbour_in(order, None) == 4
    assert neighbour_in(order, 7) == 4
    assert neighbour_in(order, 4) == 2
    assert neighbour_in(order, 9) == 9
    assert neighbour_in(order, 4, -1) == 4
    assert neighbour_in(np.zeros(0, np.int64), 3) is None
