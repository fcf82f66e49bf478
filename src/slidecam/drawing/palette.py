"""The colours, the font and the resolution that all pictures and charts have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def as_hex(color: RGB) -> str:
    """Return a colour of three values from 0 to 255 as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)
