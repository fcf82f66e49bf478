"""A temperature is found where there is one, and nothing is made worse.

The calibration error is what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from slidecam.classes import probabilities_of
from slidecam.errors import DataSetError
from slidecam.learning import calibration
from slidecam.learning.calibration import (
    ece_by_chance,
    fit_calibration,
    fit_temperature,
    mean_nll,
    reliability_of,
    two_columns,
    with_offsets,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.classes import Activation


def drawn(seed: int, count: int, classes: int = 3) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the logarithms of true probabilities, and labels drawn by them."""
    rng = np.random.default_rng(seed)
    log_p = log_softmax(2 * rng.normal(size=(count, classes)), axis=1)
    labels = (np.exp(log_p).cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return log_p, np.minimum(labels, classes - 1)


@pytest.mark.parametrize("temperature", [0.4, 1.7, 6.0])
def test_the_temperature_of_scaled_true_logits_is_found(temperature: float) -> None:
    log_p, labels = drawn(0, 20_000)
    logits = temperature * log_p
    found = fit_temperature(logits, labels)
    assert found.temperature == pytest.approx(temperature, rel=0.04)
    before, after = (
        reliability_of(probabilities_of(logits, "softmax", each), labels).error
        for each in (1.0, found.temperature)
    )
    assert after < 0.015
    assert before > 0.03
    assert mean_nll(logits, labels, temperature=found.temperature) < mean_nll(logits, labels)
    assert not found.note


def test_the_temperature_of_one_logit_is_found() -> None:
    rng = np.random.default_rng(1)
    logits = 2 * rng.normal(size=(20_000, 1))
    labels = (rng.random(20_000) < expit(logits[:, 0])).astype(np.int64)
    assert fit_temperature(3 * logits, labels, "sigmoid").temperature == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_temperature_is_the_best_of_a_fine_grid(activation: Activation) -> None:
    log_p, labels = drawn(2, 300)
    found = fit_temperature(4 * log_p, labels, activation)
    grid = np.exp(np.linspace(np.log(0.1), np.log(50), 3000))
    surprises = [300 * mean_nll(4 * log_p, labels, activation, each) for each in grid]
    losses = surprises + np.log(grid) ** 2 / 2 / 0.5**2
    assert found.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=5e-3)
    assert found.pictures == 300


@pytest.mark.parametrize("seed", range(10))
def test_the_loss_never_rises(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(30, 3)) * rng.uniform(0.1, 10), rng.integers(3, size=30)
    logits[np.arange(30), labels] += rng.uniform(0, 3)
    found = fit_temperature(logits, labels)
    assert np.isfinite(found.temperature)
    after = mean_nll(logits, labels, temperature=found.temperature)
    assert after <= mean_nll(logits, labels)


def test_validation_without_an_error_tells_no_temperature() -> None:
    labels = np.arange(40) % 2
    found = fit_temperature(np.eye(2)[labels] * 3, labels)
    assert found.temperature == 1
    assert "every prediction is right" in found.note


def test_predictions_that_are_worse_than_chance_tell_no_temperature() -> None:
    labels = np.arange(4000) % 2
    found = fit_temperature(-np.eye(2)[labels] * 3, labels)
    assert found.temperature == 1
    assert "beyond" in found.note


def test_what_is_calibrated_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    log_p, labels = drawn(4, 500)
    with monkeypatch.context() as without_prior:
        without_prior.setattr(calibration, "DOUBT", 1e9)
        likeliest = fit_temperature(log_p, labels).temperature
    found = fit_temperature(log_p / likeliest, labels)
    assert found.temperature == 1
    assert "No temperature is better" in found.note


def test_a_calibrated_classifier_is_left_almost_alone() -> None:
    log_p, labels = drawn(4, 50_000)
    assert fit_temperature(log_p, labels).temperature == pytest.approx(1, abs=0.02)


def test_scores_have_no_temperature() -> None:
    found = fit_temperature(np.array([[1.0, 2.0]]), [1], "none")
    assert found.temperature == 1
    assert "scores" in found.note


def test_a_sigmoid_is_a_softmax_of_two_columns() -> None:
    logits = np.array([[-2.0], [0.0], [3.0]])
    for temperature in (1.0, 2.5):
        columns = probabilities_of(two_columns(logits), "softmax", temperature)
        assert columns[:, 1] == pytest.approx(
            probabilities_of(logits, "sigmoid", temperature)[:, 0]
        )


def test_the_loss_of_sigmoids_is_the_sum_of_their_cross_entropies() -> None:
    logits, labels = np.array([[2.0, -1.0, 0.5], [0.0, 1.0, -3.0]]), np.array([0, 2])
    p = expit(logits)
    truth = np.eye(3)[labels]
    expected = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).sum(axis=1).mean()
    assert mean_nll(logits, labels, "sigmoid") == pytest.approx(expected)


def test_huge_logits_have_a_finite_loss() -> None:
    assert mean_nll(np.array([[1e4, -1e4]]), np.array([1])) == pytest.approx(2e4)
    assert mean_nll(np.array([[1e4, -1e4]]), np.array([1]), "sigmoid") == pytest.approx(2e4)


def test_the_calibration_error_is_that_of_a_slow_loop_over_bins() -> None:
    log_p, labels = drawn(5, 400)
    probabilities = np.exp(log_p)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    total = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    found = reliability_of(probabilities, labels)
    assert found.error == pytest.approx(total)
    assert found.counts.sum() == 400


def test_a_bin_holds_its_upper_edge_and_not_its_lower() -> None:
    found = reliability_of(
        np.array([[0.8, 0.2], [0.81, 0.19], [1.0, 0.0]]), np.array([0, 0, 0]), bins=5
    )
    assert found.counts.tolist() == [0, 0, 0, 1, 2]
    assert np.isnan(found.accuracy[0])
    assert found.confidence[3] == pytest.approx(0.8)


def test_chance_alone_shows_what_a_calibrated_classifier_shows() -> None:
    errors = []
    for seed in range(60):
        log_p, labels = drawn(seed, 200)
        errors.append(reliability_of(np.exp(log_p), labels).error)
    mean, low, high = ece_by_chance(np.exp(drawn(0, 200)[0]))
    assert mean == pytest.approx(np.mean(errors), rel=0.1)
    assert np.mean([low <= error <= high for error in errors]) >= 0.85


def test_an_overconfident_classifier_shows_more_than_chance_would() -> None:
    log_p, labels = drawn(0, 500)
    probabilities = probabilities_of(3 * log_p)
    assert reliability_of(probabilities, labels).error > ece_by_chance(probabilities)[2]


@pytest.mark.parametrize(
    ("logits", "labels", "problem"),
    [
        (np.zeros((0, 2)), [], "do not fit"),
        (np.zeros((3, 2)), [0, 1], "do not fit"),
        (np.zeros(3), [0, 1, 0], "do not fit"),
        (np.array([[np.inf, 0.0]]), [0], "not a finite"),
        (np.zeros((2, 2)), [0, 2], "from 0 to 2"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    logits: NDArray[np.float64], labels: list[int], problem: str
) -> None:
    with pytest.raises(DataSetError, match=problem):
        fit_temperature(logits, labels)


def test_the_error_by_chance_is_that_of_draws_counted_one_by_one() -> None:
    logits, _labels = drawn(3, 37)
    probabilities = probabilities_of(logits)
    confidence = probabilities.max(axis=1)
    rng, errors = np.random.default_rng(9), []
    for _draw in range(41):
        right = rng.random(37) < confidence
        gap = 0.0
        for place in range(15):
            held = (confidence > place / 15) & (confidence <= (place + 1) / 15)
            gap += abs(float((confidence - right)[held].sum()))
        errors.append(gap / 37)
    # Of 41 sorted draws, the first and last 2.5 % end at the second and the last but one.
    low, high = sorted(errors)[1], sorted(errors)[-2]
    assert ece_by_chance(probabilities, 9, 41) == pytest.approx((np.mean(errors), low, high))


@pytest.mark.parametrize("count", [1, 6, 29])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_handful_of_pictures_has_no_temperature_and_says_how_few_they_are(
    count: int, activation: Activation
) -> None:
    log_p, labels = drawn(5, count)
    found = fit_temperature(4 * log_p, labels, activation)
    assert (found.temperature, found.biases, found.pictures) == (1.0, (), 0)
    held = {1: "1 validation picture.", 6: "6 validation pictures.", 29: "29 validation pictures."}
    assert found.note == f"Of 30 that are needed it had {held[count]}"
    assert fit_calibration(4 * log_p, labels, weighted=True).temperature == 1


def test_one_wrong_label_among_thirty_moves_a_temperature_little() -> None:
    labels = np.arange(30) % 2
    logits = np.eye(2)[np.r_[1 - labels[:1], labels[1:]]] * 12
    assert 1 < fit_temperature(logits, labels).temperature < 3


def shifted(seed: int, count: int, temperature: float) -> tuple[Any, NDArray[np.int64], Any]:
    """Return logits of a network that believes in equally frequent classes, labels, and the truth.

    Classes are 70, 20 and 10 of a hundred; the truth is the probabilities.
    """
    rng, often = np.random.default_rng(seed), np.array([0.7, 0.2, 0.1])
    labels = rng.choice(3, size=count, p=often)
    seen = rng.normal(size=(count, 3))
    seen[np.arange(count), labels] += 1.3
    truth = softmax(1.3 * seen + np.log(often), axis=1)
    return temperature * 1.3 * seen, labels, truth


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_biases_of_weighted_classes_are_the_logarithms_of_their_shares(temperature: float) -> None:
    logits, labels, truth = shifted(0, 40_000, temperature)
    found = fit_calibration(logits, labels, weighted=True)
    often = np.log([0.7, 0.2, 0.1])
    assert found.temperature == pytest.approx(temperature, rel=0.04)
    assert found.biases == pytest.approx((often - often.mean()).tolist(), abs=0.06)
    fitted = probabilities_of(logits, "softmax", found.temperature, found.biases)
    assert np.abs(fitted - truth).max() < 0.03
    assert fit_calibration(logits, labels, weighted=False).biases == ()


def test_biases_mend_what_a_temperature_cannot_on_pictures_kept_apart() -> None:
    logits, labels, _truth = shifted(1, 300, 1.5)
    apart, true, _shares = shifted(2, 20_000, 1.5)
    errors = {}
    for weighted in (False, True):
        found = fit_calibration(logits, labels, weighted=weighted)
        fitted = probabilities_of(apart, "softmax", found.temperature, found.biases)
        errors[weighted] = mean_nll(np.log(fitted), true)
    assert errors[True] < 0.56
    assert errors[False] > 0.66


def test_a_class_of_few_validation_pictures_leaves_all_without_biases() -> None:
    logits, labels, _truth = shifted(3, 300, 1.5)
    kept = np.flatnonzero(labels != 2).tolist() + np.flatnonzero(labels == 2)[:4].tolist()
    found = fit_calibration(logits[kept], labels[kept], weighted=True)
    assert found.biases == ()
    assert "one class has 4 validation pictures" in found.note
    assert found.pictures == len(kept)


@pytest.mark.parametrize("rare", [4, 0])
def test_what_the_loss_added_is_the_bias_where_too_few_pictures_tell_one(rare: int) -> None:
    logits, labels, _truth = shifted(3, 300, 1.5)
    kept = np.flatnonzero(labels != 2).tolist() + np.flatnonzero(labels == 2)[:rare].tolist()
    logs = np.log([0.7, 0.2, 0.1])
    found = fit_calibration(logits[kept], labels[kept], weighted=True, offsets=logs)
    assert found.temperature == fit_temperature(logits[kept] + logs, labels[kept]).temperature
    expected = (logs - logs.mean()) / found.temperature
    np.testing.assert_allclose(found.biases, expected, rtol=1e-12)
    assert with_offsets(found, ()) == found


def test_of_too_few_pictures_for_a_temperature_the_bias_is_what_the_loss_added() -> None:
    found = fit_calibration([[0.3, -1.1]], [0], weighted=True, offsets=[-0.2, -1.7])
    assert found.temperature == 1
    assert found.biases == pytest.approx((0.75, -0.75))
    assert found.note == "Of 30 that are needed it had 1 validation picture."
