"""Charts draw whatever classes are called."""

from __future__ import annotations

import numpy as np
import pytest

from slidecam.drawing.pen import add_legend, picture_of, pixels_of, plain, sheet, stacked_bars


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("_background", "\N{HAIR SPACE}_background"),
        ("US$ or CA$", r"US\$ or CA\$"),
        ("胃 mucosa", "□ mucosa"),
        ("a name far longer than a legend", "a name far longer tha…"),
    ],
)
def test_names_are_drawn_as_they_are_and_never_as_formulas(name: str, drawn: str) -> None:
    assert plain(name) == drawn


def test_a_class_whose_name_begins_with_an_underscore_is_in_the_legend() -> None:
    _figure, axes = sheet(4.2, 3.1)
    axes.plot([0, 1], [0, 1], label=plain("_background"))
    add_legend(axes, "best")
    legend = axes.get_legend()
    assert legend is not None
    assert [words.get_text() for words in legend.get_texts()] == ["\N{HAIR SPACE}_background"]


def test_a_chart_is_as_large_as_its_inches_and_the_same_each_time() -> None:
    drawn = []
    for _ in range(2):
        figure, axes = sheet(2.3, 1.7)
        axes.plot([0, 1], [1, 0])
        drawn.append(figure)
    pixels, picture = pixels_of(drawn[0]), picture_of(drawn[1])
    assert pixels.shape == (255, 345, 3)
    assert picture.tobytes() == pixels.tobytes()


def test_bars_are_as_long_as_their_counts_and_the_largest_of_many_are_drawn() -> None:
    counts = {"train": [40, 0, 13], "test": [7, 3, 0]}
    picture = stacked_bars(["a", "b", "c"], counts, ("#d55e00", "#009e73"), "Pictures", "n")
    pixels = np.asarray(picture)
    orange = (pixels == (0xD5, 0x5E, 0x00)).all(axis=2).sum(axis=1)
    green = (pixels == (0x00, 0x9E, 0x73)).all(axis=2).sum(axis=1)
    widths = {int(width) for width in np.unique(orange[orange > 60])}
    assert max(widths) / min(widths) == pytest.approx(40 / 13, abs=0.05)
    assert int(green.max()) / max(widths) == pytest.approx(7 / 40, abs=0.02)
    many = stacked_bars(list(map(str, range(61))), {"all": range(61)}, ("#000000",), "Many", "n")
    assert many.height < 1500
