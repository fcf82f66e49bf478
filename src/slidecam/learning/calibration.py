"""Whether probabilities mean what they say, and the one number that often mends them.

One temperature, found on validation data, divides all logits before the activation (Guo et al., "On
calibration of modern neural networks", ICML 2017, section 4.2). It changes no prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from slidecam.errors import DataSetError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from slidecam.classes import Activation


BINS = 15
"""Bins of equal width from 0 to 1, as Guo et al. have them.

With two classes only the upper half can be filled.
"""

COLDEST, HOTTEST = 0.01, 100.0
"""Temperatures between which the best is sought; a fit that ends at either is not believed."""

_MARGIN = 1e-3
"""How near to an end of those, as a logarithm, is at the end."""

WORTHWHILE = 1e-6
"""What a temperature must take off the loss, in nats per picture, not to be rounding."""


@dataclass(frozen=True)
class Calibration:
    """The temperature of a classifier.

    Attributes
    ----------
    temperature
        What logits are to be divided by; 1 where nothing is to be gained.
    note
        Why the temperature is 1, or nothing.
    """

    temperature: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often predictions of some confidence are right.

    Attributes
    ----------
    edges
        Of the bins, (bins + 1,), from 0 to 1; a bin holds its upper edge and not its lower.
    counts
        Predictions in each bin, (bins,).
    confidence, accuracy
        Their mean confidence and the share that is right, (bins,); NaN in an empty bin.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error.

        The mean gap between confidence and accuracy (Guo et al., equation 3).
        """
        filled = self.counts > 0
        gaps = np.abs(self.confidence - self.accuracy)[filled]
        if filled.any():
            return float(gaps @ self.counts[filled] / self.counts.sum())
        return float("nan")


def two_columns(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return logits (N, 2) whose softmax is the sigmoid of one logit (N, 1).

    Of its absence, and of itself.
    """
    one = np.asarray(logits, np.float64).reshape(-1, 1)
    return np.concatenate([np.zeros_like(one), one], axis=1)


def fit_temperature(
    logits: ArrayLike,
    labels: ArrayLike,
    activation: Activation = "softmax",
) -> Calibration:
    """Return the temperature that makes validation data likeliest.

    Parameters
    ----------
    logits
        (N, K), before any activation; (N, 1) of a classifier of one logit, whose labels are 0 and
        1.
    labels
        True classes, (N,), 0 to K - 1.
    activation
        The card's. With ``sigmoid`` each of several classes is a yes or no of its own; with
        ``none`` nothing is a probability, and the temperature is 1.

    Returns
    -------
    Calibration
        With a temperature of 1, saying why, if no other is better or if the data cannot tell: where
        every prediction is right, the colder the better, without end.

    Raises
    ------
    DataSetError
        If there is no picture, a logit is not finite, or a label is none of the classes.
    """
    values, truth = _checked(logits, labels)
    if activation == "none":
        return Calibration(1.0, "The outputs are scores, not probabilities.")
    if values.shape[1] == 1:
        values, activation = two_columns(values), "softmax"
    return _best_temperature(values, truth, activation)


def reliability_of(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.int64],
    bins: int = BINS,
) -> Reliability:
    """Return how often the most probable class is right, by its probability.

    Parameters
    ----------
    probabilities
        (N, K), K at least 2.
    labels
        True classes, (N,).
    bins
        Bins of equal width from 0 to 1.
    """
    edges = np.linspace(0, 1, bins + 1)
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    places = bin_of(confidence, bins)
    counts = np.bincount(places, minlength=bins)
    filled = np.where(counts > 0, counts, np.nan)
    mean = np.bincount(places, confidence, bins) / filled
    return Reliability(edges, counts, mean, np.bincount(places, right, bins) / filled)


def ece_by_chance(
    probabilities: NDArray[np.floating],
    seed: int = 0,
    draws: int = 1000,
) -> tuple[float, float, float]:
    """Return what a perfectly calibrated classifier would show as its calibration error.

    Mean, and 95 % of draws.

    The error of a few pictures is above 0 by chance alone. Predictions are taken to be right as
    often as their confidence says (Bröcker and Smith, Weather and Forecasting 22, 2007,
    "consistency resampling").

    Parameters
    ----------
    probabilities
        (N, K), K at least 2.
    seed, draws
        How often right and wrong are drawn, and what that hangs on.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    places, rng = bin_of(confidence), np.random.default_rng(seed)
    errors = np.empty(draws)
    for draw in range(draws):
        gaps = np.bincount(places, confidence - (rng.random(len(confidence)) < confidence), BINS)
        errors[draw] = np.abs(gaps).sum() / len(confidence)
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(errors.mean()), float(low), float(high)


def bin_of(confidence: NDArray[np.float64], bins: int = BINS) -> NDArray[np.intp]:
    """Return the bin of each confidence; one on an edge belongs to the bin below."""
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)


def mean_nll(
    logits: NDArray[np.floating],
    labels: NDArray[np.int64],
    activation: Activation = "softmax",
    temperature: float = 1,
) -> float:
    """Return the negative log-likelihood (nats per picture), from logits: nothing underflows."""
    cooled = np.asarray(logits, np.float64) / temperature
    rows = np.arange(len(labels))
    if activation == "softmax":
        return float(-log_softmax(cooled, axis=1)[rows, labels].mean())
    signed = -cooled  # log(1 - sigmoid(z)) = -softplus(z) for the classes that it is not
    signed[rows, labels] *= -1
    return float(np.logaddexp(0, -signed).sum(axis=1).mean())


def _best_temperature(
    logits: NDArray[np.float64],
    labels: NDArray[np.int64],
    activation: Activation,
) -> Calibration:
    """Return the temperature, and why it is 1 where it is.

    The loss is convex in 1 / temperature (Guo et al., section 4.2), so that it has one valley only.
    """

    def loss(log_temperature: float) -> float:
        return mean_nll(logits, labels, activation, float(np.exp(log_temperature)))

    bounds = float(np.log(COLDEST)), float(np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    if (logits.argmax(axis=1) == labels).all():
        note = "every prediction is right, and the colder the better."
        return Calibration(1.0, f"The data cannot tell a temperature: {note}")
    if not bounds[0] + _MARGIN < found.x < bounds[1] - _MARGIN:
        note = f"the best is beyond {COLDEST:g} to {HOTTEST:g}."
        return Calibration(1.0, f"The data cannot tell a temperature: {note}")
    if loss(0) - found.fun < WORTHWHILE:
        return Calibration(1.0, "No temperature is better than none.")
    return Calibration(float(np.exp(found.x)))


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values, truth = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    remedy = "Calibrate on the validation pictures' logits (N, K) and labels (N,)."
    if values.ndim != 2 or truth.shape != values.shape[:1] or not len(truth):  # noqa: PLR2004  (rows and columns)
        raise DataSetError(
            f"logits {values.shape} and labels {truth.shape} do not fit each other.",
            remedy,
        )
    if not np.isfinite(values).all():
        raise DataSetError("a logit is not a finite number.", remedy)
    if truth.min() < 0 or truth.max() >= max(2, values.shape[1]):
        raise DataSetError(
            f"labels go from {truth.min()} to {truth.max()}, and K is {values.shape[1]}.",
            remedy,
        )
    return values, truth
