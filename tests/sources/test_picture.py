from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from slidecam.errors import (
    RefusedSourceError,
    RegionReadError,
    UnknownFormatError,
    UnreadableSourceError,
    UsageError,
)
from slidecam.geometry import LevelBox
from slidecam.pixels import picture_in_rgb
from slidecam.sources import open_source
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from pathlib import Path

RGB = np.random.default_rng(5).integers(0, 256, (30, 40, 3), np.uint8)
BOX = LevelBox(0, 0, 40, 30)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")

    def chunk(content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
        )

    return b"\x89PNG\r\n\x1a\n" + chunk(body) + chunk(data) + chunk(b"IEND")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(60_000, 60_000))
    with pytest.raises(UnreadableSourceError, match=r"60000x60000 pixels are too many.*tiled TIFF"):
        open_source(path)


def test_a_large_but_bearable_picture_opens_without_pillows_warning(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_header(14_000, 10_000))
    with open_source(path) as source:
        assert source.facts.size.width == 14_000


def test_a_screens_resolution_is_no_spacing(tmp_path: Path, write: Any) -> None:
    write.png(tmp_path / "a.png", RGB)
    write.jpeg(tmp_path / "a.jpg", RGB)
    for name in ("a.png", "a.jpg"):
        with open_source(tmp_path / name) as source:
            assert source.facts.spacing is None


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_gives_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(RGB).convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture.save(path)
    with open_source(path) as source:
        pixels = source.read(0, BOX)
    assert pixels.shape == (30, 40, 3)
    if mode == "CMYK":
        picture = Image.open(path)
    np.testing.assert_array_equal(pixels, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("suffix", [".bmp", ".gif", ".webp"])
def test_what_training_reads_is_read_as_a_slide(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cell{suffix}"
    Image.fromarray(RGB).save(path)
    with open_source(path) as source:
        pixels = source.read(0, BOX)
        assert (source.facts.format, source.facts.readings) == (suffix[1:], ())
    with Image.open(path) as expected:
        np.testing.assert_array_equal(pixels, np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_of_several_frames_the_first_is_read_or_the_one_that_was_wanted(
    tmp_path: Path, suffix: str
) -> None:
    path, frames = (
        tmp_path / f"moving{suffix}",
        [Image.new("RGB", (40, 30), color) for color in ("red", "blue")],
    )
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    with open_source(path) as source:
        assert source.facts.readings == (
            "Plane 1 of 2, its frames, is read; --plane reads another.",
        )
        assert (source.read(0, BOX) == (255, 0, 0)).all()
    with open_source(path, view=VolumeView(slide=PictureView(plane=2))) as source:
        assert source.facts.readings[0].startswith("Plane 2 of 2")
        assert (source.read(0, BOX) == (0, 0, 255)).all()
    with pytest.raises(UsageError, match=r"no plane 3: it has 2.*--plane 1 to 2"):
        open_source(path, view=VolumeView(slide=PictureView(plane=3)))


def test_a_text_that_begins_like_a_bitmap_is_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("BMI and age of all patients")
    with pytest.raises(UnknownFormatError, match="This is text"):
        open_source(tmp_path / "notes.txt")


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    pixels = np.dstack([RGB, np.zeros((30, 40), np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png") as source:
        assert (source.read(0, BOX) == 255).all()
        assert source.facts.readings == ("What is transparent in it is shown white.",)


def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path: Path) -> None:
    Image.fromarray(RGB[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png") as source:
        np.testing.assert_array_equal(source.read(0, BOX)[:, :, 2], RGB[:, :, 0])
        assert source.facts.readings == ("Samples of 16 bits were scaled to 8.",)


def test_a_dark_colour_picture_of_sixteen_bits_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    samples = np.linspace(0, 1000, RGB[:, :, 0].size).reshape(RGB.shape[:2]).astype(np.uint16)
    path.write_bytes(bytes(imagecodecs.png_encode(np.dstack([samples] * 3))))
    with open_source(path) as source:
        shown = np.asarray(picture_in_rgb(Image.open(path)))
        np.testing.assert_array_equal(source.read(0, BOX), shown)
        scaled, dark = source.facts.readings
    assert scaled == "Samples of 16 bits were scaled to 8."
    assert dark.startswith("It is dark: its brightest pixel is 3 of 255")


def test_a_picture_is_decoded_once(tmp_path: Path, write: Any) -> None:
    write.png(tmp_path / "a.png", RGB)
    with open_source(tmp_path / "a.png") as source:
        first = source.read(0, BOX)
        (tmp_path / "a.png").unlink()
        np.testing.assert_array_equal(source.read(0, BOX), first)
        first[:] = 0
        np.testing.assert_array_equal(source.read(0, BOX), RGB)


def test_a_truncated_picture_is_an_error_of_its_region(tmp_path: Path, write: Any) -> None:
    write.jpeg(tmp_path / "a.jpg", RGB)
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2 + 300])
    with open_source(tmp_path / "a.jpg") as source:
        for _ in range(2):
            with pytest.raises(RegionReadError, match="truncated"):
                source.read(0, BOX)
            (tmp_path / "a.jpg").unlink(missing_ok=True)  # the second read must not decode again


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_as_training_turns_it(tmp_path: Path, orientation: int) -> None:
    path, exif = tmp_path / "camera.jpg", Image.Exif()
    exif[0x0112] = orientation
    Image.effect_noise((48, 32), 80).convert("RGB").save(path, quality=95, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    with open_source(path) as source:
        size = source.facts.size
        assert (size.height, size.width) == expected.shape[:2]
        np.testing.assert_array_equal(
            source.read(0, LevelBox(0, 0, size.width, size.height)), expected
        )


def test_a_picture_of_sixteen_bits_that_eight_would_show_black_is_refused(tmp_path: Path) -> None:
    samples = np.full(RGB.shape[:2], 120, np.uint16)
    Image.fromarray(samples).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", samples)
    tifffile.imwrite(tmp_path / "c.tif", np.dstack([samples, samples // 2, samples // 3]))
    for name in ("a.png", "b.tif", "c.tif"):
        with pytest.raises(RefusedSourceError, match=r"All of it is black.*--window"):
            open_source(tmp_path / name)


def test_a_picture_of_eight_bits_may_be_black(tmp_path: Path) -> None:
    Image.new("L", (31, 17)).save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png") as source:
        assert source.facts.readings == ()
