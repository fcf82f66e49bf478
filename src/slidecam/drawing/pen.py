"""A sheet to draw on in inches from its top left corner.

Matplotlib's objects and none of its globals.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font
from matplotlib.patches import FancyBboxPatch

from slidecam.drawing.style import DPI, FAMILY, INK, LINE, length_words, round_length

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

UNDRAWABLE = "\N{WHITE SQUARE}"


@dataclass(frozen=True)
class Place:
    """A rectangle in inches from the top left corner: left, top, width, height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Type:
    """How words look: points, colour, weight, and which of their ends stands at the given place."""

    points: float
    color: str = INK
    weight: Literal["normal", "bold"] = "normal"
    align: Literal["left", "right", "center"] = "left"


class Pen:
    """A white sheet of ``width`` x ``height`` inches."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self._figure)
        # Fonts of its own: they keep a size, and pictures are drawn in several threads.
        self._fonts = {weight: _font(weight) for weight in ("normal", "bold")}

    def text(self, left: float, top: float, words: str, look: Type, width: float = 1000) -> None:
        """Write one line whose base lies at ``top``, cut if longer than ``width`` inches."""
        self._figure.text(
            left / self.width,
            1 - top / self.height,
            self._fitted(drawable(words), look, width),
            fontsize=look.points,
            color=look.color,
            weight=look.weight,
            family=FAMILY,
            ha=look.align,
            va="baseline",
            # A slide may be called "$5": it is no formula, whatever the user's settings are.
            parse_math=False,
            usetex=False,
        )

    def image(self, place: Place, pixels: NDArray[np.uint8]) -> None:
        """Show pixels, uint8 (height, width, 3), filling a place, with a hairline round them."""
        axes = self._figure.add_axes(self._fractions(place), xticks=[], yticks=[])
        axes.imshow(pixels, aspect="auto", interpolation="antialiased")
        for spine in axes.spines.values():
            spine.set(edgecolor=LINE, linewidth=0.8)

    def box(self, place: Place, color: str, rounding: float = 0.0) -> None:
        """Fill a rectangle, its corners rounded by so many inches."""
        left, bottom, _, _ = self._fractions(place)
        shape = FancyBboxPatch(
            (left * self.width, bottom * self.height),
            place.width,
            place.height,
            boxstyle=f"round,pad=0,rounding_size={rounding}" if rounding else "square,pad=0",
            facecolor=color,
            edgecolor="none",
            transform=self._figure.dpi_scale_trans,
        )
        self._figure.add_artist(shape)

    def save(self, path: Path, said: Sequence[str] = ()) -> None:
        """Write a PNG, the same bytes each time; ``said`` are sentences that it carries as text."""
        words = {"Software": "slidecam"}
        if said:
            words["Description"] = "\n".join(said)
        self._figure.savefig(
            path,
            format="png",
            dpi=DPI,
            metadata=words,
            # Half of the seconds of the usual 6, an eighth more bytes.
            pil_kwargs={"compress_level": 3},
        )

    def measure(self, words: str, look: Type) -> float:
        """Return the width of words in inches."""
        font = self._fonts[look.weight]
        font.set_size(look.points, DPI)
        font.set_text(words)
        return float(font.get_width_height()[0]) / 64 / DPI

    def scale_bar(self, place: Place, width_um: float, share: float) -> None:
        """Draw a bar of a round length below a picture's place.

        Parameters
        ----------
        place
            Of a picture that is ``width_um`` µm wide.
        width_um
            Its width in µm.
        share
            Of the width that the bar may take.
        """
        length = round_length(share * width_um)
        inches = length / width_um * place.width
        top = place.top + place.height + 0.17
        self.box(Place(place.left, top, inches, 0.055), INK)
        self.text(place.left + inches + 0.1, top + 0.075, length_words(length), Type(9.5))

    def _fitted(self, words: str, look: Type, width: float) -> str:
        if self.measure(words, look) <= width:
            return words
        lengths = range(1, len(words))
        fitting = bisect_right(
            lengths, width, key=lambda length: self.measure(words[:length] + "…", look)
        )
        return words[:fitting].rstrip() + "…"

    def _fractions(self, place: Place) -> tuple[float, float, float, float]:
        """Return left, bottom, width, height as shares of the sheet, as matplotlib counts."""
        bottom = 1 - (place.top + place.height) / self.height
        return (
            place.left / self.width,
            bottom,
            place.width / self.width,
            place.height / self.height,
        )


def drawable(words: str) -> str:
    """Return words with a white square for each letter that the font lacks.

    Matplotlib would warn of it, and a slide or a class may well be named in Chinese.
    """
    font = _letters()
    letters = (letter if font.get_char_index(ord(letter)) else UNDRAWABLE for letter in words)
    return "".join(letters)


@lru_cache
def _letters() -> FT2Font:
    return _font("normal")


def _font(weight: str) -> FT2Font:
    return FT2Font(str(findfont(FontProperties(family=FAMILY, weight=weight))))
