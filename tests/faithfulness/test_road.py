"""ROAD: imputation as pytorch-grad-cam solves it, and scores that are known beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer, neighbors_weights
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import spsolve

from slidecam.errors import UsageError
from slidecam.faithfulness.perturbation import ClassScorer, run_all
from slidecam.faithfulness.road import RoadSpec, imputed, road

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from slidecam.models import Classifier

SILENT = RoadSpec(noise=0.0)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def random_mask(
    shape: tuple[int, int], share: float
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    mask = np.random.default_rng(3).random(shape) < share
    mask[4:9, :7] = True  # a hole at the border, where neighbours are missing
    return mask


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_imputation_equals_pytorch_grad_cams(share: float) -> None:
    picture = torch.randn(3, 20, 26, generator=torch.Generator().manual_seed(0))
    mask = random_mask((20, 26), share)
    # Its system, solved plainly: the class itself hands torch's tensors to NumPy, which no longer
    # bears that.
    system, right = NoisyLinearImputer.setup_sparse_system(
        (~mask).astype(np.float32), picture.numpy(), neighbors_weights
    )
    theirs = spsolve(csc_matrix(system), right)
    np.testing.assert_allclose(
        imputed(picture, mask, 0.0, rng()).numpy()[:, mask], theirs.T, atol=1e-5
    )


def test_what_was_not_removed_stays_and_a_slope_is_continued() -> None:
    slope = torch.arange(24.0).repeat(3, 24, 1)
    mask = np.zeros((24, 24), bool)
    mask[6:15, 5:17] = True
    np.testing.assert_allclose(imputed(slope, mask, 0.0, rng()), slope, atol=1e-4)
    noisy = imputed(slope, mask, 0.1, rng())
    assert torch.equal(noisy[:, torch.from_numpy(~mask)], slope[:, torch.from_numpy(~mask)])
    assert 0.08 < float((noisy - slope)[:, torch.from_numpy(mask)].std()) < 0.12


def test_nothing_removed_is_the_picture_and_all_removed_is_the_mean_colour() -> None:
    picture = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(imputed(picture, np.zeros((5, 5), bool), 0.0, rng()), picture)
    assert torch.equal(imputed(picture, np.ones((5, 5), bool), 0.0, rng()), torch.zeros(3, 5, 5))


def test_a_picture_of_one_colour_has_nothing_to_lose(
    make_classifier: Callable[..., Classifier], linear: Callable[..., nn.Module]
) -> None:
    values = np.random.default_rng(0).random((28, 28), np.float32)
    perturbation = road(torch.full((3, 28, 28), 0.7), values, SILENT, rng())
    (score,) = run_all(ClassScorer(make_classifier(linear()), 0), [perturbation])
    assert score == pytest.approx(0, abs=1e-5)


def test_the_exact_map_scores_high_and_its_contrary_as_low(
    make_classifier: Callable[..., Classifier], weighted: Callable[[torch.Tensor], nn.Module]
) -> None:
    """A bright disc on black is all that the model sees.

    Imputing it from the black round it removes it whole.
    """
    rows, columns = np.mgrid[:28, :28] - 13.5
    disc = (
        torch.from_numpy((rows**2 + columns**2 < 60).astype(np.float32))
        .expand(3, 28, 28)
        .contiguous()
    )
    classifier = make_classifier(weighted(torch.full((1, 3, 28, 28), 1 / float(disc.sum()))))
    knows = (disc[0].numpy() - 1e-4 * (rows**2 + columns**2)).astype(np.float32)
    scorer, spec = ClassScorer(classifier, 0), RoadSpec(shares=(0.3,), noise=0.0)
    (score,) = run_all(scorer, [road(disc, knows, spec, rng())])
    assert score == pytest.approx(
        0.5, abs=1e-3
    )  # the disc goes whole, or stays whole, and a half is taken of 1
    (contrary,) = run_all(scorer, [road(disc, -knows, spec, rng())])
    assert contrary == pytest.approx(-score, abs=1e-3)


def test_as_many_pixels_go_as_were_asked_for_even_among_equals() -> None:
    picture = torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(0))
    flat = np.zeros((20, 20), np.float32)
    flat[2, 2] = 1
    pictures = list(road(picture, flat, RoadSpec(shares=(0.1, 0.4)), rng()).pictures)
    changed = [int((one != picture).any(0).sum()) for one in pictures]
    assert changed == [40, 160, 40, 160]


def test_noise_comes_from_the_given_stream_alone() -> None:
    picture = torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(0))
    values = np.random.default_rng(0).random((20, 20), np.float32)
    before = torch.random.get_rng_state()
    one, same = (
        torch.stack(list(road(picture, values, RoadSpec(), rng()).pictures)) for _ in range(2)
    )
    assert torch.equal(one, same)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("shares", [(), (0.2, 1.0), (-0.1,)])
def test_shares_that_cannot_be_taken_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="cannot be taken away"):
        RoadSpec(shares=shares)
