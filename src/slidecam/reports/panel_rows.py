"""A panel: tiles, maps by several methods, the curves that test each, and one scale a method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.drawing.heat import enlarged
from slidecam.drawing.style import drawn_as_one, shares_of
from slidecam.reports.overlay import heated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

ROUND, HUNDRED = 3, 100


@dataclass(frozen=True, eq=False)
class PanelMap:
    """One method's map of one tile and class.

    Attributes
    ----------
    name, title
        The method, for machines and for people.
    values
        float32, (h, w), raw.
    signed
        Whether negative values speak against the class.
    facts
        What must be said of the method's maps of all tiles; see `facts_of_tiles`.
    model
        Whose map it is, where several models are compared.
    unit, notes
        What its values are counted in, and what limits it, in a few words each.
    least
        Raw value that its last colour stands for at least.
    """

    name: str
    title: str
    values: NDArray[np.float32]
    signed: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    unit: str = ""
    notes: tuple[str, ...] = ()
    least: float = 0.0

    @property
    def heading(self) -> str:
        """The method, after the model if there are several."""
        if not self.model:
            return self.title
        return f"{self.model}: {self.title}"


@dataclass(frozen=True, eq=False)
class PanelCurves:
    """How a class's probability falls and rises as pixels go and come in one map's order.

    Attributes
    ----------
    method, baseline
        Whose order, and what takes the pixels' place.
    fractions, deletion, insertion
        float64, (steps + 1,).
    deletion_auc, insertion_auc
        Areas under both curves.
    """

    method: str
    baseline: str
    fractions: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    deletion_auc: float
    insertion_auc: float

    def record(self) -> dict[str, Any]:
        """Return both areas for a JSON file."""
        return {
            "method": self.method,
            "baseline": self.baseline,
            "deletion AUC": round(self.deletion_auc, 4),
            "insertion AUC": round(self.insertion_auc, 4),
        }


@dataclass(frozen=True, eq=False)
class PanelRow:
    """One tile explained for one class.

    Attributes
    ----------
    name, explained
        The tile and the class.
    captions
        What is said of them, by each model.
    pixels
        uint8, (edge, edge, 3).
    maps
        The same methods in every row.
    curves
        Maybe none.
    """

    name: str
    explained: str
    captions: tuple[str, ...]
    pixels: NDArray[np.uint8]
    maps: tuple[PanelMap, ...]
    curves: tuple[PanelCurves, ...] = ()


def method_scales(rows: Sequence[PanelRow]) -> dict[str, float]:
    """Return for each method the raw value that is drawn as 1, over all of its tiles."""
    by_method: dict[str, list[NDArray[np.float32]]] = {}
    least: dict[str, float] = {}
    for row in rows:
        for each in row.maps:
            by_method.setdefault(each.name, []).append(each.values.ravel())
            least[each.name] = each.least
    scales = {}
    for name, values in by_method.items():
        scales[name] = max(drawn_as_one(np.concatenate(values)), least[name])
    return scales


def overlaid(pixels: NDArray[np.uint8], each: PanelMap, top: float) -> NDArray[np.uint8]:
    """Return a tile under one of its maps, uint8, (edge, edge, 3)."""
    shares = enlarged(shares_of(each.values, top, signed=each.signed), pixels.shape[1::-1])
    # Interpolation may leave the scale by a rounding.
    return heated(pixels, shares_of(shares, 1, signed=each.signed), signed=each.signed)


def scale_ends(each: PanelMap, top: float) -> tuple[str, str]:
    """Return the raw values drawn as the first and the last colour, as people read them."""
    high = f"{top:.{ROUND}g}"
    if top >= HUNDRED:
        high = f"{top:,.0f}"
    if each.signed:
        return f"-{high}", high
    return "0", high
