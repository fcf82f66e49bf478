"""The sheet that pictures are drawn on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from slidecam.drawing.pen import Pen, Place, Type, drawable, shrunk
from slidecam.drawing.style import DPI, as_hex

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LOOK = Type(10)


def pixels(pen: Pen, folder: Path) -> NDArray[np.uint8]:
    pen.save(folder / "sheet.png")
    with Image.open(folder / "sheet.png") as image:
        return np.asarray(image.convert("RGB"))


def test_a_box_stands_where_it_was_put_in_inches_from_the_top_left(tmp_path: Path) -> None:
    pen = Pen(4, 2)
    pen.box(Place(1, 0.5, 2, 1), "#ff0000")
    picture = pixels(pen, tmp_path)
    assert picture.shape == (2 * DPI, 4 * DPI, 3)
    red = (picture[:, :, 1] == 0).nonzero()
    assert (red[0].min(), red[0].max() + 1) == pytest.approx((0.5 * DPI, 1.5 * DPI), abs=1)
    assert (red[1].min(), red[1].max() + 1) == pytest.approx((DPI, 3 * DPI), abs=1)


def test_an_image_fills_its_place_right_way_up(tmp_path: Path) -> None:
    pen = Pen(4, 2)
    halves = np.zeros((2, 1, 3), np.uint8)
    halves[0, 0], halves[1, 0] = (255, 0, 0), (0, 0, 255)
    pen.image(Place(1, 0.5, 2, 1), halves)
    picture = pixels(pen, tmp_path)
    assert picture[int(0.7 * DPI), 2 * DPI].tolist() == [255, 0, 0]
    assert picture[int(1.3 * DPI), 2 * DPI].tolist() == [0, 0, 255]
    assert picture[int(0.3 * DPI), 2 * DPI].tolist() == [255, 255, 255]


def test_a_picture_of_the_size_of_its_place_is_shown_pixel_by_pixel(tmp_path: Path) -> None:
    pen, place = Pen(4, 2), Place(0.907, 0.513, 1.33, 0.71)
    noise = np.random.default_rng(4).integers(0, 256, (397, 611, 3), np.uint8)
    small = shrunk(noise, place.pixels)
    assert small.shape[:2] == (place.pixels[1], place.pixels[0])
    pen.image(place, small)
    top, left = round(0.513 * DPI), round(0.907 * DPI)
    shown = pixels(pen, tmp_path)[top : top + small.shape[0], left : left + small.shape[1]]
    assert np.array_equal(shown[1:-1, 1:-1], small[1:-1, 1:-1])


def test_a_picture_is_not_enlarged_before_it_is_shown() -> None:
    tile = np.random.default_rng(5).integers(0, 256, (31, 47, 3), np.uint8)
    assert shrunk(tile, (47 * 2, 31)) is tile


def test_words_that_are_too_long_are_cut_to_their_room() -> None:
    pen = Pen(4, 2)
    cut = pen._fitted("averylongnameofaslide", LOOK, 1.0)
    assert cut.startswith("avery")
    assert cut.endswith("…")
    assert pen.measure(cut, LOOK) <= 1.0
    assert pen.measure("averylongnameofaslide"[: len(cut)] + "…", LOOK) > 1.0


def test_words_that_fit_are_left_alone() -> None:
    assert Pen(4, 2)._fitted("short", LOOK, 1.0) == "short"


def test_the_measure_of_words_is_what_is_drawn(tmp_path: Path) -> None:
    pen = Pen(4, 1)
    pen.text(0.5, 0.6, "Hamburgefonts", Type(14, weight="bold"))
    dark = (pixels(pen, tmp_path).min(axis=2) < 200).any(axis=0).nonzero()[0]
    drawn = (dark.max() - dark.min()) / DPI
    assert pen.measure("Hamburgefonts", Type(14, weight="bold")) == pytest.approx(drawn, abs=0.05)


def test_what_the_font_lacks_becomes_a_square() -> None:
    assert drawable("a腫\nb") == "a□□b"


def test_colours_are_told_in_hexadecimal() -> None:
    assert as_hex((0, 128, 255)) == "#0080ff"


def test_a_sheet_is_a_png_that_carries_its_sentences_and_its_dots(tmp_path: Path) -> None:
    pen = Pen(1.37, 0.83)
    pen.box(Place(0.2, 0.1, 0.61, 0.3), "#a03050")
    pen.save(tmp_path / "sheet.png", ["Größe und µm.", "Not for diagnosis."])
    with Image.open(tmp_path / "sheet.png") as picture:
        picture.load()
        assert picture.info["dpi"] == pytest.approx((DPI, DPI), abs=0.02)
        assert picture.info["Software"] == "slidecam"
        assert picture.info["Description"] == "Größe und µm.\nNot for diagnosis."
        assert picture.size == (round(1.37 * DPI), round(0.83 * DPI))
        assert picture.getpixel((round(0.5 * DPI), round(0.25 * DPI))) == (0xA0, 0x30, 0x50)
        assert picture.getpixel((3, 3)) == (255, 255, 255)
