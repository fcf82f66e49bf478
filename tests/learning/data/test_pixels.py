"""Pictures become the pixels that inference would see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from slidecam.errors import DataSetError, UsageError
from slidecam.geometry import LevelBox
from slidecam.learning.data import pixels
from slidecam.learning.data.pictures import PictureSet
from slidecam.learning.data.pixels import (
    load_pictures,
    load_pixels,
    read_picture,
)
from slidecam.learning.data.readings import look_at_pictures
from slidecam.pixels import RESAMPLING
from slidecam.sources import open_source
from slidecam.sources.contract_colours import ColourFile, colour_files
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slidecam.learning.data.picture_files import Part

    Noise = Callable[[int, int], NDArray[np.uint8]]

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def open_all(paths: list[Path]) -> None:
    """Open pictures of one class as a training does, and refuse those that cannot be opened."""
    labels = np.zeros(len(paths), np.int64)
    unparted: Part = ""
    parts = (unparted,) * len(paths)
    found = PictureSet(paths[0].parent, tuple(paths), labels, ("a",), None, parts)
    result_of(result_of(look_at_pictures(found)).refuse_broken())


def picture(mode: str, pixels: NDArray[np.uint8]) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    image = Image.fromarray(pixels)
    if mode in {"LA", "RGBA"}:
        image.putalpha(Image.fromarray(pixels[:, :, 2]))
    return image.convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_png_gives_what_inference_reads_from_it(
    tmp_path: Path, noise: Noise, mode: str
) -> None:
    path = tmp_path / "a.png"
    picture(mode, noise(40, 40)).save(path)
    with open_source(path) as source:
        read = source.read(0, LevelBox(0, 0, 40, 40))
    np.testing.assert_array_equal(load_pixels(path, 40), read)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic"])
def test_the_whole_picture_is_resized_to_the_square_by_pillow(
    tmp_path: Path, noise: Noise, name: str
) -> None:
    pixels = noise(90, 50)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = np.asarray(Image.fromarray(pixels).resize((24, 24), RESAMPLING[name]))
    loaded = load_pixels(tmp_path / "a.png", 24, name)
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, expected)


def test_a_picture_of_the_right_size_is_left_as_it_is(tmp_path: Path, noise: Noise) -> None:
    Image.fromarray(noise(32, 32)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_pixels(tmp_path / "a.png", 32, "bicubic"), noise(32, 32))


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    clear.putpixel((0, 0), (200, 0, 0, 255))
    clear.save(tmp_path / "a.png")
    pixels = load_pixels(tmp_path / "a.png", 4)
    assert pixels[0, 0].tolist() == [200, 0, 0]
    assert pixels[1, 1].tolist() == [255, 255, 255]


def test_a_palette_with_a_transparent_colour_lies_on_white_too(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=1)
    assert load_pixels(tmp_path / "a.png", 2, "nearest")[0].tolist() == [
        [10, 20, 30],
        [255, 255, 255],
    ]


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 32768], [65535, 257]], np.uint16)).save(tmp_path / "a.tif")
    assert load_pixels(tmp_path / "a.tif", 2)[:, :, 0].tolist() == [[0, 128], [255, 1]]


def test_an_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16))
    image.paste((255, 255, 255), (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    pixels = load_pixels(tmp_path / "a.jpg", 16)
    assert pixels[:, 12:].min() > 200
    assert pixels[:, :4].max() < 50


def test_cmyk_becomes_red_green_blue(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, _blue = load_pixels(tmp_path / "a.jpg", 4)[0, 0].tolist()
    assert red > 200
    assert green < 60


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n\0\0"])
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(DataSetError, match=r"This picture cannot be read.*bad\.png"):
        load_pixels(tmp_path / "bad.png", 8)
    with pytest.raises(DataSetError, match=r"1 of 1 pictures cannot be read: .*bad\.png"):
        open_all([tmp_path / "bad.png"])


class UnforeseenError(Exception):
    """Derives from nothing that any list of errors could name."""


def throw(*_anything: object, **_named: object) -> NoReturn:
    raise UnforeseenError("nobody expected this")


@pytest.mark.parametrize(
    ("place", "name"), [(Image, "open"), (PngImageFile, "load"), (Image.Image, "resize")]
)
def test_whatever_is_thrown_for_a_picture_is_told_with_its_name(
    tmp_path: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch, place: object, name: str
) -> None:
    Image.fromarray(noise(16, 16)).save(tmp_path / "odd.png")
    monkeypatch.setattr(place, name, throw)
    with pytest.raises(DataSetError, match=r"read: nobody expected this \(.*odd\.png") as caught:
        result_of(load_pictures([tmp_path / "odd.png"], 8))
    assert isinstance(caught.value.__cause__, UnforeseenError)


def test_headers_that_throw_whatever_are_told_all_at_once(
    tmp_path: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path in paths:
        Image.fromarray(noise(8, 8)).save(path)
    monkeypatch.setattr(Image, "open", throw)
    with pytest.raises(DataSetError, match=r"2 of 2 pictures .*a\.png: nobody .*b\.png: nobody"):
        open_all(paths)


def test_damaged_exif_of_any_kind_costs_no_picture(
    tmp_path: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 3
    Image.fromarray(noise(16, 16)).save(tmp_path / "a.png", exif=turned)
    assert not np.array_equal(load_pixels(tmp_path / "a.png", 16), noise(16, 16))
    monkeypatch.setattr(ImageOps, "exif_transpose", throw)
    np.testing.assert_array_equal(load_pixels(tmp_path / "a.png", 16), noise(16, 16))


def test_a_picture_that_is_cut_off_is_named_when_it_is_loaded(tmp_path: Path, noise: Noise) -> None:
    Image.fromarray(noise(64, 64)).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    open_all([tmp_path / "half.jpg"])
    with pytest.raises(DataSetError, match=r"half\.jpg"):
        result_of(load_pictures([tmp_path / "whole.jpg", tmp_path / "half.jpg"], 8))


def test_fractions_are_refused_with_a_remedy(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    said = r"cannot be read: the pixels are float32, .*a\.tif.* Export one plane"
    with pytest.raises(DataSetError, match=said):
        load_pixels(tmp_path / "a.tif", 4)
    with pytest.raises(DataSetError, match=r"1 of 1 pictures .* are float32, .*a\.tif"):
        open_all([tmp_path / "a.tif"])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[ColourFile, ...]:
    return colour_files(tmp_path_factory.mktemp("colours"))


@pytest.mark.parametrize("from_bytes", [False, True])
def test_a_tiff_has_the_colours_that_predict_shows(
    table: tuple[ColourFile, ...], *, from_bytes: bool
) -> None:
    for file in table:
        path = Path(file.path)
        content = path.read_bytes() if from_bytes else None
        if file.picture is None:
            with pytest.raises(DataSetError, match=re.escape(path.name)):
                read_picture(path, content)
            continue
        read = np.asarray(read_picture(path, content))
        assert read.shape == file.picture.shape, file.name
        away = np.abs(read.astype(int) - file.picture).max()
        assert away <= file.tolerance, file.name
        with open_source(path) as source:
            size = source.facts.size
            shown = source.read(0, LevelBox(0, 0, size.width, size.height))
        np.testing.assert_array_equal(read, shown)


def test_a_picture_on_three_planes_is_learned_from_in_colour(tmp_path: Path, noise: Noise) -> None:
    path = tmp_path / "a.ome.tif"
    planes = noise(40, 40).transpose(2, 0, 1)
    tifffile.imwrite(path, planes, photometric="minisblack", metadata={"axes": "CYX"})
    np.testing.assert_array_equal(load_pixels(path, 40), noise(40, 40))


def test_a_slide_is_no_picture_to_learn_from(
    tmp_path: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(noise(40, 40)).save(tmp_path / "a.tif")
    monkeypatch.setattr(pixels, "MOST_PIXELS", 1599)
    with pytest.raises(DataSetError, match=r"40x40 pixels, too many .*a\.tif.*slidecam tiles"):
        load_pixels(tmp_path / "a.tif", 8)


def test_an_unknown_interpolation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bicubic"):
        load_pixels(tmp_path / "a.png", 4, "lanczos")


def test_many_bad_pictures_are_counted(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(8)]
    with pytest.raises(DataSetError, match=r"8 of 8 .* \(and 3 more\)"):
        open_all(paths)


def test_loaded_together_they_are_what_each_is_alone(tmp_path: Path, noise: Noise) -> None:
    paths = []
    for index in range(70):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(noise(20 + index, 20)).save(paths[-1])
    alone = torch.from_numpy(np.stack([load_pixels(path, 16) for path in paths]))
    work = load_pictures(paths, 16, workers=3)
    steps = [next(work), next(work)]
    assert [(step.done, step.total) for step in steps] == [(64, 70), (70, 70)]
    assert torch.equal(result_of(load_pictures(paths, 16)), alone)


def test_nothing_to_load_is_an_empty_tensor() -> None:
    assert result_of(load_pictures([], 8)).shape == (0, 8, 8, 3)
