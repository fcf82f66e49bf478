"""Slides and training pictures become the same red, green and blue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import ExifTags, Image

from slidecam import pixels as pixels_module
from slidecam.geometry import LevelBox
from slidecam.learning.data.pixels import load_pixels, read_picture
from slidecam.pixels import (
    GLASS,
    PyramidWriter,
    halved,
    least_of_channels,
    most_of_channels,
    over_background,
    picture_in_rgb,
    reason,
    upright,
    upright_size,
)
from slidecam.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

ROTATE_BY_A_QUARTER = 6
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def halves() -> Image.Image:
    """Return 48 x 32 pixels, white above and black below."""
    picture = Image.new("RGB", (48, 32))
    picture.paste((255, 255, 255), (0, 0, 48, 16))
    return picture


def read_as_slide(path: Path) -> np.ndarray:
    with open_source(path) as source:
        size = source.facts.size
        return source.read(0, LevelBox(0, 0, size.width, size.height))


def test_an_orientation_that_only_xmp_tells_turns_slides_as_it_turns_training_pictures(
    tmp_path: Path,
) -> None:
    halves().save(tmp_path / "a.jpg", quality=95, xmp=XMP)
    taught = np.asarray(read_picture(tmp_path / "a.jpg"))
    assert taught.shape == (48, 32, 3)
    assert taught[:, 20:].min() > 200
    np.testing.assert_array_equal(read_as_slide(tmp_path / "a.jpg"), taught)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_exif_keeps_neither_a_slide_nor_a_training_picture_from_being_read(
    tmp_path: Path,
) -> None:
    halves().save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12")
    halves().save(tmp_path / "b.png", exif=b"Exif\0\0nothing of the kind")
    for name in ("a.png", "b.png"):
        taught = load_pixels(tmp_path / name, 32)
        assert taught.shape == (32, 32, 3)
        np.testing.assert_array_equal(read_as_slide(tmp_path / name), np.asarray(halves()))


def test_the_size_upright_is_known_before_anything_is_decoded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = ROTATE_BY_A_QUARTER
    halves().save(tmp_path / "a.png", exif=exif)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: content.index(b"IDAT") + 9])
    with Image.open(tmp_path / "a.png") as picture:
        assert upright_size(picture) == (32, 48)


def test_a_tiff_that_pillow_has_turned_already_is_not_turned_twice(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = ROTATE_BY_A_QUARTER
    halves().save(tmp_path / "a.tif", exif=exif)
    with Image.open(tmp_path / "a.tif") as picture:
        turned = np.asarray(upright(picture))
    np.testing.assert_array_equal(turned, np.rot90(np.asarray(halves()), k=-1))


def test_transparency_is_mixed_as_pillow_mixes_it() -> None:
    color, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    clear = np.dstack([color, color, color, alpha])
    paper = Image.new("RGB", (256, 256), GLASS)
    paper.paste(Image.fromarray(clear), mask=Image.fromarray(alpha))
    np.testing.assert_array_equal(over_background(clear, GLASS), np.asarray(paper))


@pytest.mark.parametrize(("value", "grey"), [(-5, 0), (32_896, 128), (70_000, 255)])
def test_whole_numbers_beyond_16_bits_are_cut_off_and_never_wrap(value: int, grey: int) -> None:
    picture = Image.fromarray(np.full((2, 3), value, np.int32))
    assert picture_in_rgb(picture).getpixel((1, 1)) == (grey, grey, grey)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("Truncated at byte 7.\nand a dump"), "Truncated at byte 7"),
        (EOFError(), "EOFError"),
        (OSError("Reading ward/a.svs: no such directory"), "no such directory"),
        (ValueError("x" * 300), "x" * 197 + "..."),
    ],
)
def test_what_a_library_says_is_worded_alike_for_slides_and_training_pictures(
    error: Exception, words: str
) -> None:
    assert reason(error) == words


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_that_is_told_is_the_upright_pictures(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    halves().save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as picture:
        assert upright_size(picture) == upright(picture).size


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_channels_are_compared_pixel_by_pixel(dtype: str) -> None:
    pixels = np.random.default_rng(11).integers(0, 256, (7, 5, 3)).astype(dtype)
    assert np.array_equal(most_of_channels(pixels), pixels.max(axis=2))
    assert np.array_equal(least_of_channels(pixels), pixels.min(axis=2))


@pytest.mark.parametrize("most", [1, 700, 8_000_000])
@pytest.mark.parametrize("rows", [1, 3, 7, 16, 41, 97])
def test_levels_filled_at_once_are_those_halved_one_by_one(
    rows: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels_module, "HELD_VALUES", most)
    values = np.random.default_rng(7).random((2, 97, 53), dtype=np.float32)
    values[:, 31:40, 7:30] = np.nan
    expected = [values]
    while max(expected[-1].shape[1:]) > 5:
        expected.append(np.stack([*map(halved, expected[-1])]))
    levels = [np.full_like(level, -1) for level in expected]
    writer = PyramidWriter(levels, 16)
    for start in range(0, 97, rows):
        writer.add(values[:, start : start + rows])
    writer.end()
    for found, level in zip(levels, expected, strict=True):
        np.testing.assert_array_equal(found, level)
