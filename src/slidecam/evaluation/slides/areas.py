"""How much of what was drawn as a class was called what, by area.

A tile that a border crosses counts by its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

DEFINITIONS: Mapping[str, str] = {
    "sensitivity": "share of the class's classified area that was called so",
    "precision": (
        "share of the annotated area called so that is so; what nobody annotated does not count"
    ),
    "Dice": "harmonic mean of both",
    "classified": "share of the class's annotated area that lies under a classified tile",
}
"""Every figure of a class, and what it is."""


@dataclass(frozen=True, eq=False)
class AreaConfusion:
    """Areas of annotated classes by what they were called.

    Attributes
    ----------
    class_names
        K of them.
    areas
        float64, (K, K), µm²: a row for each annotated class, a column for each predicted one.
    missed
        float64, (K,), µm² of each annotated class that no classified tile covers: no tissue, or not
        readable.
    uncalled
        float64, (K,), µm² of each annotated class that was classified and called none.
    """

    class_names: tuple[str, ...]
    areas: NDArray[np.float64]
    missed: NDArray[np.float64]
    uncalled: NDArray[np.float64]

    @property
    def accuracy(self) -> float | None:
        """Share of the classified annotated area that was called what it is."""
        return _share(float(np.trace(self.areas)), float(self.areas.sum() + self.uncalled.sum()))

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return the figures in `DEFINITIONS` of each class.

        None where there is nothing to be a share of.
        """
        told = {}
        for place, name in enumerate(self.class_names):
            right = float(self.areas[place, place])
            true = float(self.areas[place].sum() + self.uncalled[place])
            called = float(self.areas[:, place].sum())
            told[name] = {
                "sensitivity": _share(right, true),
                "precision": _share(right, called),
                "Dice": _share(2 * right, true + called),
                "classified": _share(true, true + float(self.missed[place])),
            }
        return told

    def record(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "unit": "µm²",
            "accuracy": self.accuracy,
            "per class": self.figures(),
            "confusion": {
                "classes": list(self.class_names),
                "rows": "annotated",
                "columns": "predicted",
                "areas": self.areas.round(3).tolist(),
                "not classified": self.missed.round(3).tolist(),
                **({"called none": self.uncalled.round(3).tolist()} if self.uncalled.any() else {}),
            },
        }


def _share(part: float, whole: float) -> float | None:
    if whole > 0:
        return part / whole
    return None


def added(confusions: Sequence[AreaConfusion]) -> AreaConfusion:
    """Return the areas of several slides as one.

    There is at least one, and all have the same classes.
    """
    return AreaConfusion(
        confusions[0].class_names,
        np.sum([each.areas for each in confusions], axis=0),
        np.sum([each.missed for each in confusions], axis=0),
        np.sum([each.uncalled for each in confusions], axis=0),
    )
