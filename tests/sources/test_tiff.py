from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from slidecam.errors import RefusedSourceError, RegionReadError, UnreadableSourceError
from slidecam.geometry import LevelBox, Size, Spacing
from slidecam.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BOX = LevelBox(0, 0, 60, 40)
RANDOM = np.random.default_rng(3)
RGB = RANDOM.integers(0, 256, (40, 60, 3), np.uint8)
GREY = RGB[:, :, 0]


def written(path: Path, data: Any, **options: Any) -> Path:
    tifffile.imwrite(path, data, **{"metadata": None, **options})
    return path


def read(path: Path, reader: str | None = "tiff") -> NDArray[np.uint8]:
    with open_source(path, reader) as source:
        return source.read(0, BOX)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_block_whose_bytes_cannot_hold_its_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, compression: str | None
) -> None:
    path = written(tmp_path / "a.tif", RGB, photometric="rgb", compression=compression)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        page = tiff.pages.first
        for name, value in (("ImageWidth", 24_000), ("ImageLength", 24_000)):
            page.tags[name].overwrite(value)
        page.tags["RowsPerStrip"].overwrite(24_000)
    with pytest.raises(RefusedSourceError, match="far fewer bytes than the pixels"):
        open_source(path)


@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.svs"])
@pytest.mark.parametrize("reader", [None, "tiff", "tiffslide"])
def test_pages_that_follow_each_other_in_a_circle_are_refused_and_not_followed(
    tmp_path: Path, name: str, reader: str | None, back: int
) -> None:
    path = tmp_path / name
    description = "Aperio Image Library v1.0\n60x40|AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(path, ome=False) as file:
        for _ in range(3):
            file.write(RGB, photometric="rgb", description=description, metadata=None)
    with tifffile.TiffFile(path) as tiff:
        begins = [page.offset for page in tiff.pages]
    content = bytearray(path.read_bytes())
    tags = int.from_bytes(content[begins[2] : begins[2] + 2], "little")
    link = begins[2] + 2 + 12 * tags
    assert content[link : link + 4] == bytes(4)
    content[link : link + 4] = begins[back].to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(UnreadableSourceError, match="in a circle"):
        open_source(path, reader)


def test_a_large_blank_block_that_compression_makes_small_is_read(tmp_path: Path) -> None:
    blank = np.full((5000, 5000, 3), 240, np.uint8)
    path = written(tmp_path / "a.tif", blank, photometric="rgb", compression="deflate")
    assert path.stat().st_size < blank.nbytes / 500
    assert (read(path) == 240).all()


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    pixels = read(written(tmp_path / "a.tif", GREY, photometric="minisblack"))
    np.testing.assert_array_equal(pixels, np.dstack([GREY] * 3))


def test_where_min_is_white_dark_is_light(tmp_path: Path) -> None:
    pixels = read(written(tmp_path / "a.tif", GREY, photometric="miniswhite"))
    np.testing.assert_array_equal(pixels[:, :, 0], 255 - GREY)


def test_sixteen_bits_are_scaled_from_their_full_range_and_noted(tmp_path: Path) -> None:
    data = (RGB.astype(np.uint16)) * 257
    path = written(tmp_path / "a.tif", data, photometric="rgb")
    np.testing.assert_array_equal(read(path), RGB)
    with open_source(path) as source:
        assert source.facts.readings == ("Samples of 16 bits were scaled to 8.",)


def test_significant_bits_are_believed(tmp_path: Path) -> None:
    data = np.full((40, 60), 4095, np.uint16)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, data, ome=True, metadata={"axes": "YX", "SignificantBits": 12})
    assert (read(path) == 255).all()
    largest = written(tmp_path / "b.tif", data, extratags=[(281, 3, 1, 4095, True)])
    assert (read(largest) == 255).all()


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    pixels = read(written(tmp_path / "a.tif", GREY > 99, photometric="minisblack"))
    np.testing.assert_array_equal(pixels[:, :, 1], np.where(GREY > 99, 255, 0))


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    colours = RANDOM.integers(0, 256, (3, 256)).astype(np.uint16) * 257
    pixels = read(written(tmp_path / "a.tif", GREY, photometric="palette", colormap=colours))
    np.testing.assert_array_equal(pixels, (colours.T // 257)[GREY])


def test_straight_alpha_lies_on_white(tmp_path: Path) -> None:
    data = np.dstack([RGB, np.zeros_like(GREY)])
    data[:, :30, 3] = 255
    pixels = read(written(tmp_path / "a.tif", data, photometric="rgb", extrasamples=["UNASSALPHA"]))
    np.testing.assert_array_equal(pixels[:, :30], RGB[:, :30])
    assert (pixels[:, 30:] == 255).all()


def test_premultiplied_alpha_lies_on_white(tmp_path: Path) -> None:
    data = np.zeros((40, 60, 4), np.uint8)
    data[:, :, :] = (64, 0, 0, 128)
    pixels = read(written(tmp_path / "a.tif", data, photometric="rgb", extrasamples=["ASSOCALPHA"]))
    assert pixels[0, 0].tolist() == [64 + 127, 127, 127]


@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 16)}, {"compression": "zlib", "rowsperstrip": 7}]
)
def test_planes_apart_are_put_together(tmp_path: Path, options: dict[str, Any]) -> None:
    data = RGB.transpose(2, 0, 1)
    path = written(tmp_path / "a.tif", data, photometric="rgb", planarconfig="separate", **options)
    np.testing.assert_array_equal(read(path), RGB)


def test_three_channels_on_three_pages_are_red_green_blue(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    data = RGB.transpose(2, 0, 1)
    tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read(path), RGB)


@pytest.mark.parametrize(
    ("data", "metadata", "says"),
    [
        (np.zeros((5, 40, 60), np.uint8), {"axes": "CYX"}, "5 channels"),
        (np.zeros((2, 40, 60), np.uint8), {"axes": "CYX"}, "2 channels"),
        (np.zeros((6, 40, 60), np.uint8), {"axes": "ZYX"}, "stack of planes"),
        (np.zeros((40, 60), np.float32), {"axes": "YX"}, "float32"),
        (np.zeros((40, 60), np.int16), {"axes": "YX"}, "int16"),
    ],
)
def test_what_is_no_rgb_is_refused_and_not_guessed(
    tmp_path: Path, data: Any, metadata: dict[str, Any], says: str
) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata=metadata)
    with pytest.raises(UnreadableSourceError, match=f"{says}.*Export one plane as RGB"):
        open_source(path)


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((20_000, 20_000), "CENTIMETER", Spacing(0.5, 0.5)),
        ((50_800, 25_400), "INCH", Spacing(0.5, 1.0)),
        ((1, 1), "NONE", None),
        ((20_000, 20_000), "NONE", None),
    ],
)
def test_a_resolution_without_a_unit_says_nothing(
    tmp_path: Path, resolution: tuple[int, int], unit: str, expected: Spacing | None
) -> None:
    path = written(
        tmp_path / "a.tif", RGB, photometric="rgb", resolution=resolution, resolutionunit=unit
    )
    with open_source(path) as source:
        assert source.facts.spacing == expected


def test_imagej_micrometres_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, GREY, imagej=True, resolution=(4.0, 4.0), metadata={"unit": "um", "axes": "YX"}
    )
    with open_source(path) as source:
        assert source.facts.spacing == Spacing(0.25, 0.25)


def test_strips_make_full_width_bands(tmp_path: Path) -> None:
    data = np.zeros((3000, 4000), np.uint8)
    path = written(
        tmp_path / "a.tif", data, photometric="minisblack", rowsperstrip=16, compression="zlib"
    )
    with open_source(path) as source:
        chunk = source.facts.chunk[0]
        assert chunk.width == 4000
        assert chunk.height % 16 == 0
        assert 512 <= chunk.height <= 1040


def test_one_plain_strip_is_read_in_bands_and_not_whole(tmp_path: Path) -> None:
    data = np.zeros((3000, 200, 3), np.uint8)
    data[2000:] = RGB[0, 0]
    path = written(tmp_path / "a.tif", data, photometric="rgb", rowsperstrip=3000)
    with open_source(path) as source:
        assert source.facts.chunk == (Size(1000, 1024),)
        read_bytes: list[int] = []
        pages: Any = source._pages  # type: ignore[attr-defined]
        original = pages._bytes

        def counting(offset: int, count: int) -> Any:
            read_bytes.append(count)
            return original(offset, count)

        pages._bytes = counting
        pixels = source.read(0, LevelBox(50, 1990, 20, 20))
        assert sum(read_bytes) == 20 * 200 * 3
        assert (pixels[10:] == RGB[0, 0]).all()
        assert (pixels[:10] == 0).all()


def test_tiles_that_were_never_written_are_white(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tiles = iter([np.zeros((16, 16, 3), np.uint8), None, None, None])
    tifffile.imwrite(
        path,
        tiles,
        shape=(32, 32, 3),
        dtype=np.uint8,
        tile=(16, 16),
        photometric="rgb",
        metadata=None,
    )
    with open_source(path, "tiff") as source:
        pixels = source.read(0, LevelBox(0, 0, 32, 32))
    assert (pixels[:16, :16] == 0).all()
    assert (pixels[16:] == 255).all()


def test_a_broken_tile_is_an_error_of_its_box_and_others_still_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", RGB, photometric="rgb", tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(count)
    path.write_bytes(content)
    with open_source(path, "tiff") as source:
        with pytest.raises(RegionReadError, match="x=3, y=4, 5x6 px"):
            source.read(0, LevelBox(3, 4, 5, 6))
        np.testing.assert_array_equal(source.read(0, LevelBox(16, 0, 16, 16)), RGB[:16, 16:32])


def test_the_label_of_an_ome_tiff_is_offered_and_not_taken_for_a_level(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(RGB, photometric="rgb", metadata={"axes": "YXS", "Name": "slide"})
        tiff.write(RGB[:8, :9], photometric="rgb", metadata={"axes": "YXS", "Name": "label image"})
    with open_source(path) as source:
        assert len(source.facts.levels) == 1
        assert source.facts.associated == ("label",)
        np.testing.assert_array_equal(source.associated_image("label"), RGB[:8, :9])


@pytest.mark.shared_data
def test_a_compression_that_nobody_knows_is_named(shared_data: Path) -> None:
    path = shared_data / "slides_broken" / "unopenable_compression.tiff"
    for reader in (None, "openslide", "tiff", "tiffslide"):
        with pytest.raises(UnreadableSourceError, match="52479"):
            open_source(path, reader)
