"""Heat has one look and one scale, whoever draws it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib import colormaps

from slidecam.drawing.heat import blended, glowing, heat_colors, heat_rgba, heat_table
from slidecam.drawing.style import (
    drawn_as_one,
    highest,
    length_words,
    percent_words,
    round_length,
    shares_of,
)
from slidecam.exchange.qupath import COLORMAP
from slidecam.reports.overlay import PALE, heat_scale
from slidecam.server.views import heat_colours


@pytest.mark.parametrize("signed", [False, True])
def test_the_page_and_the_reports_show_the_same_heat(signed: bool) -> None:  # noqa: FBT001
    table = heat_table(256, signed=signed)
    page = np.array(heat_colours()["signed" if signed else "plain"])
    np.testing.assert_array_equal(page, np.rint(table * 255))
    on_glass = blended(
        np.full((256, 3), PALE), (table[:, :3] * 255).astype(np.float32), table[:, 3:]
    )
    assert np.abs(on_glass - heat_scale(256, signed=signed)[0]).max() < 1 + 1e-3


@pytest.mark.parametrize("signed", [False, True])
def test_colours_are_matplotlibs_steps(signed: bool) -> None:  # noqa: FBT001
    values = np.random.default_rng(7).uniform(-1.03 if signed else -0.03, 1.03, (37, 41))
    named = colormaps["RdBu_r" if signed else "YlOrRd"]
    expected = named((values + 1) / 2 if signed else values)
    found = heat_rgba(values.astype(np.float32), signed=signed)
    differ = np.abs(found[..., :3] - expected[..., :3]).max(axis=-1) > 1e-6
    assert differ.mean() < 1e-3  # a value within float32 of a step's edge


def test_qupaths_other_colours_cover_the_slide_as_the_usual_ones_do() -> None:
    heat = np.linspace(0, 1, 37, dtype=np.float32)
    usual, cover = heat_colors(heat, signed=False)
    other, same = heat_colors(heat, signed=False, colormap=COLORMAP)
    np.testing.assert_array_equal(cover, same)
    assert (usual != other).any()


def test_on_a_dark_picture_little_heat_is_bare() -> None:
    dark = np.full((1, 3, 3), 20, np.uint8)
    shown = glowing(dark, np.array([[0.0, 0.17, 0.9]], np.float32))
    np.testing.assert_array_equal(shown[:, :2], dark[:, :2])
    assert shown[0, 2].max() > 150


def test_one_exploding_cell_of_a_thousand_does_not_set_the_scale() -> None:
    values = np.linspace(-3.3, 2.1, 1000)
    values[500] = 1e9
    ordered = np.sort(np.abs(values))
    place = 0.995 * 999
    expected = ordered[994] + (place - 994) * (ordered[995] - ordered[994])
    assert highest(values) == pytest.approx(expected)
    assert drawn_as_one(np.zeros((4, 4))) == 1.0


@pytest.mark.parametrize(
    ("signed", "expected"), [(False, [0, 0, 0.4, 1]), (True, [-1, -0.2, 0.4, 1])]
)
def test_what_leaves_the_scale_is_cut_to_its_ends(signed: bool, expected: list[float]) -> None:  # noqa: FBT001
    shares = shares_of(np.array([-7.0, -0.5, 1.0, 9.0]), 2.5, signed=signed)
    assert shares.dtype == np.float32
    assert shares.tolist() == pytest.approx(expected)


def test_a_scale_bar_is_a_round_length_in_the_unit_that_people_use() -> None:
    lengths = [round_length(longest) for longest in (0.73, 4.99, 731, 19_300)]
    assert [length_words(length) for length in lengths] == ["0.5 µm", "2 µm", "500 µm", "10 mm"]


def test_the_scale_is_known_without_matplotlib() -> None:
    rooms = "slidecam.drawing.style, slidecam.heatmap, slidecam.pixels"
    code = f"import sys, {rooms}; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603  (our own interpreter)


def test_a_share_is_told_in_whole_percents_and_never_as_none_where_there_is_one() -> None:
    shares = [0.0, 0.0004, 0.00999, 0.0149, 0.555, 1.0]
    assert [percent_words(share) for share in shares] == [
        "0 %", "<1 %", "<1 %", "1 %", "56 %", "100 %",
    ]  # fmt: skip


def test_signed_heat_is_the_middle_of_its_colours_where_it_says_nothing() -> None:
    values = np.array([-1.0, -0.37, 0.0, 0.61, 1.0])
    expected = np.asarray(colormaps["RdBu_r"]((values + 1) / 2))[:, :3]
    np.testing.assert_allclose(heat_rgba(values, signed=True)[:, :3], expected)
    # White in the middle, red for and blue against.
    red, _green, blue = heat_rgba(values, signed=True)[:, :3].T
    assert abs(red[2] - blue[2]) < 0.01
    assert red[4] > blue[4]
    assert red[0] < blue[0]
