"""How a volume is looked at.

Along which axis, how many slices at a time, and what is black and white.

A classifier's card says so for its classifier, and a source shows its planes by it; neither knows
the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from slidecam.errors import UsageError
from slidecam.geometry import AXES, Axis

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

WindowKind = Literal["percentile", "zscore", "fixed"]

WINDOW_KINDS: tuple[WindowKind, ...] = get_args(WindowKind)

EXAMPLES = '{"kind": "percentile", "low": 1, "high": 99.5}'
HUNDRED = 100.0
ROBUST = 2.0, 98.0
"""Percentiles between which FSL's BET takes its threshold.

See Smith, Human Brain Mapping 2002, section 2.1.
"""

LEAST_SHARE = 1e-3
"""Width of the window of a mask of one large value, in shares of it: float32 tells its ends."""

ABOVE_AIR = 0.1
"""How far up between them the threshold lies: what is darker is air."""


@dataclass(frozen=True)
class Window:
    """Which intensities of a volume are shown as black and as white; what lies between is linear.

    Attributes
    ----------
    kind
        ``percentile``: of the voxels above air; ``zscore``: their mean plus so many standard
        deviations; ``fixed``: the intensities themselves.
    low, high
        Black and white, in the unit of the kind.

    Raises
    ------
    UsageError
        If there is no such kind, or the numbers are no range of it.
    """

    kind: WindowKind = "percentile"
    low: float = 1.0
    high: float = 99.5

    def __post_init__(self) -> None:
        if self.kind not in WINDOW_KINDS:
            raise UsageError(
                f"there is no window {self.kind!r}.",
                f"Write one of {', '.join(WINDOW_KINDS)}.",
            )
        # Written so that not-a-number is refused too.
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError(
                f"a window from {self.low} to {self.high} shows nothing.",
                f"Write {EXAMPLES}.",
            )
        if self.kind == "percentile" and not (self.low >= 0 and self.high <= HUNDRED):
            raise UsageError(
                f"percentiles {self.low:g} to {self.high:g} are out of range.",
                f"Write {EXAMPLES}.",
            )

    @property
    def words(self) -> str:
        """What its ends are, for people."""
        ends = f"{self.low:g} to {self.high:g}"
        if self.kind == "percentile":
            return f"percentiles {ends}"
        if self.kind == "zscore":
            return f"the mean and {ends} standard deviations"
        return f"the intensities {ends}"

    def limits(self, sample: NDArray[np.float32]) -> tuple[float, float]:
        """Return the intensities that become black and white, from a sample of the voxels."""
        if self.kind == "fixed":
            return self.low, self.high
        known = sample[np.isfinite(sample)]
        body = known[known > air_below(known)]
        if not body.size:
            return 0.0, 1.0
        if self.kind == "percentile":
            low, high = (float(value) for value in np.percentile(body, (self.low, self.high)))
        else:
            mean, deviation = (
                float(body.mean(dtype=np.float64)),
                float(body.std(dtype=np.float64)),
            )
            low, high = mean + self.low * deviation, mean + self.high * deviation
        # A mask of one value has no contrast: it is shown white on black.
        if high > low:
            return low, high
        return low - max(1.0, abs(low) * LEAST_SHARE), low


def air_below(values: NDArray[np.float32]) -> float:
    """Return the intensity up to which a voxel is air; all are finite, any shape.

    The threshold of FSL's BET: a tenth of the way from the 2nd to the 98th percentile. Where most
    of the volume is one value (a skull-stripped brain, a mask), that value is air.
    """
    if not values.size:
        return 0.0
    low, high = np.percentile(values, ROBUST)
    if high <= low:
        return float(values.min())
    return float(low + ABOVE_AIR * (high - low))


FULL_RANGE = "full"
"""What is passed for a window to have none."""

_WINDOW_REMEDY = "Pass LOW,HIGH (120,3400), LOW%,HIGH% (1%,99.5%), or full for none."


def window_of(text: str) -> Window:
    """Return the window that ``--window`` names: ``120,3400`` or ``1%,99.5%``.

    Raises
    ------
    UsageError
        If it is none.
    """
    kind: WindowKind = "fixed"
    low_end, _comma, high_end = map(str.strip, text.partition(","))
    if low_end.endswith("%") and high_end.endswith("%"):
        kind, low_end, high_end = "percentile", low_end[:-1], high_end[:-1]
    try:
        return Window(kind, float(low_end), float(high_end))
    except ValueError as error:
        raise UsageError(f"{text!r} is no window.", _WINDOW_REMEDY) from error


Profile = Literal["ignore", "srgb"]


@dataclass(frozen=True)
class PictureView:
    """Which of a file's pictures is the slide, and in which colours it is shown.

    Attributes
    ----------
    image
        Of a file with several pictures: its number from 1, or its name. None for the largest that
        is no label, macro, overview or thumbnail.
    plane, time
        Of a stack: the number of the plane, or of the point in time, from 1. None where there is
        but one: a stack is refused then, since none of its planes is *the* slide.
    channels
        Which channels are red, green and blue, by number from 1 or by name; one alone is grey.
        Empty for what the file says.
    profile
        ``srgb``: the file's ICC profile is applied, and colours are those of sRGB. ``ignore``:
        pixels are as stored, which is how most classifiers were trained. None
        for what the card says, and ``ignore`` where there is none.
    window
        The samples that are black and white, as `window_of` reads them, of a volume or a picture of
        more than 8 bits; ``full`` for all of a picture's range. None for what the card says, or
        slidecam finds.

    Raises
    ------
    UsageError
        If a number is below 1, there are two channels or more than three, no such profile, or the
        window is none.
    """

    image: str | None = None
    plane: int | None = None
    time: int | None = None
    channels: tuple[str, ...] = ()
    profile: Profile | None = None
    window: str | None = None

    def __post_init__(self) -> None:
        if self.window not in {None, FULL_RANGE}:
            window_of(str(self.window))
        for name, number in (("plane", self.plane), ("time", self.time)):
            if number is not None and number < 1:
                raise UsageError(f"There is no {name} {number}.", "They count from 1.")
        if len(self.channels) not in {0, 1, 3}:
            raise UsageError(
                f"{len(self.channels)} channels are no colour.",
                "Name three, which are red, green and blue, or one, which is grey.",
            )
        if self.profile not in (None, *get_args(Profile)):
            raise UsageError(
                f"There is no profile {self.profile!r}.",
                f"Pass one of {', '.join(get_args(Profile))}.",
            )

    @property
    def chosen(self) -> dict[str, Any]:
        """What was chosen by name or number: empty where the file decides all of it."""
        found: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value != each.default:
                found[each.name] = value
        return found

    def without(self, names: Collection[str]) -> PictureView:
        """Return the view with these fields left to the file."""
        kept = {name: value for name, value in self.chosen.items() if name not in names}
        return PictureView(**kept)


AS_THE_FILE_SAYS = PictureView()


@dataclass(frozen=True)
class VolumeView:
    """How a volume is shown as pictures, plane by plane.

    Attributes
    ----------
    axis
        Along which slices follow each other.
    slices
        Odd. 1: a picture is one slice, in grey. More: a window of that many neighbouring slices, of
        which the first, the middle and the last are red, green and blue.
    window
        Black and white, where ``slide`` chooses no other.
    volume
        Which volume of a 4-D file: its number from 0 or its name; None for the first.
    keep_identifiers
        Whether names and paths that hold a patient's identifiers may be shown.
    slide
        How a slide is seen; of it a volume knows the window alone.

    Raises
    ------
    UsageError
        If there is no such axis, or ``slices`` is even or below 1.
    """

    axis: Axis = "axial"
    slices: int = 1
    window: Window = field(default_factory=Window)
    volume: str | None = None
    keep_identifiers: bool = False
    slide: PictureView = AS_THE_FILE_SAYS

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise UsageError(f"There is no axis {self.axis!r}.", f"Pass one of {', '.join(AXES)}.")
        if not has_middle(self.slices):
            raise UsageError(
                f"A window of {self.slices} slices has no middle.",
                "Pass an odd number of slices.",
            )

    @property
    def shown_window(self) -> Window:
        """The window of a volume: that which was chosen, else the card's."""
        if self.slide.window in {None, FULL_RANGE}:
            return self.window
        return window_of(str(self.slide.window))


def has_middle(slices: int) -> bool:
    """Whether one of so many neighbouring slices lies in the middle."""
    return slices >= 1 and slices % 2 == 1


DEFAULT_VIEW = VolumeView()
