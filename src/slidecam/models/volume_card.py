"""What a card says of volumes.

How slices become pictures, and how their probabilities become one call.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np

from slidecam.errors import UsageError
from slidecam.viewing import WINDOW_KINDS, VolumeView, Window, WindowKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.geometry import Axis
    from slidecam.models.fields import JsonFields

PoolingKind = Literal["mean", "top-k", "max"]


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


def read_volume_card(fields: JsonFields) -> VolumeCard | None:
    """Return what a card says under ``volume``, or None where it says nothing.

    CardError where it is impossible.
    """
    if not fields.has("volume"):
        return None
    volume = fields.section("volume", {"axis": "axial"})
    card = VolumeCard()
    if "axis" in volume.values:
        axis = volume.text("axis", card.axis)
        card = replace(card, axis=cast("Axis", axis))  # checked by check_volume_card
    if "slices" in volume.values:
        card = replace(card, slices=volume.whole("slices", 1))
    if "window" in volume.values:
        card = replace(card, window=_window(volume.section("window", {"kind": "percentile"})))
    if "pooling" in volume.values:
        card = replace(card, pooling=_pooling(volume.section("pooling", {"kind": "mean"})))
    return card


def check_volume_card(card: VolumeCard, fields: JsonFields) -> None:
    """Refuse what no volume could be shown or pooled by; CardError."""
    try:
        VolumeView(card.axis, card.slices, card.window)
    except UsageError as error:
        problem = f"says something impossible: {error.problem}"
        raise fields.error("volume", problem, error.remedy) from error
    pooling = card.pooling
    fields.check_choice("volume.pooling.kind", pooling.kind, get_args(PoolingKind))
    if pooling.k < 1:
        remedy = "Write a number of slices, at least 1."
        raise fields.error("volume.pooling.k", f"is {pooling.k}", remedy)


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


def _window(fields: JsonFields) -> Window:
    kind = fields.text("kind", "percentile")
    fields.check_choice("kind", kind, WINDOW_KINDS)
    # without numbers, those of the kind that everybody uses
    known = {
        "percentile": {"low": 1.0, "high": 99.5},
        "zscore": {"low": -2.0, "high": 2.0},
    }
    ends = known.get(kind, {})
    for key, example in (("low", 1.0), ("high", 99.5)):
        if key in fields.values or key not in ends:
            ends[key] = fields.number(key, example)
    try:
        return Window(cast("WindowKind", kind), **ends)
    except UsageError as error:
        problem = f"makes an impossible window: {error.problem}"
        raise fields.error("kind", problem, error.remedy) from error


def _pooling(fields: JsonFields) -> Pooling:
    k = Pooling.k
    if "k" in fields.values:
        k = fields.whole("k", Pooling.k)
    return Pooling(cast("PoolingKind", fields.text("kind", "mean")), k)
