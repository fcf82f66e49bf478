from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import sem, ttest_rel

from slidecam.faithfulness.removal import Curve
from slidecam.faithfulness.report import (
    CENTRE,
    Ledger,
    compared,
    mean_and_error,
    share_of_masks,
)
from slidecam.faithfulness.tile_measure import TileFindings

RANDOM = "random map, 7 x 7"


def test_mean_and_error_equal_scipys_and_leave_out_what_is_no_number() -> None:
    values = np.array([0.2, np.nan, 0.7, 0.4])
    known = values[[0, 2, 3]]
    np.testing.assert_allclose(mean_and_error(values), (known.mean(), sem(known)))


def test_one_value_has_no_error_and_none_has_no_mean() -> None:
    assert mean_and_error(np.array([0.5]))[0] == 0.5
    assert math.isnan(mean_and_error(np.array([0.5]))[1])
    assert all(math.isnan(value) for value in mean_and_error(np.array([np.nan])))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shift", [-0.6, 0.0, 0.6])
def test_verdicts_are_those_of_the_paired_t_test(seed: int, shift: float) -> None:
    one, other = np.random.default_rng(seed).normal(size=(2, 12))
    found = compared(one + shift, other, RANDOM, high_is_good=True)
    test = ttest_rel(one + shift, other)
    expected = "no better" if test.pvalue > 0.05 else "better" if test.statistic > 0 else "worse"
    assert found.verdict == expected
    contrary = compared(one + shift, other, RANDOM, high_is_good=False)
    assert {"better": "worse", "worse": "better", "no better": "no better"}[
        expected
    ] == contrary.verdict


def test_equal_figures_are_no_better_and_one_tile_tells_nothing() -> None:
    same = np.full(5, 0.3)
    assert compared(same, same, RANDOM, high_is_good=True).verdict == "no better"
    assert compared(same + 0.1, same, RANDOM, high_is_good=True).verdict == "better"
    assert compared(same[:1] + 0.1, same[:1], RANDOM, high_is_good=True).verdict == "unknown"


def test_tiles_without_a_figure_are_left_out_of_both() -> None:
    one, other = np.array([1.0, 2.0, np.nan, 4.0]), np.array([0.0, np.nan, 3.0, 1.0])
    assert compared(one, other, RANDOM, high_is_good=True).mean == 2.0


def filled() -> Ledger:
    """Return three tiles: a method of one map, a random map of two seeds and the centre prior."""
    ledger = Ledger()
    for tile in range(3):
        found = TileFindings()
        for value in (0.1, 0.3):
            found.add(RANDOM, "deletion:zero", curve(value + tile / 100))
            found.add(RANDOM, "road", value)
        found.add("Grad-CAM", "deletion:zero", curve(0.05 + tile / 50))
        found.add("Grad-CAM", "road", 0.9)
        found.add(CENTRE, "deletion:zero", curve(0.0))
        found.add(CENTRE, "road", 0.2)
        ledger.add(found)
    return ledger


def curve(value: float) -> Curve:
    return Curve(np.linspace(0, 1, 3), np.full(3, value))


def test_errors_over_tiles_and_over_seeds_are_told_apart() -> None:
    found = {(one.method, one.measure): one for one in filled().findings({"Grad-CAM": RANDOM})}
    random = found[RANDOM, "deletion:zero"]
    np.testing.assert_allclose(random.values, [0.2, 0.21, 0.22])
    assert random.se_tiles == pytest.approx(sem([0.2, 0.21, 0.22]))
    assert random.se_seeds == pytest.approx(sem([0.11, 0.31]))
    assert random.differences == ()
    assert math.isnan(found["Grad-CAM", "deletion:zero"].se_seeds)


def test_methods_are_compared_with_both_references() -> None:
    found = {(one.method, one.measure): one for one in filled().findings({"Grad-CAM": RANDOM})}
    random, centre = found["Grad-CAM", "deletion:zero"].differences
    assert (random.reference, centre.reference) == (RANDOM, CENTRE)
    assert random.mean == pytest.approx(np.mean([-0.15, -0.14, -0.13]))
    assert (random.verdict, centre.verdict) == ("better", "worse")
    assert [one.verdict for one in found["Grad-CAM", "road"].differences] == ["better", "better"]


def test_findings_come_method_by_method_in_the_order_of_measures() -> None:
    keys = [(one.method, one.measure) for one in filled().findings({})]
    assert keys[:3] == [(RANDOM, "deletion:zero"), (RANDOM, "road"), ("Grad-CAM", "deletion:zero")]


def test_mean_curves_average_maps_first_and_tiles_then() -> None:
    drawn = {one.method: one for one in filled().mean_curves()}
    np.testing.assert_allclose(drawn[RANDOM].mean, np.full(3, 0.21))
    np.testing.assert_allclose(drawn[RANDOM].se, np.full(3, sem([0.2, 0.21, 0.22])))
    np.testing.assert_allclose(drawn[RANDOM].fractions, [0, 0.5, 1])


def test_the_share_of_masks_leaves_empty_ones_out() -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[0, 0], masks[1, :2] = True, True
    assert share_of_masks(masks) == pytest.approx((0.25 + 0.5) / 2)
    assert math.isnan(share_of_masks(masks[2:]))
