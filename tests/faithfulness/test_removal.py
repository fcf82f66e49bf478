"""Deletion, insertion and ROAD: areas and scores known beforehand, and others' own loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pytorch_grad_cam.metrics.road import NoisyLinearImputer, neighbors_weights
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import spsolve
from torch import nn

from slidecam.errors import UsageError
from slidecam.faithfulness.removal import (
    ClassScorer,
    Curve,
    CurveSpec,
    RoadSpec,
    curves,
    imputed,
    ranks,
    road,
    run_all,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slidecam.models import Classifier

EDGE = 28
SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


class SwitchedOn(nn.Module):
    """Sure of its class as long as one pixel is bright, sure of the contrary otherwise."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return 100 * torch.sign(pixels[:, :1, 3, 5] - 0.5)


def both(
    classifier: Classifier, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], steps: int
) -> tuple[Curve, Curve]:
    """Return the curves of a bright picture on a dark baseline."""
    picture, baseline = torch.ones(3, EDGE, EDGE), torch.zeros(3, EDGE, EDGE)
    (found,) = run_all(ClassScorer(classifier, 0), [curves(picture, baseline, values, steps)])
    return found


def test_a_step_models_areas_are_known(make_classifier: Callable[..., Classifier]) -> None:
    classifier = make_classifier(SwitchedOn(), "sigmoid")
    knows, contrary = np.zeros((EDGE, EDGE), np.float32), np.zeros((EDGE, EDGE), np.float32)
    knows[3, 5], contrary[3, 5] = 1, -1
    deletion, insertion = both(classifier, knows, 28)
    # Gone, or there, after the first of 28 steps: the trapezoid's half of it is all that is left of
    # the area.
    assert deletion.auc == pytest.approx(0.5 / 28)
    assert insertion.auc == pytest.approx(1 - 0.5 / 28)
    deletion, insertion = both(classifier, contrary, 28)
    assert deletion.auc == pytest.approx(1 - 0.5 / 28)
    assert insertion.auc == pytest.approx(0.5 / 28)


def test_among_equals_pixels_go_row_by_row(make_classifier: Callable[..., Classifier]) -> None:
    deletion, insertion = both(
        make_classifier(SwitchedOn(), "sigmoid"), np.zeros((EDGE, EDGE), np.float32), 28
    )
    # 28 steps of 28 rows: the pixel of row 3 goes in the fourth.
    assert deletion.auc == pytest.approx(3.5 / 28)
    assert insertion.auc == pytest.approx(1 - 3.5 / 28)


def test_a_linear_models_areas_are_those_of_the_sorted_sum(
    make_classifier: Callable[..., Classifier],
    linear: Callable[..., nn.Module],
    tiles: Callable[..., torch.Tensor],
    picture_of: Callable[..., torch.Tensor],
) -> None:
    classifier = make_classifier(linear())
    picture = picture_of(classifier, tiles(1))
    gains = (picture * next(classifier.network.parameters())[0]).sum(0).numpy().astype(np.float64)
    (found,) = run_all(
        ClassScorer(classifier, 0),
        [curves(picture, torch.zeros_like(picture), gains.astype(np.float32), 49)],
    )
    lost = np.concatenate([[0], np.cumsum(np.sort(gains.ravel())[::-1])])[:: EDGE * EDGE // 49]
    np.testing.assert_allclose(found[0].values, gains.sum() - lost, atol=1e-4)
    np.testing.assert_allclose(found[1].values, lost, atol=1e-4)


def test_curves_equal_rises_own_loop(
    make_classifier: Callable[..., Classifier], linear: Callable[..., nn.Module],
    tiles: Callable[..., torch.Tensor],
    picture_of: Callable[..., torch.Tensor],
) -> None:  # fmt: skip
    classifier = make_classifier(linear(classes=3), "softmax", classes=3)
    picture = picture_of(classifier, tiles(1))
    baseline = torch.full_like(picture, 0.3)
    values = np.random.default_rng(0).random((EDGE, EDGE), np.float32)
    (found,) = run_all(ClassScorer(classifier, 1), [curves(picture, baseline, values, "rise")])
    for curve, start, finish in ((found[0], picture, baseline), (found[1], baseline, picture)):
        expected = rise(classifier, start, finish, values)
        np.testing.assert_allclose(curve.values, expected, atol=1e-6)
        # RISE's area: the sum without half of both ends, over the number of steps.
        area = (expected.sum() - expected[0] / 2 - expected[-1] / 2) / (len(expected) - 1)
        assert curve.auc == pytest.approx(area)


def rise(
    classifier: Classifier,
    start: torch.Tensor,
    finish: torch.Tensor,
    values: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Change a row's worth of pixels at a time, each picture made from the one before.

    RISE's code does the same.
    """
    current, said = start.clone(), []
    order = np.argsort(-values.ravel(), kind="stable")
    for step in range(EDGE + 1):
        logits = classifier.run_normalised(current[None], gradients=False).logits
        said.append(float(logits.softmax(1)[0, 1]))
        for place in order[EDGE * step : EDGE * (step + 1)]:
            current[:, place // EDGE, place % EDGE] = finish[:, place // EDGE, place % EDGE]
    return np.asarray(said)


def test_more_steps_than_pixels_are_as_many_as_pixels() -> None:
    picture = torch.zeros(3, 2, 2)
    perturbation = curves(picture, picture, np.zeros((2, 2), np.float32), 28)
    assert perturbation.count == len(list(perturbation.pictures)) == 8


def test_the_spec_refuses_what_cannot_be_drawn() -> None:
    with pytest.raises(UsageError, match=r"'grey'.*zero, blur"):
        CurveSpec(baselines=("zero", "grey"))
    with pytest.raises(UsageError, match="0 steps"):
        CurveSpec(steps=0)


def test_the_highest_pixel_is_first_and_equals_go_row_by_row() -> None:
    values = np.array([[0, 2, 0], [5, 2, -1]], np.float32)
    np.testing.assert_array_equal(ranks(values), [[3, 1, 4], [0, 2, 5]])


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


@pytest.mark.parametrize(("edge", "steps"), [(5, 7), (7, 9), (6, 28), (9, 50)])
def test_each_step_of_a_curve_changes_the_nearest_whole_number_of_pixels(
    edge: int, steps: int
) -> None:
    values = np.random.default_rng(2).random((edge, edge), np.float32)
    picture = torch.ones((3, edge, edge))
    asked = curves(picture, torch.zeros_like(picture), values, steps)
    shown = list(asked.pictures)
    parts = min(steps, edge * edge)
    for step, one in enumerate(shown[: parts + 1]):
        gone = int((one[0] == 0).sum())
        assert abs(gone - step * edge * edge / parts) <= 0.5


@given(values=arrays(np.int8, SHAPES, elements=st.integers(-2, 2)))
def test_ranks_are_those_of_a_sort_by_value_and_then_by_place(values: NDArray[np.int8]) -> None:
    flat = values.ravel().tolist()
    order = sorted(range(len(flat)), key=lambda place: (-flat[place], place))
    expected = np.empty(len(flat), np.int64)
    for rank, place in enumerate(order):
        expected[place] = rank
    assert ranks(values.astype(np.float32)).ravel().tolist() == expected.tolist()
