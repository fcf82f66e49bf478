"""What looks alike wherever it is drawn: colours, the scale of heat, lengths and shares."""

from __future__ import annotations

import colorsys
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.pixels import RGB

DPI = 150
FAMILY = "DejaVu Sans"
"""Comes with matplotlib, so that a picture is the same on every machine."""

INK, MUTED, LINE, GRID, TRACK = "#1b1f24", "#5f6875", "#c9ced6", "#dde1e7", "#e9ecf0"
"""Words, lesser words, the edges of things, lines behind curves, and the ground of a bar."""

BLUE, ORANGE, GREEN, PINK, SKY, AMBER = HUES = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
)
"""Okabe and Ito's, which colour-blind readers can tell apart."""

MORE_HUES = (*HUES, "#7f3c8d", "#8c6d31", "#17becf", "#b03a48")
"""The same and a few more, for charts of many lines."""


PALETTE: tuple[RGB, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
)
"""Okabe and Ito's colours, which colour-blind readers can tell apart, without black."""


def as_hex(color: RGB) -> str:
    """Return a colour of three values from 0 to 255 as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def default_colors(count: int) -> tuple[RGB, ...]:
    """Return ``count`` colours: `PALETTE`, then hues spread by the golden ratio."""
    return PALETTE[:count] + tuple(_spread_color(index) for index in range(len(PALETTE), count))


def _spread_color(index: int) -> RGB:
    hue = index * 0.61803398875 % 1.0
    red, green, blue = colorsys.hsv_to_rgb(
        hue, 0.55 + 0.3 * (index % 2), 0.65 + 0.25 * (index // 2 % 2)
    )
    return round(red * 255), round(green * 255), round(blue * 255)


PERCENTILE = 99.5
"""Of raw values, that which is drawn as 1: robust against the few cells that explode."""

UM_PER_MM = 1000


def highest(values: NDArray[np.floating]) -> float:
    """Return the `PERCENTILE` of raw values' magnitudes; 0 where all of them are 0."""
    return float(np.percentile(np.abs(values), PERCENTILE))


def drawn_as_one(values: NDArray[np.floating]) -> float:
    """Return the raw value that is drawn as 1: `highest`, or 1 where there is no heat at all."""
    top = highest(values)
    if top > 0:
        return top
    return 1.0


def lowest_share(*, signed: bool) -> int:
    """Return the least value of heat on its scale: 0, or -1 where it speaks against too."""
    if signed:
        return -1
    return 0


def shares_of(
    values: NDArray[np.floating], top: float, *, signed: bool = False
) -> NDArray[np.float32]:
    """Return raw values as shares of the one that is drawn as 1, cut to the scale, float32."""
    shares = np.clip(values / top, lowest_share(signed=signed), 1)
    return np.asarray(shares, np.float32)


def round_length(longest: float) -> float:
    """Return the longest of 1, 2, 5, 10, … that is no longer than ``longest``."""
    power = 10.0 ** math.floor(math.log10(longest))
    return next(step * power for step in (5, 2, 1) if step * power <= longest)


def length_words(length: float) -> str:
    """Return a length in µm as people write it."""
    if length >= UM_PER_MM:
        return f"{length / UM_PER_MM:g} mm"
    return f"{length:g} µm"


def percent_words(share: float) -> str:
    """Return a share as people read it: in whole percents, and never as none where there is one."""
    percent = 100 * share
    if 0 < percent < 1:
        return "<1 %"
    return f"{percent:.0f} %"
