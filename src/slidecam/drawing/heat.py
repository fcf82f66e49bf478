"""What heat looks like wherever it is drawn: its colours, and how much of the slide it covers.

Every painter takes its colours from `heat_rgba`: the reports, napari's layers, QuPath's pictures,
and the web page, which is sent `heat_table`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from slidecam.drawing.style import lowest_share
from slidecam.registry import deferred

if TYPE_CHECKING:
    import matplotlib as mpl
    from numpy.typing import NDArray
else:
    mpl = deferred("matplotlib")

COLORMAP = "YlOrRd"
"""Ever darker from low to high, in grey too and for those who see no red.

Faint where there is little.
"""

SIGNED_COLORMAP = "RdBu_r"
"""Red for a class, blue against it, which colour-blind readers tell apart; the middle is bare."""

DARK_COLORMAP = "inferno"
"""Ever brighter from low to high, for pictures that are dark themselves."""

FAINTEST, STRONGEST = 0.12, 0.92
"""How much of the slide the heat 0 and the heat 1 cover.

Tissue stays to be seen where the heat is low.
"""

STRONGEST_ON_DARK = 0.75
"""How much of a dark picture the heat 1 covers."""

BARE_ON_DARK = 0.18
"""Share of the heat below which a dark picture is bare."""


def heat_rgba(
    values: NDArray[np.floating], *, signed: bool, colormap: str = COLORMAP
) -> NDArray[np.float32]:
    """Return values' colours and covers of the slide, float32, (..., 4), 0 to 1.

    Parameters
    ----------
    values
        From 0 to 1, or from -1 if they are signed.
    signed
        Whether values below 0 speak against a class.
    colormap
        Matplotlib's name of other colours for what is not signed.
    """
    rgba = _named(values, colormap, signed=signed)
    rgba[..., 3] = FAINTEST + (STRONGEST - FAINTEST) * np.sqrt(np.abs(values))
    return rgba


def heat_colors(
    values: NDArray[np.float32], *, signed: bool, colormap: str = COLORMAP
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return values' colours, (..., 3), 0 to 255, and covers of the slide, (..., 1), 0 to 1.

    See `heat_rgba`.
    """
    rgba = heat_rgba(values, signed=signed, colormap=colormap)
    return rgba[..., :3] * np.float32(255), rgba[..., 3:]


def heat_table(count: int, *, signed: bool, colormap: str = COLORMAP) -> NDArray[np.float32]:
    """Return the colours and covers of ``count`` values from one end of the scale to the other.

    float32, (count, 4), 0 to 1.
    """
    shares = np.linspace(lowest_share(signed=signed), 1, count)
    return heat_rgba(shares, signed=signed, colormap=colormap)


def glowing(
    picture: NDArray[np.generic], heat: NDArray[np.generic], *, signed: bool = False
) -> NDArray[np.uint8]:
    """Lay heat over a dark picture: bare where there is little, ever brighter where there is more.

    Parameters
    ----------
    picture
        uint8, (height, width, 3).
    heat
        float32, (height, width), 0 to 1, or -1 to 1 if signed.
    """
    values = np.clip(np.asarray(heat, np.float32), lowest_share(signed=signed), 1)
    colors = _named(values, DARK_COLORMAP, signed=signed)[..., :3] * np.float32(255)
    strength = np.clip((np.abs(values) - BARE_ON_DARK) / (1 - BARE_ON_DARK), 0, 1)
    cover = (STRONGEST_ON_DARK * np.sqrt(strength))[..., None]
    return np.asarray(np.rint(blended(picture, colors, cover)), np.uint8)


def blended(
    under: NDArray[Any], over: NDArray[np.float32], cover: float | NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return colours laid over others, of which they cover a share; float32."""
    return np.asarray(under * (1 - cover) + over * cover, np.float32)


def enlarged(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Return a map or a picture at another size (width, height), interpolated linearly."""
    picture = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


def _named(values: NDArray[np.floating], colormap: str, *, signed: bool) -> NDArray[np.float32]:
    shares = values
    if signed:
        colormap, shares = SIGNED_COLORMAP, (values + 1) / 2
    colors = _colors_of(colormap)
    steps = np.asarray(shares * len(colors)).astype(np.intp)
    return np.take(colors, steps, axis=0, mode="clip")


@lru_cache
def _colors_of(colormap: str) -> NDArray[np.float32]:
    """Return a colormap's own steps: matplotlib looks a picture up in four times the seconds."""
    found = mpl.colormaps[colormap]
    return np.asarray(found(np.arange(found.N)), np.float32)
