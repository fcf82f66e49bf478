"""The table of colours through every reader of TIFFs, and against libtiff and Pillow."""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from range_server import serving
from slidecam.errors import RefusedSourceError, RegionReadError, UnreadableSourceError
from slidecam.geometry import LevelBox, Size, Spacing
from slidecam.sources import open_source
from slidecam.sources.contract import colour_faults
from slidecam.sources.contract_colours import ColourFile, colour_files

Pixels = NDArray[np.uint8]
RANDOM = np.random.default_rng(29)
PICTURE: Pixels = RANDOM.integers(0, 256, (45, 77, 3), np.uint8)
ALL = LevelBox(0, 0, 77, 45)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[ColourFile, ...]:
    return colour_files(tmp_path_factory.mktemp("colours"))


def written(path: Path, data: Any, **options: Any) -> Path:
    tifffile.imwrite(path, data, **{"metadata": None, **options})
    return path


def test_the_tiff_reader_shows_all_of_the_table(table: tuple[ColourFile, ...]) -> None:
    assert colour_faults(table, "tiff", refusals=False) == []
    assert colour_faults(table, refusals=False) == []


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_other_readers_show_the_same_or_refuse(table: tuple[ColourFile, ...], reader: str) -> None:
    assert colour_faults(table, reader) == []


def test_one_file_has_one_picture_on_the_disk_and_behind_a_url(
    table: tuple[ColourFile, ...],
) -> None:
    folder = Path(table[0].path).parent
    with serving(folder) as address:
        far = [
            replace(file, path=f"{address}/{quote(Path(file.path).name)}") for file in table[::11]
        ]
        assert colour_faults(far, refusals=False) == []
        assert colour_faults(far, "tiffslide") == []


def test_the_table_notices_a_reader_of_other_colours(
    table: tuple[ColourFile, ...],
) -> None:
    upright = next(file for file in table if file.name.startswith("RGB, 8 bit"))
    assert upright.picture is not None
    wrong = replace(upright, picture=upright.picture[:, :, ::-1])
    assert "away from what its tags mean" in colour_faults([wrong])[0]
    assert "nobody can know" in colour_faults([replace(upright, picture=None)])[0]


def away_from_libtiff(file: ColourFile) -> float:
    assert file.picture is not None
    return float(np.abs(of_libtiff(Path(file.path).read_bytes()) - file.picture).max())


def of_libtiff(content: bytes) -> NDArray[np.float64]:
    """Return libtiff's own RGBA of a TIFF on white; its colours are multiplied by alpha."""
    found = imagecodecs.tiff_decode(content, asrgb=True).astype(float)
    laid: NDArray[np.float64] = np.clip(found[:, :, :3] + 255 - found[:, :, 3:], 0, 255)
    return laid


@pytest.mark.parametrize(
    "kind", ["palette", "YCbCr", "CMYK, 8", "RGB, 8", "RGB, 16", "grey, 8", "grey, min is white, 8"]
)
def test_the_table_is_what_libtiff_shows(table: tuple[ColourFile, ...], kind: str) -> None:
    chosen = [file for file in table if file.name.startswith(kind)]
    assert chosen
    for file in chosen:
        assert away_from_libtiff(file) <= file.tolerance, file.name


@pytest.mark.parametrize("alpha", ["straight", "multiplied", "of no kind", "undeclared"])
def test_what_is_transparent_is_what_libtiff_lays_on_white(
    table: tuple[ColourFile, ...], alpha: str
) -> None:
    chosen = [file for file in table if file.name.startswith("RGB,") and alpha in file.name]
    assert len(chosen) >= 5
    for file in chosen:
        assert away_from_libtiff(file) <= 1, file.name


@pytest.mark.parametrize("kind", ["unspecified", "unsaid"])
def test_a_fourth_sample_below_its_colours_is_left_out_as_pillow_does(
    table: tuple[ColourFile, ...], kind: str
) -> None:
    chosen = [file for file in table if f"fourth sample {kind} below" in file.name]
    assert len(chosen) >= 5
    for file in chosen:
        with open_source(file.path) as source:
            assert any("no transparency" in reading for reading in source.facts.readings)
    (strips,) = (file for file in chosen if "strips, plain" in file.name)
    with Image.open(strips.path) as picture:
        assert (picture.mode == "RGB") == (kind == "unspecified")
        np.testing.assert_array_equal(np.asarray(picture)[:, :, :3], strips.picture)
    tiled = next(file for file in chosen if file.name.endswith("tiles, LZW"))
    with pytest.raises(UnreadableSourceError, match="what its colours deny"):
        open_source(tiled.path, "openslide")


def test_the_same_multiplied_alpha_in_jpeg_is_alpha_all_the_same(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:200, 0:300]
    alpha = np.clip((columns + rows) * 2 - 130, 0, 255)[:, :, None]
    colours = np.dstack([columns * 0.83, rows * 1.27, 255 - columns * 0.4])
    multiplied = np.dstack([colours * alpha / 255, alpha]).astype(np.uint8)
    data = imagecodecs.jpeg8_encode(multiplied, level=80)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        iter([bytes(data)]),
        shape=multiplied.shape,
        dtype=np.uint8,
        photometric="rgb",
        compression="jpeg",
        compressionargs={"outcolorspace": "rgb"},
        rowsperstrip=200,
        extrasamples=["unspecified"],
        metadata=None,
    )
    with open_source(path) as source:
        assert any("is taken as transparency" in reading for reading in source.facts.readings)
        assert (source.read(0, LevelBox(0, 0, 20, 20)) >= 250).all()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_table_is_turned_as_pillow_turns(
    table: tuple[ColourFile, ...], orientation: int
) -> None:
    for file in table:
        if f"orientation {orientation}" in file.name:
            upright = ImageOps.exif_transpose(Image.open(file.path))
            np.testing.assert_array_equal(np.asarray(upright), file.picture)


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_turned_pyramid_swaps_sizes_spacing_and_chunks(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tif"
    tag: Any = [(274, 3, 1, orientation, True)]
    stored: dict[str, Any] = {"tile": (16, 32), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        scale: dict[str, Any] = {"resolution": (20_000, 50_000), "resolutionunit": "CENTIMETER"}
        tiff.write(PICTURE, subifds=1, extratags=tag, **scale, **stored)
        tiff.write(PICTURE[::2, ::2], subfiletype=1, **stored)
    reference = Image.fromarray(PICTURE[::2, ::2])
    reference.getexif()[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(reference))
    with open_source(path) as source:
        facts = source.facts
        lies = orientation > 4
        assert facts.size == (Size(45, 77) if lies else Size(77, 45))
        assert facts.spacing == (Spacing(0.2, 0.5) if lies else Spacing(0.5, 0.2))
        assert f"Orientation tag ({orientation})" in facts.readings[0]
        small = facts.levels[1].size
        assert (small.height, small.width) == upright.shape[:2]
        np.testing.assert_array_equal(
            source.read(1, LevelBox(0, 0, small.width, small.height)), upright
        )
        np.testing.assert_array_equal(source.read(1, LevelBox(9, 5, 11, 8)), upright[5:13, 9:20])
        assert source.level_array(0).shape == (facts.size.height, facts.size.width, 3)


def test_a_box_of_a_turned_picture_reads_its_own_rows_alone(tmp_path: Path) -> None:
    data = np.broadcast_to(np.arange(3000, dtype=np.uint16)[:, None] // 12, (3000, 200))
    tag: Any = [(274, 3, 1, 6, True)]
    path = written(
        tmp_path / "a.tif",
        data.astype(np.uint8),
        photometric="minisblack",
        rowsperstrip=3000,
        extratags=tag,
    )
    with open_source(path) as source:
        count: list[int] = []
        pages: Any = source._pages  # type: ignore[attr-defined]
        original = pages._bytes

        def counting(offset: int, size: int) -> Any:
            count.append(size)
            return original(offset, size)

        pages._bytes = counting
        pixels = source.read(0, LevelBox(100, 7, 20, 5))
        assert sum(count) == 20 * 200
        assert pixels[0, :, 0].tolist() == [(2999 - x) // 12 for x in range(100, 120)]


@pytest.mark.parametrize(
    ("photometric", "samples"), [("miniswhite", 1), ("separated", 4), ("rgb", 3)]
)
def test_absent_tiles_are_white_whatever_the_samples_mean(
    tmp_path: Path, photometric: str, samples: int
) -> None:
    path = tmp_path / "a.tif"
    shape = (16, 16) if samples == 1 else (16, 16, samples)
    whole = (32, 32, *shape[2:])
    tiles = iter([np.full(shape, 90, np.uint8), None, None, None])
    tifffile.imwrite(
        path,
        tiles,
        shape=whole,
        dtype=np.uint8,
        tile=(16, 16),
        photometric=photometric,
        planarconfig="contig" if samples > 1 else None,
        metadata=None,
    )
    with open_source(path) as source:
        pixels = source.read(0, LevelBox(0, 0, 32, 32))
    assert (pixels[16:] == 255).all()
    assert (pixels[:16, :16] < 255).all()


@pytest.mark.parametrize("reader", [None, "openslide", "tiffslide"])
def test_every_reader_says_the_same_of_colours(
    table: tuple[ColourFile, ...], reader: str | None
) -> None:
    for name, words in (
        ("RGB, 16 bit, tiles, deflate", "Samples of 16 bits were scaled to 8."),
        ("CMYK, 8 bit, tiles, deflate", "plain formula"),
        ("RGB, alpha of no kind, tiles, LZW", "is taken as transparency"),
    ):
        file = next(each for each in table if each.name == name)
        with open_source(file.path, reader) as source:
            assert any(words in reading for reading in source.facts.readings)


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_readers_that_do_not_know_ome_leave_its_bits_to_the_one_that_does(
    tmp_path: Path, reader: str
) -> None:
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "YXS", "SignificantBits": 12}
    tile: dict[str, Any] = {"tile": (16, 16), "photometric": "rgb"}
    tifffile.imwrite(path, PICTURE.astype(np.uint16) * 16, ome=True, metadata=metadata, **tile)
    with pytest.raises(UnreadableSourceError, match=r"SignificantBits \(12\)"):
        open_source(path, reader)
    with open_source(path) as source:
        assert np.abs(source.read(0, ALL).astype(int) - PICTURE).max() <= 1


def test_a_palette_has_no_bits_to_scale(tmp_path: Path) -> None:
    palette = RANDOM.integers(256, 65536, (3, 65536)).astype(np.uint16)
    index = RANDOM.integers(0, 65536, (45, 77)).astype(np.uint16)
    path = written(tmp_path / "a.tif", index, photometric="palette", colormap=palette)
    with open_source(path) as source:
        assert source.facts.readings == ()
        np.testing.assert_array_equal(source.read(0, ALL), (palette >> 8).T[index])


def test_every_choice_is_a_sentence(table: tuple[ColourFile, ...]) -> None:
    for name, words in (
        ("RGB, alpha undeclared", "The fourth sample, whose kind is not said"),
        ("palette of 8 bit values, 4 bit", "taken as one of 8 bits"),
        ("CMYK, 8 bit", "plain formula"),
        ("RGB, 12 of 16 bit", "Samples of 12 bits were scaled to 8."),
    ):
        file = next(each for each in table if each.name.startswith(name))
        with open_source(file.path) as source:
            assert any(words in reading for reading in source.facts.readings)
    plain = next(each for each in table if each.name.startswith("RGB, 8 bit"))
    with open_source(plain.path) as source:
        assert source.facts.readings == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CIELAB", "CIELAB, not grey, RGB"),
        ("RGB, fractions", "float32, not 8 or 16 bit"),
        ("five channels", "Which of its 5 channels"),
        ("grey, with sign", "int16"),
    ],
)
def test_a_refusal_is_final_and_says_what_to_do(
    table: tuple[ColourFile, ...], name: str, words: str
) -> None:
    file = next(each for each in table if each.name.startswith(name))
    with pytest.raises(RefusedSourceError, match=words) as caught:
        open_source(file.path)
    assert any(word in caught.value.remedy for word in ("Export", "Save it again"))


def old_jpeg(content: bytes) -> bytes:
    """Return a TIFF whose segments say that they are old-style JPEG, and are none."""
    changed = bytearray(content)
    (start,) = struct.unpack_from("<L", changed, 4)
    (count,) = struct.unpack_from("<H", changed, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", changed, entry) == (259,):
            struct.pack_into("<H", changed, entry + 8, 6)
    return bytes(changed)


def test_what_no_codec_reads_is_not_called_damaged(
    tmp_path: Path, table: tuple[ColourFile, ...]
) -> None:
    file = next(each for each in table if each.name.startswith("YCbCr, chroma (1, 1), tiles"))
    path = tmp_path / "old.tif"
    path.write_bytes(old_jpeg(Path(file.path).read_bytes()))
    with pytest.raises(RefusedSourceError, match=r"Old-style JPEG.*Save it again") as caught:
        open_source(path)
    assert "damaged" not in str(caught.value)


def test_a_damaged_first_tile_does_not_refuse_the_others(tmp_path: Path) -> None:
    options: dict[str, Any] = {"tile": (16, 16), "compression": "zlib", "photometric": "rgb"}
    path = written(tmp_path / "a.tif", PICTURE, **options)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages.first.dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    with open_source(path, "tiff") as source:
        with pytest.raises(RegionReadError):
            source.read(0, LevelBox(0, 0, 4, 4))
        np.testing.assert_array_equal(source.read(0, LevelBox(16, 0, 16, 16)), PICTURE[:16, 16:32])


def test_openslide_does_not_show_three_planes_as_one(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    planes = PICTURE.transpose(2, 0, 1)
    metadata = {"axes": "CYX"}
    tifffile.imwrite(path, planes, photometric="minisblack", tile=(16, 16), metadata=metadata)
    with pytest.raises(UnreadableSourceError, match="the first page alone"):
        open_source(path, "openslide")
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(0, ALL), PICTURE)


def test_values_of_a_largest_sample_below_8_bits_are_not_stretched(tmp_path: Path) -> None:
    tag: Any = [(281, 3, 3, (100, 100, 100), True)]
    path = written(tmp_path / "a.tif", PICTURE, photometric="rgb", extratags=tag)
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(0, ALL), PICTURE)
    assert np.array_equal(np.asarray(Image.open(BytesIO(path.read_bytes()))), PICTURE)


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_alpha_that_a_writer_left_empty_hides_no_picture(
    tmp_path: Path, extra: str, tile: Any
) -> None:
    stored = np.dstack([PICTURE, np.zeros((45, 77, 1), np.uint8)])
    path = written(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=[extra], tile=tile)
    for reader in (None, "tiffslide"):
        if reader is None or tile is not None:
            with open_source(path, reader) as source:
                np.testing.assert_array_equal(source.read(0, ALL), PICTURE)
                assert any("which is left out" in said for said in source.facts.readings)
    blank = np.full_like(stored, 90)
    blank[:, :, 3] = 0
    path = written(tmp_path / "b.tif", blank, photometric="rgb", extrasamples=["unassalpha"])
    with open_source(path) as source:
        assert (source.read(0, ALL) == 255).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_above_the_alpha_that_they_are_multiplied_by_are_taken_as_straight(
    tmp_path: Path, dtype: Any
) -> None:
    clear = np.tile(np.linspace(70, 255, 77).astype(np.uint8), (45, 1))[:, :, None]
    stored = np.dstack([PICTURE, clear]).astype(dtype) * (257 if dtype is np.uint16 else 1)
    path = written(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    with open_source(path) as source:
        (reading,) = [each for each in source.facts.readings if "16 bits" not in each]
        assert reading.endswith("they are taken as not multiplied.")
        pixels = source.read(0, ALL)
    white = Image.new("RGBA", (77, 45), "white")
    straight = Image.fromarray(np.dstack([PICTURE, clear]))
    laid = np.asarray(Image.alpha_composite(white, straight).convert("RGB"))
    assert np.abs(pixels.astype(int) - laid).max() <= 1


@pytest.mark.parametrize("form", ["tif", "ome.tif", "pyramid"])
def test_twelve_bits_in_sixteen_are_said_to_be_dark(tmp_path: Path, form: str) -> None:
    path, data = tmp_path / f"a.{form}.tif", PICTURE.astype(np.uint16) * 16
    with tifffile.TiffWriter(path, ome=form == "ome.tif") as tiff:
        options: dict[str, Any] = {"photometric": "rgb", "tile": (16, 16)}
        tiff.write(data, subifds=int(form == "pyramid"), **options)
        if form == "pyramid":
            tiff.write(data[::2, ::2], subfiletype=1, **options)
    with open_source(path) as source:
        assert source.facts.readings[-1].startswith("It is dark: its brightest pixel is 16 of 255")
    bright = written(tmp_path / "b.tif", data * 9, photometric="rgb")
    with open_source(bright) as source:
        assert source.facts.readings == ("Samples of 16 bits were scaled to 8.",)


@pytest.mark.parametrize("form", ["ome", "tag"])
def test_values_above_the_bits_that_are_said_to_count_are_not_cut_off(
    tmp_path: Path, form: str
) -> None:
    path, wide = tmp_path / "a.tif", PICTURE.astype(np.uint16) * 257
    if form == "ome":
        metadata = {"axes": "YXS", "SignificantBits": 12}
        tifffile.imwrite(path, wide, ome=True, photometric="rgb", metadata=metadata)
    else:
        said: Any = [(281, 3, 3, (4095, 4095, 4095), True)]
        written(path, wide, photometric="rgb", extratags=said)
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(0, ALL), PICTURE)
        assert source.facts.readings[0].endswith(
            "12 bits that it says they have: all 16 bits count."
        )


def test_absent_tiles_are_no_values_above_the_bits(tmp_path: Path) -> None:
    said: Any = [(281, 3, 1, 4095, True)]
    options: dict[str, Any] = {"photometric": "minisblack", "tile": (16, 16), "extratags": said}
    tiles = iter([np.full((16, 16), 2048, np.uint16), None])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, tiles, shape=(16, 32), dtype=np.uint16, metadata=None, **options)
    with open_source(path) as source:
        assert (source.read(0, LevelBox(0, 0, 16, 16)) == 128).all()
