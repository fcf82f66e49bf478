"""ICC profiles: read from every kind of file, applied in one place, told, and never a crash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from profiles import PROFILE, by_hand, icc, in_srgb
from slidecam.foreground import whole_slide
from slidecam.geometry import LevelBox, Spacing
from slidecam.icc import ToSrgb
from slidecam.sources import Source, open_source
from slidecam.streaming import StreamSpec, stream_tiles
from slidecam.tiling import TilingSpec, lay_grid
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.viewing import Profile


def opened(path: Path, profile: Profile | None, reader: str | None = None) -> Source:
    return open_source(path, reader, VolumeView(slide=PictureView(profile=profile)))


def whole(source: Source, level: int = 0) -> NDArray[np.uint8]:
    size = source.facts.levels[level].size
    return source.read(level, LevelBox(0, 0, size.width, size.height))


def tagged_tiff(path: Path, picture: NDArray[np.uint8], **options: Any) -> None:
    tags = {"photometric": "rgb", "iccprofile": PROFILE, "metadata": None, **options}
    tifffile.imwrite(path, picture, **tags)


def as_tiled(path: Path, picture: NDArray[np.uint8]) -> None:
    tagged_tiff(path, picture, tile=(128, 128), compression="zlib")


def as_big_endian_strips(path: Path, picture: NDArray[np.uint8]) -> None:
    tagged_tiff(path, picture, rowsperstrip=17, byteorder=">", bigtiff=True)


def as_ome(path: Path, picture: NDArray[np.uint8]) -> None:
    tagged_tiff(path, picture, ome=True, metadata={"axes": "YXS"})


def as_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    options: dict[str, Any] = {"quality": 100, "lossless": True, "subsampling": 0}
    Image.fromarray(picture).save(path, icc_profile=PROFILE, **options)


KINDS: list[tuple[str, str | None, Callable[[Path, NDArray[np.uint8]], None]]] = [
    ("a.tif", None, as_tiled),
    ("a.tif", "openslide", as_tiled),
    ("a.tif", "tiffslide", as_tiled),
    ("a.tif", None, as_big_endian_strips),
    ("a.ome.tif", None, as_ome),
    ("a.png", None, as_picture),
    ("a.jpg", None, as_picture),
    ("a.webp", None, as_picture),
]


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """Every value of every channel, and what lies between them: 311 x 197 px."""
    x, y = np.meshgrid(np.linspace(0, 255, 311), np.linspace(0, 255, 197))
    return np.stack([x, y, (x + 255 - y) / 2], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("name", "reader", "write"), KINDS)
def test_the_profile_of_every_kind_of_file_is_applied_where_it_is_wanted_alone(
    tmp_path: Path, picture: NDArray[np.uint8], name: str, reader: str | None, write: Any
) -> None:
    write(tmp_path / name, picture)
    with (
        opened(tmp_path / name, None, reader) as plain,
        opened(tmp_path / name, "srgb", reader) as srgb,
    ):
        assert plain.color_profile() == PROFILE
        stored, shown = whole(plain), whole(srgb)
        assert np.abs(stored.astype(int) - picture).max() <= (0 if name != "a.jpg" else 6)
        assert np.abs(shown - in_srgb(stored)).max() < 1.6
        assert np.abs(shown.astype(int) - stored).max() > 40
        assert (
            'An ICC profile ("Scanner 7") is there and not applied; --profile srgb applies it.'
            in plain.facts.readings
        )
        assert (
            'The ICC profile "Scanner 7" is applied, and colours are those of sRGB;'
            " --profile ignore leaves them as stored."
        ) in srgb.facts.readings
        assert not any("not applied" in reading for reading in srgb.facts.readings)


def test_regions_levels_overview_and_tiles_are_all_in_srgb(
    tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for step in (1, 2):
            tiff.write(
                picture[::step, ::step],
                tile=(64, 64),
                photometric="rgb",
                iccprofile=PROFILE if step == 1 else None,
                subfiletype=step - 1,
                metadata=None,
            )
    expected = by_hand(picture)
    with opened(tmp_path / "a.tif", "srgb") as slide:
        box = LevelBox(61, 33, 87, 101)
        part = expected[box.y : box.bottom, box.x : box.right]
        assert np.array_equal(slide.read(0, box), part)
        assert np.array_equal(whole(slide, 1), by_hand(picture[::2, ::2]))
        assert np.array_equal(np.asarray(slide.level_array(0)), expected)
        assert np.array_equal(slide.overview(311).pixels, expected)
        beyond = slide.read(0, LevelBox(-5, -5, 10, 10), fill=(7, 8, 9))
        assert beyond[0, 0].tolist() == [7, 8, 9]
        grid = lay_grid(
            slide.facts, Spacing(1, 1), whole_slide(slide.facts.size), TilingSpec(50, 1.0, 50)
        )
        for batch in stream_tiles(slide, grid, StreamSpec(8)):
            for row, pixels in zip(batch.rows, batch.pixels, strict=True):
                x, y, width, height = grid.boxes[row].tolist()
                if x + width <= 311 and y + height <= 197:
                    assert np.array_equal(pixels, expected[y : y + height, x : x + width])


def test_threads_that_share_a_transform_get_what_one_alone_gets(
    picture: NDArray[np.uint8],
) -> None:
    to_srgb = ToSrgb(PROFILE)
    random = np.random.default_rng(5)
    parts = [random.permutation(picture.reshape(-1, 3)).reshape(picture.shape) for _ in range(48)]
    alone = [by_hand(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(to_srgb, parts * 3))
    for number, shown in enumerate(together):
        assert np.array_equal(shown, alone[number % len(parts)])


def test_the_profile_of_another_space_is_refused_and_that_of_srgb_changes_nothing(
    picture: NDArray[np.uint8],
) -> None:
    lab = ImageCms.createProfile("LAB")
    with pytest.raises(ValueError, match=r'^"Lab identity built-in" is one of Lab and not of RGB$'):
        ToSrgb(ImageCms.ImageCmsProfile(lab).tobytes())
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.abs(by_hand(picture, same).astype(int) - picture).max() <= 1
    assert ToSrgb(same)(picture) is picture


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (b"no profile at all", "The file's ICC profile cannot be read (cannot open profile from"),
        (PROFILE[:200], "The file's ICC profile cannot be read ("),
        (icc(b"CMYK"), 'The file\'s ICC profile "Scanner 7" is one of CMYK and not of RGB, and'),
        (icc(b"GRAY"), 'The file\'s ICC profile "Scanner 7" is one of GRAY and not of RGB, and'),
    ],
)
@pytest.mark.parametrize("wanted", [None, "srgb"])
def test_a_broken_or_foreign_profile_is_told_and_no_crash(
    tmp_path: Path,
    picture: NDArray[np.uint8],
    profile: bytes,
    said: str,
    wanted: Profile | None,
) -> None:
    tagged_tiff(tmp_path / "a.tif", picture, iccprofile=profile, tile=(64, 64))
    Image.fromarray(picture).save(tmp_path / "a.png", icc_profile=profile)
    for name, reader in (("a.tif", None), ("a.tif", "openslide"), ("a.png", None)):
        with opened(tmp_path / name, wanted, reader) as slide:
            (reading,) = [each for each in slide.facts.readings if "ICC" in each]
            if reader is None:
                assert reading.startswith(said)
            assert reading.endswith("and is not applied.")
            assert np.array_equal(whole(slide), picture)


def test_a_profile_that_pillow_cannot_put_together_is_a_broken_one(
    tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(picture).save(path, icc_profile=PROFILE)
    # The only part calls itself the first of two.
    path.write_bytes(path.read_bytes().replace(b"ICC_PROFILE\0\1\1", b"ICC_PROFILE\0\1\2"))
    with opened(path, "srgb") as slide:
        assert slide.color_profile() == b""
        assert any("cannot be read" in reading for reading in slide.facts.readings)


def test_srgb_of_a_file_without_a_profile_takes_its_pixels_for_srgb(
    tmp_path: Path, write: Any, picture: NDArray[np.uint8]
) -> None:
    write.png(tmp_path / "a.png", picture)
    write.ome_zarr(str(tmp_path / "a.zarr"), picture, "0.4")
    for name in ("a.png", "a.zarr"):
        with opened(tmp_path / name, "srgb") as slide:
            said = "The file has no ICC profile; its pixels are taken for sRGB."
            assert slide.facts.readings[-1] == said
            assert np.array_equal(whole(slide), picture)
        with opened(tmp_path / name, None) as slide:
            assert not any("ICC" in reading for reading in slide.facts.readings)


def test_dask_tells_colours_apart_and_pictures_of_one_file(
    tmp_path: Path, write: Any, picture: NDArray[np.uint8]
) -> None:
    as_picture(tmp_path / "a.png", picture)
    views = (None, "ignore", "srgb")
    names = [opened(tmp_path / "a.png", view).level_array(0).name for view in views]  # type: ignore[arg-type]
    assert names[0] == names[1] != names[2]
    write.png(tmp_path / "b.png", picture)
    first, second = open_source(tmp_path / "b.png"), open_source(tmp_path / "b.png")
    second.show(PictureView(image="2"))
    assert first.level_array(0).name != second.level_array(0).name


def test_the_profile_of_a_dicom_slide_is_read(shared_data: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    (path,) = [
        path
        for path in (shared_data / "slides" / "dicom_volume_label_macro").rglob("*.dcm")
        if pydicom.dcmread(path, stop_before_pixels=True).ImageType[2] == "VOLUME"
    ]
    header = pydicom.dcmread(path)
    header.OpticalPathSequence[0].ICCProfile = PROFILE
    header.save_as(tmp_path / "a.dcm")
    box = LevelBox(700, 900, 313, 257)
    with open_source(tmp_path / "a.dcm") as plain, opened(tmp_path / "a.dcm", "srgb") as srgb:
        assert plain.color_profile() == PROFILE
        assert np.array_equal(srgb.read(0, box), by_hand(plain.read(0, box)))


def test_a_real_slides_profile_of_srgb_costs_and_changes_nothing(shared_data: Path) -> None:
    path = shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    box = LevelBox(1203, 907, 611, 433)
    with open_source(path) as plain, opened(path, "srgb") as srgb:
        profile = plain.color_profile()
        assert profile is not None
        stored = plain.read(0, box)
        assert np.abs(by_hand(stored, profile).astype(int) - stored).max() <= 1
        assert np.array_equal(srgb.read(0, box), stored)
        assert any('The ICC profile "sRGB IEC61966-2.1" is' in each for each in srgb.facts.readings)
