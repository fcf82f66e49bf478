"""The published contract, run over every reader on the same picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pytest

from slidecam.geometry import LevelBox
from slidecam.sources import open_source
from slidecam.sources.contract import SourceCase, SourceContract

if TYPE_CHECKING:
    from pathlib import Path


class TestOpenSlide(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        case: SourceCase = make_case(write.tiled_tiff, ".tif", "openslide", reader="openslide")
        return case


class TestTiffSlide(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        case: SourceCase = make_case(write.tiled_tiff, ".tif", "tiffslide", reader="tiffslide")
        return case


class TestTiffSlideBehindAUrl(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        return in_memory(make_case(write.tiled_tiff, ".tif", "tiffslide", reader="tiffslide"))


class TestTiledTiffBehindAUrl(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        return in_memory(make_case(write.tiled_tiff, ".tif", "tiff"))


class TestTiledTiff(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        case: SourceCase = make_case(write.tiled_tiff, ".tif", "tiff")
        return case


class TestOmeTiff(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        case: SourceCase = make_case(write.ome_tiff, ".ome.tif", "tiff")
        return case


class TestOmeTiffBehindAUrl(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        return in_memory(make_case(write.ome_tiff, ".ome.tif", "tiff"))


class TestStripTiff(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        def lzw(path: Path, picture: Any) -> None:
            write.strip_tiff(path, picture, rowsperstrip=16, compression="lzw", predictor=True)

        case: SourceCase = make_case(lzw, ".tif", "tiff", spacing=None)
        return case


class TestPlainTiffInOneStrip(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        def one_strip(path: Path, picture: Any) -> None:
            write.strip_tiff(path, picture, rowsperstrip=len(picture), byteorder=">")

        case: SourceCase = make_case(one_strip, ".tif", "tiff", spacing=None)
        return case


class TestOmeZarr04(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        def version_04(path: Path, picture: Any) -> None:
            write.ome_zarr(str(path), picture, "0.4")

        case: SourceCase = make_case(version_04, ".zarr", "ome-zarr")
        return case


class TestOmeZarr05(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        def version_05(path: Path, picture: Any) -> None:
            write.ome_zarr(str(path), picture, "0.5", "tczyx")

        case: SourceCase = make_case(version_05, ".zarr", "ome-zarr")
        return case


class TestOmeZarrBehindAUrl(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, write: Any, picture: Any) -> SourceCase:
        first, copy, other = (f"memory://{name}.zarr" for name in ("first", "copy", "other"))
        for url, pixels in ((first, picture), (copy, picture), (other, write.picture(1))):
            write.ome_zarr(url, pixels, "0.5", "yxc")
        return SourceCase(first, None, "ome-zarr", picture, 0, 1.0, 0.5, copy, other)


class TestPng(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        case: SourceCase = make_case(write.png, ".png", "picture", spacing=None)
        return case


class TestJpeg(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any, write: Any) -> SourceCase:
        case: SourceCase = make_case(write.jpeg, ".jpg", "picture", spacing=None, tolerance=40)
        return case


@pytest.mark.shared_data
class TestDicom(SourceContract):
    """No writer of DICOM slides is at hand, so a real one stands in for the picture."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SourceCase:
        folder = shared_data / "slides" / "dicom_volume_label_macro"
        copy = tmp_path_factory.mktemp("dicom") / "copy"
        copy.mkdir()
        for number, file in enumerate(sorted(folder.iterdir())):
            (copy / f"{number}.dcm").write_bytes(file.read_bytes())
        with open_source(folder) as slide:
            picture = slide.read(0, LevelBox(0, 0, 2220, 2967))
        other = shared_data / "slides" / "camelyon_jpeg_coarse.dcm"
        return SourceCase(
            str(folder), None, "openslide", picture, 0, 1.0, 0.499, copy=str(copy), other=str(other)
        )


@pytest.mark.shared_data
class TestARealPyramid(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SourceCase:
        slide = shared_data / "slides" / "cmu1-small_generic_pyramid_mpp0.499.tif"
        copy = tmp_path_factory.mktemp("tiff") / "copy.tif"
        copy.write_bytes(slide.read_bytes())
        with open_source(slide, "tiff") as tiff:
            picture = tiff.read(0, LevelBox(0, 0, 2220, 2967))
        other = shared_data / "slides" / "CropBreastSlide.tiff"
        return SourceCase(
            str(slide), "openslide", "openslide", picture, 0, 4.0, 0.499, str(copy), str(other)
        )


def in_memory(case: SourceCase) -> SourceCase:
    """Return the case with its three files behind memory:// URLs."""
    files = fsspec.filesystem("memory")
    urls = []
    for path in (case.path, case.copy, case.other):
        files.put_file(path, path)
        urls.append(f"memory://{path}")
    path, copy, other = urls
    return SourceCase(
        path,
        case.reader,
        case.read_by,
        case.picture,
        case.tolerance,
        case.level_tolerance,
        case.spacing,
        copy,
        other,
    )


def test_the_contract_notices_a_wrong_picture(make_case: Any, write: Any) -> None:
    case = make_case(write.png, ".png", "picture", spacing=None)
    with open_source(case.other) as source, pytest.raises(AssertionError):
        SourceContract().test_level_0_is_the_picture(source, case)
    assert not np.array_equal(write.picture(0), write.picture(1))
