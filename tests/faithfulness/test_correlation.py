"""Faithfulness correlation.

1.000 for a linear model's exact attribution, about 0 for a map that knows nothing.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from slidecam.errors import UsageError
from slidecam.explain.baselines import BASELINES
from slidecam.faithfulness.correlation import (
    CorrelationSpec,
    Drops,
    cell_drops,
    cell_numbers,
    cell_sums,
    mean_of_known,
    pearson,
    value_drops,
    value_parts,
)
from slidecam.faithfulness.removal import ClassScorer, run_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from slidecam.models import Classifier


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("edge", [28, 33])
@pytest.mark.parametrize("baseline", ["zero", "blur", "rise-blur", "black"])
@pytest.mark.parametrize("size", [1, 20, 157])
def test_a_linear_models_exact_attribution_scores_one(
    make_classifier: Callable[..., Classifier], linear: Callable[..., nn.Module],
    tiles: Callable[..., torch.Tensor],
    picture_of: Callable[..., torch.Tensor], edge: int, baseline: str, size: int,
) -> None:  # fmt: skip
    classifier = make_classifier(linear(edge), edge=edge)
    picture = picture_of(classifier, tiles(1, edge))
    other = BASELINES[baseline](picture)
    exact = ((picture - other) * next(classifier.network.parameters())[0]).sum(0).detach().numpy()
    (drops,) = run_all(
        ClassScorer(classifier, 0), [cell_drops(picture, CorrelationSpec(), other, size, 60, rng())]
    )
    assert drops.correlation(cell_sums(exact, 14)) == pytest.approx(1, abs=1e-4)
    assert drops.correlation(cell_sums(-3 * exact, 14)) == pytest.approx(-1, abs=1e-4)
    chance = np.random.default_rng(1).permutation(exact.ravel()).reshape(exact.shape)
    assert abs(drops.correlation(cell_sums(chance, 14))) < 0.45


def test_quantus_pixels_score_one_where_colours_share_alike(
    make_classifier: Callable[..., Classifier], weighted: Callable[[torch.Tensor], nn.Module]
) -> None:
    weight = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)).expand(
        1, 3, 28, 28
    )
    picture = (
        torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(1))
        .expand(3, 28, 28)
        .contiguous()
    )
    classifier = make_classifier(weighted(weight.clone()))
    exact = ((picture - picture.min()) * weight[0])[0].numpy()
    (drops,) = run_all(ClassScorer(classifier, 0), [value_drops(picture, 50, rng())])
    assert drops.subsets.shape == (50, 224)
    assert drops.correlation(value_parts(exact, 3)) == pytest.approx(1, abs=1e-4)


def test_single_values_are_set_to_the_pictures_smallest() -> None:
    picture = torch.randn(3, 28, 28, generator=torch.Generator().manual_seed(2))
    perturbation = value_drops(picture, 3, rng(), size=10)
    original, *changed = list(perturbation.pictures)
    assert torch.equal(original, picture)
    for one in changed:
        moved = one != picture
        assert 9 <= int(moved.sum()) <= 10  # the smallest itself may be drawn
        assert torch.equal(one[moved], picture.min().expand(int(moved.sum())))


def test_whole_cells_go_and_the_border_stays() -> None:
    picture = torch.rand(3, 31, 31, generator=torch.Generator().manual_seed(2)) + 1
    perturbation = cell_drops(picture, CorrelationSpec(), torch.zeros_like(picture), 20, 2, rng())
    assert perturbation.count == 3
    for one in list(perturbation.pictures)[1:]:
        gone = (one == 0).all(0)
        assert int(gone.sum()) == 20 * 4
        assert not gone[0].any()
        assert not gone[-2:].any()
        assert torch.equal(one[:, ~gone], picture[:, ~gone])


def test_no_cell_matters_more_for_being_larger(
    make_classifier: Callable[..., Classifier], weighted: Callable[[torch.Tensor], nn.Module]
) -> None:
    classifier = make_classifier(weighted(torch.ones(1, 3, 33, 33)), edge=33)
    picture = torch.full((3, 33, 33), 0.5)
    perturbation = cell_drops(picture, CorrelationSpec(), torch.zeros_like(picture), 20, 30, rng())
    (drops,) = run_all(ClassScorer(classifier, 0), [perturbation])
    np.testing.assert_allclose(drops.drops, 20 * 4 * 3 * 0.5, rtol=1e-4)


def test_subsets_hold_no_part_twice_and_hang_on_the_seed() -> None:
    picture = torch.zeros(3, 28, 28)
    one, same, other = (
        run_all(
            silent,
            [cell_drops(picture, CorrelationSpec(), picture, 20, 5, np.random.default_rng(seed))],
        )[0]
        for seed in (1, 1, 2)
    )
    assert all(len(set(subset)) == 20 for subset in one.subsets.tolist())
    np.testing.assert_array_equal(one.subsets, same.subsets)
    assert (one.subsets != other.subsets).any()


def silent(pictures: Any) -> Any:
    from slidecam.faithfulness.removal import ClassScores  # noqa: PLC0415  (only here)

    count = len(list(pictures))
    return ClassScores(np.zeros(count), np.zeros(count))


def test_a_classifier_that_never_moves_gives_no_correlation() -> None:
    picture = torch.zeros(3, 28, 28)
    (drops,) = run_all(silent, [cell_drops(picture, CorrelationSpec(), picture, 20, 5, rng())])
    assert np.isnan(drops.correlation(np.arange(196.0)))
    assert np.isnan(Drops(drops.subsets, np.arange(5.0)).correlation(np.full(196, 0.1)))


def test_probabilities_can_be_what_falls(
    make_classifier: Callable[..., Classifier], linear: Callable[..., nn.Module],
    tiles: Callable[..., torch.Tensor],
    picture_of: Callable[..., torch.Tensor],
) -> None:  # fmt: skip
    classifier = make_classifier(linear(), "sigmoid")
    picture = picture_of(classifier, tiles(1))
    spec = CorrelationSpec(output="probability")
    (drops,) = run_all(
        ClassScorer(classifier, 0),
        [cell_drops(picture, spec, torch.zeros_like(picture), 20, 9, rng())],
    )
    (logits,) = run_all(
        ClassScorer(classifier, 0),
        [cell_drops(picture, CorrelationSpec(), torch.zeros_like(picture), 20, 9, rng())],
    )
    assert np.abs(drops.drops).max() <= 1
    assert (drops.drops != logits.drops).all()


def test_pearson_equals_numpys() -> None:
    one, other = rng().random((2, 50))
    assert pearson(one, other) == pytest.approx(np.corrcoef(one, other)[0, 1])


def test_subsets_as_large_as_the_tile_are_refused() -> None:
    with pytest.raises(UsageError, match="196 cells"):
        CorrelationSpec(sizes=(5, 196))


def test_tiles_smaller_than_the_cells_are_refused() -> None:
    with pytest.raises(UsageError, match="12 x 40 px"):
        cell_drops(torch.zeros(3, 40, 12), CorrelationSpec(), torch.zeros(3, 40, 12), 20, 5, rng())


@pytest.mark.parametrize(("size", "pixels"), [((28, 28), 4), ((64, 96), 24), ((17, 31), 2)])
def test_cells_are_equally_large_whatever_the_tile(size: tuple[int, int], pixels: int) -> None:
    counts = np.bincount(cell_numbers(size, 14).ravel(), minlength=197)
    assert set(counts[:196]) == {pixels}
    assert counts[196] == size[0] * size[1] - 196 * pixels


def test_the_border_that_is_left_lies_on_both_sides() -> None:
    along = cell_numbers((7, 7), 3)[3]
    np.testing.assert_array_equal(along, [3, 3, 4, 4, 5, 5, 9])


def test_sums_are_those_of_the_cells_pixels() -> None:
    values = np.random.default_rng(0).random((10, 13), np.float32)
    sums, numbers = cell_sums(values, 3), cell_numbers((10, 13), 3)
    for cell in range(9):
        assert sums[cell] == pytest.approx(values[numbers == cell].sum())


def test_the_mean_over_seeds_leaves_out_what_is_no_number() -> None:
    table = np.array([[1.0, 3.0], [np.nan, 5.0], [np.nan, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(mean_of_known(table, 1), [2.0, 5.0, np.nan])
