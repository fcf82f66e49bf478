"""Charts draw whatever classes are called."""

from __future__ import annotations

import pytest

from slidecam.drawing.charts import add_legend, picture_of, pixels_of, plain, sheet


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
