"""What a card says of volumes.

How slices become pictures, and how their probabilities become one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Predicate, doc

from slidecam.geometry import Axis  # noqa: TC001  (the settings read annotations at run time)
from slidecam.viewing import Window, WindowKind, has_middle

if TYPE_CHECKING:
    from numpy.typing import NDArray

PoolingKind = Literal["mean", "top-k", "max"]

_DEVIATIONS = -2.0, 2.0
"""Black and white of a ``zscore`` window whose card has no numbers: those that everybody uses."""


@dataclass(frozen=True)
class Pooling:
    """How the probabilities of a volume's slices become those of the volume.

    Attributes
    ----------
    kind
        ``mean`` over the classified slices; ``top-k``: for each class the mean of its ``k`` most
        probable slices; ``max``: its most probable slice.
    k
        Slices of ``top-k``.
    """

    kind: PoolingKind = "mean"
    k: int = 5

    def __str__(self) -> str:
        """Return it in words."""
        texts = {
            "mean": "mean over the classified slices",
            "max": "each class's most probable slice",
        }
        return texts.get(self.kind, f"mean of each class's {self.k} most probable slices")

    def pool(self, probabilities: NDArray[np.float32], *, exclusive: bool) -> NDArray[np.float64]:
        """Return the volume's probabilities, float64, (classes,); NaN where no slice has any.

        Parameters
        ----------
        probabilities
            float32, (slices, classes); slices with NaN are left out.
        exclusive
            Whether classes exclude each other: what is pooled is divided by its sum then, so that
            it adds up to 1.
        """
        known = probabilities[np.isfinite(probabilities).all(axis=1)].astype(np.float64)
        if not len(known):
            return np.full(probabilities.shape[1], np.nan)
        count = {"mean": len(known), "max": 1}.get(self.kind, min(self.k, len(known)))
        pooled = np.sort(known, axis=0)[-count:].mean(axis=0)
        if exclusive:
            pooled = pooled / pooled.sum()
        return np.asarray(pooled)


@dataclass(frozen=True)
class VolumeCard:
    """The card's ``volume``; without one, these defaults.

    Attributes
    ----------
    axis
        Along which slices are taken, unless ``--axis`` says another.
    slices
        Neighbouring slices in a picture; see `VolumeView`.
    window
        The intensities that become black and white.
    pooling
        How slices become one call.
    """

    axis: Axis = "axial"
    slices: int = 1
    window: Window = field(default_factory=Window)
    pooling: Pooling = field(default_factory=Pooling)


@dataclass(frozen=True)
class WindowKeys:
    """The keys of ``volume.window``; UsageError where they are no window."""

    kind: WindowKind
    low: float
    high: float

    def __post_init__(self) -> None:
        self.window()

    def window(self) -> Window:
        """Return the window."""
        return Window(self.kind, self.low, self.high)


@dataclass(frozen=True)
class PoolingKeys:
    """The keys of ``volume.pooling``."""

    kind: PoolingKind
    k: Annotated[int, Ge(1)] = Pooling.k


@dataclass(frozen=True)
class VolumeKeys:
    """The keys of ``volume``, and what may stand under each."""

    axis: Axis = VolumeCard.axis
    slices: Annotated[int, Predicate(has_middle), doc("an odd number of slices")] = 1
    window: WindowKeys = WindowKeys(Window.kind, Window.low, Window.high)
    pooling: PoolingKeys = PoolingKeys(Pooling.kind)

    def card(self) -> VolumeCard:
        """Return what they say, with the defaults of what they leave out."""
        pooling = Pooling(self.pooling.kind, self.pooling.k)
        return VolumeCard(self.axis, self.slices, self.window.window(), pooling)


def with_ends(volume: object) -> object:
    """Return what stands under ``volume`` in JSON, with both ends of a window that needs none."""
    if not isinstance(volume, Mapping) or not isinstance(volume.get("window"), Mapping):
        return volume
    window: Mapping[str, Any] = volume["window"]
    kind = window.get("kind")
    if kind == "fixed":
        return volume
    low, high = Window.low, Window.high
    if kind == "zscore":
        low, high = _DEVIATIONS
    return {**volume, "window": {"low": low, "high": high, **window}}


def volume_object(card: VolumeCard) -> dict[str, object]:
    """Return what ``card.json`` holds under ``volume``."""
    pooling: dict[str, object] = {"kind": card.pooling.kind}
    if card.pooling.kind == "top-k":
        pooling["k"] = card.pooling.k
    return {
        "axis": card.axis,
        "slices": card.slices,
        "window": {
            "kind": card.window.kind,
            "low": card.window.low,
            "high": card.window.high,
        },
        "pooling": pooling,
    }
