"""How a slide's tiles divide among the classes.

One row per class, for the manifest, picture and report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from slidecam.pixels import RGB
    from slidecam.runs.tiles import TileTable


@dataclass(frozen=True)
class ClassSummary:
    """One class on one slide.

    Attributes
    ----------
    name, color
        The class.
    count
        Tiles that it wins.
    share
        ``count`` as a share of all classified tiles, 0 to 1; tiles without a winner belong to no
        class.
    mean_probability
        Mean over all classified tiles, or None where there is none.
    """

    name: str
    color: RGB
    count: int
    share: float
    mean_probability: float | None


def summarise_classes(table: TileTable) -> tuple[ClassSummary, ...]:
    """Return one row per class, in the classifier's order."""
    classified = int(table.done.sum())
    counts = np.bincount(
        table.winners[table.winners >= 0], minlength=len(table.class_names)
    ).tolist()
    return tuple(
        ClassSummary(name, color, count, count / max(classified, 1), _mean(table, index))
        for index, (name, color, count) in enumerate(
            zip(table.class_names, table.class_colors, counts, strict=True)
        )
    )


def _mean(table: TileTable, index: int) -> float | None:
    values = table.probabilities[table.done, index]
    finite = values[np.isfinite(values)]
    if finite.size:
        return float(finite.mean(dtype=np.float64))
    return None
