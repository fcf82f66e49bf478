"""Grey of more than 8 bits that uses little of its range is shown through one stated window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from slidecam.errors import NothingToChooseError, UsageError
from slidecam.geometry import LevelBox
from slidecam.learning.data.pixels import read_picture
from slidecam.sources import open_source
from slidecam.viewing import PictureView, VolumeView, Window

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HEIGHT, WIDTH = 61, 83
ALL = LevelBox(0, 0, WIDTH, HEIGHT)


def dark(seed: int = 3, largest: int = 2713) -> NDArray[np.uint16]:
    """Return a head in air: smooth, noisy, and of far fewer than 16 bits."""
    rows, columns = np.mgrid[-1:1:61j, -1:1:83j]
    inside = (rows**2 + columns**2 < 0.63) * (
        0.4 + 0.6 * np.cos(3.1 * rows) * np.cos(2.3 * columns)
    )
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH))
    return np.asarray(np.clip(inside * largest + 13 * noise, 0, largest), np.uint16)


def shown(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return values as a window shows them, by arithmetic of float64 alone."""
    share = (values.astype(np.float64) - low) / (high - low)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def found(values: NDArray[Any], low: float = 1.0, high: float = 99.5) -> tuple[float, float]:
    """Return percentiles of what is brighter than air by the threshold of FSL's BET."""
    second, last = np.percentile(values, (2, 98))
    body = values[values > second + 0.1 * (last - second)]
    return float(np.percentile(body, low)), float(np.percentile(body, high))


def assert_near(pixels: NDArray[np.uint8], grey: NDArray[np.uint8]) -> None:
    """Assert grey repeated, but for rounding halves."""
    assert (pixels[:, :, 0] == pixels[:, :, 2]).all()
    assert np.abs(pixels[:, :, 1].astype(int) - grey).max() <= 1
    assert (pixels[:, :, 1] != grey).mean() < 0.01


def write(path: Path, samples: NDArray[np.uint16]) -> Path:
    if path.suffix == ".png":
        Image.fromarray(samples).save(path)
    elif path.suffix == ".jp2":
        path.write_bytes(bytes(imagecodecs.jpeg2k_encode(samples, level=0)))
    elif path.suffix == ".zarr":
        group = zarr.open_group(path, mode="w", zarr_format=2)
        group.create_array("0", data=samples, chunks=(16, 16))
        axes: Any = [{"name": name, "type": "space"} for name in "yx"]
        levels: list[Any] = [
            {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]}
        ]
        multiscale: Any = {"version": "0.4", "axes": axes, "datasets": levels}
        group.attrs["multiscales"] = [multiscale]
    else:
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(samples, tile=(16, 16), subifds=1, photometric="minisblack", metadata=None)
            small = samples[::2, ::2]
            tiff.write(small, tile=(16, 16), subfiletype=1, photometric="minisblack")
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jp2", "a.tif", "a.zarr"])
def test_dark_grey_is_shown_through_a_stated_window_in_every_format(
    tmp_path: Path, name: str
) -> None:
    samples = dark()
    with open_source(write(tmp_path / name, samples)) as source:
        pixels, facts = source.read(0, ALL), source.facts
        part = source.read(0, LevelBox(17, 9, 31, 23))
        coarsest = source.read(len(facts.levels) - 1, LevelBox(0, 0, 9, 7))
    lowest, step = samples, 1
    if name == "a.tif":
        lowest, step = samples[::2, ::2], 2
    low, high = found(lowest)
    assert facts.window == pytest.approx((low, high), rel=1e-6)
    assert_near(pixels, shown(samples, low, high))
    np.testing.assert_array_equal(part, pixels[9:32, 17:48])
    np.testing.assert_array_equal(coarsest, pixels[: 7 * step : step, : 9 * step : step])
    (said,) = [each for each in facts.readings if each.startswith("Window ")]
    assert said.startswith(f"Window {low:,.7g} to {high:,.7g} of 65,535 is black to white:")
    assert "percentiles 1 to 99.5" in said
    assert "--window" in said
    assert pixels.max() == 255


def test_grey_that_uses_its_range_is_scaled_by_its_format_alone(tmp_path: Path) -> None:
    samples = dark(largest=47_111)
    with open_source(write(tmp_path / "a.tif", samples)) as source:
        np.testing.assert_array_equal(source.read(0, ALL)[:, :, 0], shown(samples, 0, 65_535))
        assert source.facts.window is None


def test_few_bright_parts_on_dark_are_no_dark_picture_but_said_to_be_few(tmp_path: Path) -> None:
    samples = dark()
    samples[30:34, 40:45] = 60_011
    with open_source(write(tmp_path / "a.png", samples)) as source:
        assert source.read(0, ALL)[31, 41].tolist() == [234, 234, 234]
        assert source.facts.window is None
        assert source.facts.readings[-1].startswith("95 % of it are darker than ")


def test_grey_without_contrast_is_said_to_have_none(tmp_path: Path) -> None:
    samples = dark() + np.uint16(31_007)
    with open_source(write(tmp_path / "a.png", samples)) as source:
        np.testing.assert_array_equal(source.read(0, ALL)[:, :, 0], shown(samples, 0, 65_535))
        assert source.facts.readings[-1].startswith("It has little contrast: nearly all of it is")


def test_a_hot_pixel_makes_no_picture_bright(tmp_path: Path) -> None:
    samples = np.tile(dark(), (3, 3))
    samples[100, 100] = 65_535
    path = tmp_path / "a.png"
    Image.fromarray(samples).save(path)
    with open_source(path) as source:
        assert source.facts.window is not None
        assert source.facts.window[1] < 2714


@pytest.mark.parametrize(("bits", "largest"), [(12, 1733), (10, 401)])
def test_bits_that_are_said_to_count_are_the_range(tmp_path: Path, bits: int, largest: int) -> None:
    path, samples = tmp_path / "a.ome.tif", dark(largest=largest)
    said = {"axes": "YX", "SignificantBits": bits}
    tifffile.imwrite(path, samples, ome=True, photometric="minisblack", metadata=said)
    with open_source(path) as source:
        assert_near(source.read(0, ALL), shown(samples, *found(samples)))
        assert f" of {2**bits - 1:,} is black" in source.facts.readings[-1]
    full = {**said, "SignificantBits": bits - 1}
    tifffile.imwrite(path, samples, ome=True, photometric="minisblack", metadata=full)
    with open_source(path) as source:
        assert source.facts.window is None
        assert_near(source.read(0, ALL), shown(samples, 0, 2 ** (bits - 1) - 1))


def test_white_that_is_zero_is_windowed_by_its_light(tmp_path: Path) -> None:
    light = dark()
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, 65_535 - light, photometric="miniswhite", metadata=None)
    with open_source(path) as source:
        assert_near(source.read(0, ALL), shown(light, *found(light)))


@pytest.mark.parametrize(
    ("text", "ends"),
    [("211,1907", (211.0, 1907.0)), ("3%,88.5%", None), ("-40,70000", (-40.0, 70_000.0))],
)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.zarr"])
def test_the_option_sets_another_window(
    tmp_path: Path, name: str, text: str, ends: tuple[float, float] | None
) -> None:
    samples = dark()
    path = write(tmp_path / name, samples)
    view = VolumeView(slide=PictureView(window=text))
    with open_source(path, view=view) as source:
        if ends is None:
            lowest = samples[::2, ::2] if name == "a.tif" else samples
            ends = found(lowest, 3, 88.5)
        assert_near(source.read(0, ALL), shown(samples, *ends))
        assert "as --window says" in source.facts.readings[-1]
        token = source.token
    with open_source(path) as plain:
        assert plain.token != token


def test_the_full_range_may_be_chosen_and_colours_take_a_window_too(tmp_path: Path) -> None:
    samples = dark()
    path = write(tmp_path / "a.png", samples)
    with open_source(path, view=VolumeView(slide=PictureView(window="full"))) as source:
        np.testing.assert_array_equal(source.read(0, ALL)[:, :, 0], shown(samples, 0, 65_535))
    colours = np.dstack([samples, dark(4), dark(5)])
    tifffile.imwrite(tmp_path / "b.tif", colours, photometric="rgb", metadata=None)
    chosen = VolumeView(slide=PictureView(window="100,2600"))
    with open_source(tmp_path / "b.tif", view=chosen) as source:
        difference = source.read(0, ALL).astype(int) - shown(colours, 100, 2600)
        assert np.abs(difference).max() <= 1
    with open_source(tmp_path / "b.tif") as source:
        assert "pass --window LOW,HIGH" in source.facts.readings[-1]


def test_the_cards_percentiles_hold_for_pictures_as_for_volumes(tmp_path: Path) -> None:
    samples = dark()
    path = write(tmp_path / "a.png", samples)
    with open_source(path, view=VolumeView(window=Window("percentile", 7, 91))) as source:
        assert_near(source.read(0, ALL), shown(samples, *found(samples, 7, 91)))
    with open_source(path, view=VolumeView(window=Window("fixed", -150, 250))) as source:
        assert_near(source.read(0, ALL), shown(samples, *found(samples)))


def test_what_has_nothing_to_window_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (31, 17), 7).save(path)
    with pytest.raises(NothingToChooseError, match="--window"):
        open_source(path, view=VolumeView(slide=PictureView(window="3,9")))
    for text in ("9,3", "a,b", "5", "1%,9", "-1%,50%", "nan,3", "1,2,3", ""):
        with pytest.raises(UsageError, match=r"is no window\. Pass LOW,HIGH"):
            PictureView(window=text)


def test_training_sees_dark_grey_as_a_slide_is_seen(tmp_path: Path) -> None:
    samples = dark()
    for name in ("a.png", "a.tif"):
        path = write(tmp_path / name, samples)
        with open_source(path) as source:
            np.testing.assert_array_equal(np.asarray(read_picture(path)), source.read(0, ALL))
