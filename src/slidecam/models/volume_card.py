"""What a card says of volumes.

How slices become pictures, and how their probabilities become one call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np

from slidecam.errors import UsageError
from slidecam.viewing import WINDOW_KINDS, VolumeView, Window

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
        return np.asarray(pooled / pooled.sum() if exclusive else pooled)


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
    if fields.values.get("volume") is None:
        return None
    volume = fields.section("volume", {"axis": "axial"})
    plain = VolumeCard()
    window = None
    if "window" in volume.values:
        window = volume.section("window", {"kind": "percentile"})
    pooling = None
    if "pooling" in volume.values:
        pooling = volume.section("pooling", {"kind": "mean"})
    axis: str = plain.axis
    if "axis" in volume.values:
        axis = volume.text("axis", plain.axis)
    slices = plain.slices
    if "slices" in volume.values:
        slices = volume.whole("slices", 1)
    return VolumeCard(
        cast("Axis", axis),  # checked by check_volume_card
        slices,
        plain.window if window is None else _window(window),
        plain.pooling if pooling is None else _pooling(pooling),
    )


def check_volume_card(card: VolumeCard, fields: JsonFields) -> None:
    """Refuse what no volume could be shown or pooled by; CardError."""
    try:
        VolumeView(card.axis, card.slices, card.window)
    except UsageError as error:
        raise fields.error(
            "volume", f"says something impossible: {error.problem}", error.remedy
        ) from error
    if card.pooling.kind not in get_args(PoolingKind):
        problem = f"is {card.pooling.kind!r}"
        raise fields.error(
            "volume.pooling.kind", problem, f"Write one of {', '.join(get_args(PoolingKind))}."
        )
    if card.pooling.k < 1:
        raise fields.error(
            "volume.pooling.k", f"is {card.pooling.k}", "Write a number of slices, at least 1."
        )


def volume_object(card: VolumeCard) -> dict[str, object]:
    """Return what ``card.json`` holds under ``volume``."""
    pooling: dict[str, object] = {"kind": card.pooling.kind}
    if card.pooling.kind == "top-k":
        pooling["k"] = card.pooling.k
    return {
        "axis": card.axis,
        "slices": card.slices,
        "window": {"kind": card.window.kind, "low": card.window.low, "high": card.window.high},
        "pooling": pooling,
    }


def _window(fields: JsonFields) -> Window:
    kind = fields.text("kind", "percentile")
    if kind not in WINDOW_KINDS:
        raise fields.error("kind", f"is {kind!r}", f"Write one of {', '.join(WINDOW_KINDS)}.")
    try:
        # without numbers, those of the kind that everybody uses
        low, high = {"percentile": (1.0, 99.5), "zscore": (-2.0, 2.0)}.get(kind, (None, None))
        return Window(
            kind,
            fields.number("low", 1.0) if "low" in fields.values or low is None else low,
            fields.number("high", 99.5) if "high" in fields.values or high is None else high,
        )
    except UsageError as error:
        raise fields.error(
            "kind", f"makes an impossible window: {error.problem}", error.remedy
        ) from error


def _pooling(fields: JsonFields) -> Pooling:
    k = Pooling.k
    if "k" in fields.values:
        k = fields.whole("k", Pooling.k)
    return Pooling(cast("PoolingKind", fields.text("kind", "mean")), k)
