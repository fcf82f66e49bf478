"""One figure of an evaluation, with its interval or why it has none; and how it is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from slidecam.learning.metrics import DEFINITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.learning.intervals import Interval

ECE_BY_CHANCE = "ECE by chance"

BY_CHANCE = (
    "what a perfectly calibrated classifier of the same confidences would show as ECE on as many"
    " pictures: the mean, and the range of 95 % of draws"
)
FIGURES: Mapping[str, str] = MappingProxyType({**DEFINITIONS, ECE_BY_CHANCE: BY_CHANCE})
"""Every figure of an evaluation by its name, and what it is."""

MEASURED_ON = "measured_on"
"""A provenance's key for the extent of each part that is under ``measured``."""


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes
    ----------
    value
        None where there is no such figure.
    interval
        95 %, or None.
    note
        Why there is no value or no interval, or what it leaves out.
    """

    value: float | None
    interval: Interval | None = None
    note: str = ""

    def __str__(self) -> str:
        value = "none" if self.value is None else f"{self.value:.3f}"
        if self.interval is not None:
            return f"{value} ({self.interval}, {self.interval.method})"
        if self.note:
            return f"{value} ({self.note})"
        return value

    def record(self) -> dict[str, object]:
        """Return it as JSON values."""
        values: dict[str, object] = {"value": self.value, "ci95": None}
        if self.interval is not None:
            values["ci95"] = [self.interval.low, self.interval.high]
            values["by"] = self.interval.method
        if self.note:
            values["note"] = self.note
        return values


@dataclass(frozen=True)
class FoldSpread:
    """A figure of the folds of a cross-validation one by one.

    ``sd`` divides by folds - 1, None for a single fold.
    """

    values: tuple[float | None, ...]

    @property
    def mean(self) -> float | None:
        """Over the folds that have it."""
        known = self._known
        if known:
            return float(np.mean(known))
        return None

    @property
    def sd(self) -> float | None:
        """Over the folds that have it."""
        known = self._known
        if len(known) > 1:
            return float(np.std(known, ddof=1))
        return None

    @property
    def _known(self) -> list[float]:
        return [value for value in self.values if value is not None]

    def record(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {"mean": self.mean, "sd": self.sd, "values": list(self.values)}


def records_of(figures: Mapping[str, Figure | FoldSpread]) -> dict[str, dict[str, object]]:
    """Return figures by name as JSON values."""
    return {name: figure.record() for name, figure in figures.items()}
