"""Where a heatmap begins to count: four rules that turn raw values into one threshold.

Dynamic thresholding (DT Grad-CAM, arXiv:2308.13150) keeps of a map what lies at or above such a
threshold. The paper's text does not state its formula, so the rule is a choice here and is named
wherever its result is shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from slidecam.errors import UsageError
from slidecam.registry import deferred

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from skimage import filters
else:
    filters = deferred("skimage.filters")

Rule = Literal["otsu", "mean", "quantile", "fraction"]

EXAMPLES = "otsu, mean+1.5, quantile:0.9 or fraction:0.5"
MEAN = "mean"
NUMBER = r"\d*\.?\d+"
WRITTEN = re.compile(
    rf"otsu|(?P<mean>mean)(?P<deviations>[+-]{NUMBER})?|(?P<rule>quantile|fraction):(?P<share>{NUMBER})"
)

BINS = 256
"""Of the histogram that Otsu's cut is found in: scikit-image's default."""


@dataclass(frozen=True)
class Threshold:
    """A rule by which a threshold is found.

    Attributes
    ----------
    rule
        ``otsu`` (Otsu 1979: the cut that parts values into the two most even groups), ``mean``
        (mean + ``value`` standard deviations), ``quantile`` (the ``value`` quantile) or
        ``fraction`` (``value`` of the maximum).
    value
        The rule's number; ``otsu`` has none.

    Raises
    ------
    UsageError
        If there is no such rule, or its number is out of range.
    """

    rule: Rule = "otsu"
    value: float = 0.0

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise UsageError(f"There is no threshold rule {self.rule!r}.", f"Write {EXAMPLES}.")
        # Written so that not-a-number is refused too.
        in_range = 0 <= self.value <= 1
        if self.rule == MEAN:
            in_range = bool(np.isfinite(self.value))
        if not in_range:
            raise UsageError(
                f"The number of threshold {self} is out of range.",
                "Write a number from 0 to 1.",
            )

    def __str__(self) -> str:
        """Return the rule as `parse_threshold` reads it."""
        if self.rule == "otsu":
            return self.rule
        if self.rule == MEAN:
            return f"{self.rule}{self.value:+g}"
        return f"{self.rule}:{self.value:g}"


def parse_threshold(text: str) -> Threshold:
    """Return the rule that ``text`` means.

    ``otsu``, ``mean+1.5``, ``quantile:0.9`` or ``fraction:0.5``.

    Raises
    ------
    UsageError
        If it means none, or its number is out of range.
    """
    found = WRITTEN.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"{text!r} is no threshold rule.", f"Write {EXAMPLES}.")
    rule = found["mean"] or found["rule"] or "otsu"
    return Threshold(cast("Rule", rule), float(found["deviations"] or found["share"] or 0))


def threshold_of(values: NDArray[Any], threshold: Threshold) -> float:
    """Return the threshold of some raw values.

    Parameters
    ----------
    values
        Numbers of any shape; what is not finite is left out.
    threshold
        The rule.

    Returns
    -------
    float
        In the unit of ``values``: what is at least this counts. 0 where there is no value at all;
        the value itself where all are equal, except that ``mean`` and ``fraction`` follow their
        formula.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return 0.0
    if threshold.rule == "otsu":
        # scikit-image gives the middle of the histogram's last low bin; its upper edge leaves all
        # of that bin out.
        return float(filters.threshold_otsu(known, nbins=BINS) + np.ptp(known) / (2 * BINS))
    if threshold.rule == MEAN:
        return float(known.mean() + threshold.value * known.std())
    if threshold.rule == "quantile":
        return float(np.quantile(known, threshold.value))
    return float(threshold.value * known.max())
