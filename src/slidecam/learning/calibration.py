"""Whether probabilities mean what they say, and the few numbers that often mend them.

One temperature, found on validation data, divides all logits before the activation (Guo et al., "On
calibration of modern neural networks", ICML 2017, section 4.2). A network that was taught with
classes weighed alike believes that they are equally frequent; it gets a number for each class as
well, added to its divided logits. Neither changes a call (`slidecam.classes.ClassSet`).

Both are drawn towards changing nothing: the logarithm of the temperature has a normal prior of
deviation `DOUBT`, each bias one of `BIAS_DOUBT`. In 150 simulated validation sets of 30 pictures of
a calibrated network (3 classes, held-out loss 0.572) a temperature without a prior left a loss of
0.591, with it 0.582; of a network wrong by a factor of two (0.704 and 0.652 as it was) 0.591 and
0.591 without, 0.595 and 0.583 with it. Of 10 pictures it was 1.522, and 0.588 with it: below
`FEWEST` none is fitted, since one wrong label among so few decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from slidecam.errors import DataSetError
from slidecam.settings import counted

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

FEWEST, FEWEST_OF_CLASS = 30, 5
"""Pictures below which no temperature is fitted; of each class, no biases."""

DOUBT, BIAS_DOUBT = 0.5, 1.0
"""Deviations of what is thought likely before any picture: of log(temperature), and of a bias."""

WORTHWHILE = 1e-6
"""What a temperature must take off the loss, in nats per picture, not to be rounding."""


@dataclass(frozen=True)
class Calibration:
    """What makes a classifier's logits mean what they say.

    Attributes
    ----------
    temperature
        What logits are to be divided by; 1 where nothing is to be gained.
    note
        Why the temperature is 1, or why there are no biases; or nothing.
    biases
        What is to be added to them then, one for each class; empty for none.
    pictures
        How many it was fitted on; 0 where it was not.
    """

    temperature: float
    note: str = ""
    biases: tuple[float, ...] = ()
    pictures: int = 0


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
    """Return the temperature that makes validation data, and itself, likeliest.

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
        there are fewer than `FEWEST` pictures, or every prediction is right.

    Raises
    ------
    DataSetError
        If there is no picture, a logit is not finite, or a label is none of the classes.
    """
    values, truth = _checked(logits, labels)
    if activation == "none":
        return Calibration(1.0, "The outputs are scores, not probabilities.")
    if len(truth) < FEWEST:
        held = counted(len(truth), "validation picture")
        return Calibration(1.0, f"Of {FEWEST} that are needed it had {held}.")
    if values.shape[1] == 1:
        values, activation = two_columns(values), "softmax"
    return _best_temperature(values, truth, activation)


def fit_calibration(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weighted: bool,
    offsets: ArrayLike = (),
) -> Calibration:
    """Return the temperature of a softmax classifier, and its biases if it was taught ``weighted``.

    Parameters
    ----------
    logits, labels
        As for `fit_temperature`: of validation data that are as frequent as elsewhere.
    weighted
        Whether classes were weighed alike in training, by weights or by drawing rare ones often.
    offsets
        What was added to the logits in training alone, (K,); or nothing. Where there are too few
        pictures for biases, those are what it comes to.

    Raises
    ------
    DataSetError
        As `fit_temperature`.

    Notes
    -----
    Vector scaling (Guo et al., section 4.2) with one scale for all classes, as a shift of the
    classes' shares moves logits by the logarithm of its ratio, and by nothing else.
    """
    values, truth = _checked(logits, labels)
    known = np.asarray(offsets, np.float64)
    if known.size:
        values = values + known
    found = fit_temperature(values, truth)
    counts = np.bincount(truth, minlength=values.shape[1])
    enough = len(truth) >= FEWEST and counts.min() >= FEWEST_OF_CLASS
    if known.size and not enough:
        return with_offsets(found, offsets)
    if not weighted or len(truth) < FEWEST:
        return found
    if not enough:
        held = counted(int(counts.min()), "validation picture")
        few = f"one class has {held} ({FEWEST_OF_CLASS} at least)"
        return replace(found, note=f"{found.note} No bias for each class: {few}.".strip())
    return _best_scaling(np.asarray(logits, np.float64), truth)


def with_offsets(found: Calibration, offsets: ArrayLike) -> Calibration:
    """Return a temperature of logits plus offsets as one with biases, (K,); itself without any."""
    known = np.asarray(offsets, np.float64)
    if not known.size:
        return found
    biases = (known - known.mean()) / found.temperature
    return replace(found, biases=tuple(biases.tolist()))


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
        surprise = mean_nll(logits, labels, activation, float(np.exp(log_temperature)))
        return surprise + (log_temperature / DOUBT) ** 2 / 2 / len(labels)

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
    return Calibration(float(np.exp(found.x)), pictures=len(labels))


def _best_scaling(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """Return temperature and biases; the loss is convex in ``1 / temperature`` and the biases."""
    count, classes = logits.shape
    true = np.eye(classes)[labels]

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, biases = np.exp(-values[0]), values[1:]
        scaled = logits * scale
        logs = log_softmax(scaled + biases, axis=1)
        over = np.exp(logs) - true
        doubts = np.array([DOUBT, *[BIAS_DOUBT] * classes])
        total = -logs[true == 1].sum() + ((values / doubts) ** 2).sum() / 2
        slopes = np.r_[-(over * scaled).sum(), over.sum(axis=0)] + values / doubts**2
        return float(total) / count, slopes / count

    found = minimize(loss, np.zeros(classes + 1), jac=True, method="L-BFGS-B")
    biases = found.x[1:] - found.x[1:].mean()
    return Calibration(float(np.exp(found.x[0])), "", tuple(biases.tolist()), count)


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
