"""A sheet to draw on in inches from its top left corner, and charts with axes that look alike.

Charts are matplotlib's, of its objects and none of its globals.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from imagecodecs import PNG, png_encode
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo, putchunk

from slidecam.drawing.style import DPI, FAMILY, INK, LINE, MUTED, length_words, round_length

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

QUICKLY = {"level": 1, "strategy": PNG.STRATEGY.RLE, "filter": PNG.FILTER.UP}
"""How a PNG is packed: in a third of the seconds of Pillow's quickest, with a tenth more bytes.

Pillow tries all filters on each line and lets none be chosen.
"""

HEAD_BYTES = 33
"""A PNG's signature and its first chunk, behind which others may stand."""

METRES_PER_INCH, PER_METRE = 0.0254, 1

UNDRAWABLE = "\N{WHITE SQUARE}"

ANCHORS = {"left": "ls", "right": "rs", "center": "ms"}
"""What Pillow calls the ends of a line on its base."""

FINER = 8
"""Parts of a pixel's edge that boxes are drawn to."""

SQUARES = 3
"""Times that a picture is enlarged from which on its pixels are shown as squares."""


@dataclass(frozen=True)
class Place:
    """A rectangle in inches from the top left corner: left, top, width, height."""

    left: float
    top: float
    width: float
    height: float

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of the picture that is shown there."""
        return max(1, round(self.width * DPI)), max(1, round(self.height * DPI))


@dataclass(frozen=True)
class Type:
    """How words look: points, colour, weight, and which of their ends stands at the given place."""

    points: float
    color: str = INK
    weight: Literal["normal", "bold"] = "normal"
    align: Literal["left", "right", "center"] = "left"


class Pen:
    """A white sheet of ``width`` x ``height`` inches.

    Drawn by Pillow: matplotlib takes five times the seconds for the same words and pictures.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._sheet = Image.new("RGB", (round(width * DPI), round(height * DPI)), "white")
        self._draw = ImageDraw.Draw(self._sheet)
        # Fonts of its own: pictures are drawn in several threads.
        self._fonts: dict[tuple[float, str], ImageFont.FreeTypeFont] = {}

    def text(self, left: float, top: float, words: str, look: Type, width: float = 1000) -> None:
        """Write one line whose base lies at ``top``, cut if longer than ``width`` inches."""
        place = left * DPI, top * DPI
        line = self._fitted(drawable(words), look, width)
        self._draw.text(place, line, look.color, self._font(look), ANCHORS[look.align])

    def image(self, place: Place, pixels: NDArray[np.uint8]) -> None:
        """Show pixels, uint8 (height, width, 3), filling a place, with a hairline round them."""
        left, top, size = round(place.left * DPI), round(place.top * DPI), place.pixels
        picture = Image.fromarray(pixels)
        self._sheet.paste(picture.resize(size, _filter(picture.size, size)), (left, top))
        edges = (left - 1, top - 1, left + size[0], top + size[1])
        self._draw.rectangle(edges, outline=LINE, width=2)

    def box(self, place: Place, color: str, rounding: float = 0.0) -> None:
        """Fill a rectangle, its corners rounded by so many inches."""
        left, top = math.floor(place.left * DPI), math.floor(place.top * DPI)
        right = math.ceil((place.left + place.width) * DPI)
        bottom = math.ceil((place.top + place.height) * DPI)
        fine = Image.new("L", ((right - left) * FINER, (bottom - top) * FINER))
        corners = (
            (place.left * DPI - left) * FINER,
            (place.top * DPI - top) * FINER,
            ((place.left + place.width) * DPI - left) * FINER - 1,
            ((place.top + place.height) * DPI - top) * FINER - 1,
        )
        round_px = min(rounding, place.width / 2, place.height / 2) * DPI * FINER
        ImageDraw.Draw(fine).rounded_rectangle(corners, round_px, fill=255)
        cover = fine.reduce(FINER)
        self._sheet.paste(color, (left, top, right, bottom), cover)

    def save(self, path: Path, said: Sequence[str] = ()) -> None:
        """Write a PNG, the same bytes each time; ``said`` are sentences that it carries as text."""
        words = PngInfo()
        dots = round(DPI / METRES_PER_INCH)
        words.add(b"pHYs", struct.pack(">IIB", dots, dots, PER_METRE))
        words.add_text("Software", "slidecam")
        if said:
            words.add_itxt("Description", "\n".join(said))
        picture = png_encode(np.asarray(self._sheet), **QUICKLY)
        with path.open("wb") as file:
            file.write(picture[:HEAD_BYTES])
            for name, content, _ in words.chunks:
                putchunk(file, name, content)
            file.write(picture[HEAD_BYTES:])

    def measure(self, words: str, look: Type) -> float:
        """Return the width of words in inches."""
        return float(self._font(look).getlength(words)) / DPI

    def _font(self, look: Type) -> ImageFont.FreeTypeFont:
        key = look.points, look.weight
        if key not in self._fonts:
            file = str(findfont(FontProperties(family=FAMILY, weight=look.weight)))
            # Basic: the layout is the same on machines with and without Raqm.
            basic = ImageFont.Layout.BASIC
            self._fonts[key] = ImageFont.truetype(file, look.points * DPI / 72, layout_engine=basic)
        return self._fonts[key]

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
            lengths,
            width,
            key=lambda length: self.measure(words[:length] + "…", look),
        )
        return words[:fitting].rstrip() + "…"


def shrunk(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture as a pen shows it at a size (width, height), which is not larger.

    What is laid over it is then computed for the pixels that are seen. Larger pictures alone are
    changed.
    """
    if pixels.shape[1] < size[0] or pixels.shape[0] < size[1]:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.HAMMING))


def _filter(size: tuple[int, int], shown: tuple[int, int]) -> Image.Resampling:
    """Return how a picture is shown larger or smaller: pixels that are seen as such stay square."""
    if shown[0] >= SQUARES * size[0] and shown[1] >= SQUARES * size[1]:
        return Image.Resampling.NEAREST
    return Image.Resampling.HAMMING


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


LegendPlace = Literal["lower right", "upper left", "upper center", "best"]

LONGEST = 22
"""Letters of a name that are shown."""


def blank_figure(
    width: float,
    height: float,
    dpi: int = DPI,
    layout: Literal["constrained"] | None = None,
) -> Figure:
    """Return a white figure of ``width`` x ``height`` inches, whose axes are still to be placed."""
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure and its only axes."""
    figure, grid = grid_of(1, 1, width, height)
    return figure, grid[0]


def two_rows(width: float, height: float) -> tuple[Figure, Axes, Axes]:
    """Return a figure, its large axes, and small ones below that share their x."""
    figure = blank_figure(width, height, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    return figure, styled(above), styled(below)


def grid_of(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, row by row."""
    figure = blank_figure(width, height, layout="constrained")
    found = figure.subplots(rows, columns, squeeze=False)
    return figure, list(map(styled, found.ravel()))


def styled(axes: Axes) -> Axes:
    """Give axes the look of all: grey, and open above and on the right."""
    axes.tick_params(labelsize=9, colors=MUTED)
    for item in (axes.xaxis.label, axes.yaxis.label, axes.title):
        item.set(fontsize=10, color=INK)
    for side, spine in axes.spines.items():
        spine.set(edgecolor=LINE, visible=side in {"left", "bottom"})
    return axes


def add_legend(axes: Axes, place: LegendPlace, title: str = "") -> None:
    """Add a legend whose ground lets curves shine through."""
    legend = axes.legend(
        loc=place,
        fontsize=8.5,
        frameon=True,
        framealpha=0.85,
        edgecolor=LINE,
        title=title or None,
    )
    legend.get_title().set(fontsize=8.5, color=MUTED)


def plain(words: str, longest: int = LONGEST) -> str:
    """Return words as matplotlib draws them.

    No formulas, no glyph that its font lacks, no longer than is shown, and no underscore at the
    front, which would keep them out of a legend.
    """
    short = drawable(words)
    if len(short) > longest:
        short = short[: longest - 1].rstrip() + "…"
    if short.startswith("_"):
        short = f"\N{HAIR SPACE}{short}"
    return short.replace("$", r"\$")


def pixels_of(figure: Figure) -> NDArray[np.uint8]:
    """Return a drawn figure, uint8, (height, width, 3)."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def picture_of(figure: Figure) -> Image.Image:
    """Return a drawn figure as a picture."""
    return Image.fromarray(pixels_of(figure))


MOST_BARS = 24
"""Bars up to which their names can be read; of more, the largest are drawn."""


def stacked_bars(
    names: Sequence[str],
    series: Mapping[str, Sequence[int]],
    colors: Sequence[str],
    title: str,
    unit: str,
) -> Image.Image:
    """Return a picture of lying bars, one for each name, with its total at the end.

    Parameters
    ----------
    names
        In their order, from above.
    series
        Counts of each name by what a part of a bar is called, in the order of the parts.
    colors
        Of the parts.
    title, unit
        Of the chart, and of its counts.
    """
    totals = np.sum(list(series.values()), axis=0)
    shown = np.sort(np.argsort(-totals, kind="stable")[:MOST_BARS])
    if len(shown) < len(names):
        title += f", the {len(shown)} largest of {len(names)}"
    figure, axes = sheet(6.2, 1.3 + 0.34 * len(shown))
    places, left = np.arange(len(shown)), np.zeros(len(shown))
    for (part, counts), color in zip(series.items(), colors, strict=True):
        lengths = np.asarray(counts)[shown]
        axes.barh(places, lengths, left=left, color=color, label=plain(part), height=0.7)
        left += lengths
    for place, total in zip(places, left, strict=True):
        axes.annotate(
            f"{total:,.0f}",
            (total, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    axes.set_yticks(places, [plain(names[index]) for index in shown])
    axes.invert_yaxis()
    axes.set(xlabel=unit, title=title, xlim=(0, max(1, 1.12 * float(left.max(initial=0)))))
    if len(series) > 1:
        add_legend(axes, "best")
    return picture_of(figure)
