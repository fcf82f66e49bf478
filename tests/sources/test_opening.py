from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from slidecam.errors import SourceError, UnknownFormatError, UnreadableSourceError, UsageError
from slidecam.geometry import LevelBox, Size
from slidecam.sources import open_source, reader_names
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from pathlib import Path

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
SMALL = np.full((40, 60, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (LFS, "Git LFS pointer.*git lfs pull"),
        (b"", "an empty file.*again"),
        (b"hello, this is a letter\n" * 9, "text"),
        (b"<!DOCTYPE html><html>", "HTML page.*again"),
        (b"\n<html><body>", "HTML page"),
        (b"PK\x03\x04" + bytes(40), "ZIP archive.*Unpack"),
        (b"\x1f\x8b" + bytes(40), "gzip"),
        (b"%PDF-1.7", "a PDF"),
        (bytes(range(256)), "binary file"),
        (bytes(128) + b"DICM" + bytes(40), "DICOM file without a picture"),
    ],
)
def test_a_file_that_nobody_reads_is_called_what_it_looks_like(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "slide.svs"
    path.write_bytes(content)
    with pytest.raises(UnknownFormatError, match=says) as caught:
        open_source(path)
    assert str(path) in str(caught.value)


def test_the_name_of_a_file_means_nothing(tmp_path: Path, write: Any) -> None:
    write.png(tmp_path / "really.tif", SMALL)
    write.tiled_tiff(tmp_path / "really.png", SMALL)
    shutil.move(tmp_path / "really.tif", tmp_path / "picture.svs")
    with (
        open_source(tmp_path / "picture.svs") as picture,
        open_source(tmp_path / "really.png") as tiff,
    ):
        assert picture.facts.reader == "picture"
        assert tiff.facts.reader == "tiff"
        assert picture.facts.name == "picture"


def test_an_ome_tiff_is_not_left_to_openslide_which_sees_no_subifds(
    tmp_path: Path, write: Any
) -> None:
    write.ome_tiff(tmp_path / "a.ome.tif", write.picture(0))
    with (
        open_source(tmp_path / "a.ome.tif") as ours,
        open_source(tmp_path / "a.ome.tif", "openslide") as theirs,
    ):
        assert ours.facts.reader == "tiff"
        assert len(ours.facts.levels) == 3
        assert len(theirs.facts.levels) == 1


def test_a_file_url_is_a_local_file(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "with space.tif"
    write.tiled_tiff(path, SMALL)
    with open_source(path.as_uri()) as slide:
        assert slide.facts.reader == "tiff"
        assert slide.facts.name == "with space"


def test_the_folder_that_one_is_in_has_its_own_name(
    tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write.ome_zarr(str(tmp_path / "mine.zarr"), np.zeros((64, 64, 3), np.uint8), "0.5")
    monkeypatch.chdir(tmp_path / "mine.zarr")
    with open_source(".") as source:
        assert source.facts.name == "mine"


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSourceError, match="no such file"):
        open_source(tmp_path / "nowhere.svs")
    with pytest.raises(UnreadableSourceError, match="no such file"):
        open_source("memory://nowhere/at-all.svs")


def test_an_unknown_protocol_is_said_to_be_unknown() -> None:
    with pytest.raises(UnreadableSourceError, match="Protocol not known"):
        open_source("gopher://somewhere/slide.svs")


def test_a_folder_without_a_slide_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError, match="a folder without"):
        open_source(tmp_path)


def test_the_data_folder_of_a_mirax_slide_points_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "Slidedat.ini").write_text("[GENERAL]\n")
    with pytest.raises(UnknownFormatError, match=r"MIRAX.*Pass the \.mrxs"):
        open_source(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes of this kind")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    import os  # noqa: PLC0415 - os.mkfifo is not on every platform

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableSourceError, match="neither a file nor a folder"):
        open_source(tmp_path / "pipe")


def test_an_unknown_reader_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="openslide"):
        open_source(__file__, "vips")
    assert reader_names() == (
        *("ome-zarr", "picture", "nifti", "nrrd", "dicom"),
        *("openslide", "tiffslide", "tiff"),
    )


@pytest.mark.parametrize(
    "reader", ["ome-zarr", "picture", "nifti", "nrrd", "dicom", "openslide", "tiffslide", "tiff"]
)
@pytest.mark.parametrize(
    "content", [b"", b"text of no use", b"II*\0\xff\xff\xff\xff", bytes(200), LFS]
)
def test_no_reader_lets_a_librarys_error_through(
    tmp_path: Path, reader: str, content: bytes
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(SourceError):
        open_source(path, reader)


@pytest.mark.parametrize("writer", ["tiled_tiff", "ome_tiff", "strip_tiff", "png", "jpeg"])
def test_a_file_cut_off_anywhere_ends_in_a_source_error_or_reads(
    tmp_path: Path, write: Any, writer: str
) -> None:
    whole = tmp_path / "whole"
    getattr(write, writer)(whole, write.picture(0)[:300, :300])
    content = whole.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.9, 0.999):
        path = tmp_path / f"cut{share}"
        path.write_bytes(content[: int(len(content) * share)])
        try:
            with open_source(path) as source:
                for level in source.facts.levels:
                    source.read(level.index, LevelBox(0, 0, level.size.width, level.size.height))
        except SourceError as error:
            assert str(path) in str(error)  # noqa: PT017 - both outcomes are right


def test_opening_the_package_imports_no_decoding_library() -> None:
    code = (
        "import sys, slidecam.sources; names = ('nibabel', 'pydicom', 'nrrd', 'openslide',"
        " 'tifffile', 'tiffslide', 'zarr', 'torch'); print([m for m in names if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stdout.strip() == "[]"


def test_a_choice_that_the_file_does_not_leave_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    Image.new("RGB", (31, 17)).save(path)
    view = VolumeView(slide=PictureView(image="2", plane=3))
    with pytest.raises(UsageError, match="leaves nothing to choose by --image and --plane"):
        open_source(path, view=view)
    with open_source(path, view=VolumeView(slide=PictureView(image="1"))) as source:
        assert source.facts.size == Size(31, 17)
